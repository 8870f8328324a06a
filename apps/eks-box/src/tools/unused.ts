import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, rm, stat, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { TOOL_NAMES, type Tool, toolDirectory } from 'shared/tools'

const day = 24 * 60 * 60 * 1000

/** Days after which a directory that no checkout has asked for is removed. */
const UNUSED_DAYS = 14

/** Directory of a tool at some pin, or of a build of it that was killed. */
const toolPattern = /^[a-z0-9-]+-[0-9a-f]{12}(\.unfinished.*)?$/

/** Notes that this checkout uses `tools` now, so that no other checkout removes them as unused. */
export async function markUsed(config: BoxConfig, tools: readonly Tool[], now = new Date()): Promise<void> {
  for (const tool of tools) {
    // Directories that root built cannot be marked by another user; the next `make up` marks them.
    await utimes(toolDirectory(config, tool), now, now).catch(() => {})
  }
}

/**
 * Removes the directories of tools at pins that nobody uses any more: not those of this checkout, not those that some
 * checkout has used in the last 14 days, and none at all while a process runs from one of them, because a box of
 * another checkout then needs the others as well.
 *
 * @param commandLines of the processes of this machine.
 * @returns the names of the directories it removed.
 */
export async function removeUnused(
  config: BoxConfig,
  now = Date.now(),
  commandLines = readCommandLines(),
): Promise<string[]> {
  const root = join(config.cacheDir, 'tools')
  if (!existsSync(root)) return []
  const current = new Set(TOOL_NAMES.map((tool) => basename(toolDirectory(config, tool))))
  const others = (await readdir(root)).filter((name) => toolPattern.test(name) && !current.has(name))
  if (commandLines.some((line) => others.some((name) => line.includes(`${join(root, name)}/`)))) return []
  const removed: string[] = []
  for (const name of others) {
    const { mtimeMs } = await stat(join(root, name))
    // A killed build leaves nothing worth keeping: what it compiled is in Go's cache.
    const kept = name.includes('.unfinished') ? day : UNUSED_DAYS * day
    if (now - mtimeMs < kept) continue
    await rm(join(root, name), { recursive: true, force: true })
    removed.push(name)
  }
  return removed
}

/** The command line of every process; the arguments are separated by null characters. */
function readCommandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')]
      } catch {
        // It has ended since.
        return []
      }
    })
}
