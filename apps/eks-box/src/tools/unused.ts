import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, rm, stat, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { TOOL_NAMES, type Tool, toolDirectory } from 'shared/tools'

const day = 24 * 60 * 60 * 1000

/** Days after which an unused directory is removed. */
const UNUSED_DAYS = 14

/** The directory of a tool at any pin, or the remains of a killed build. */
const toolPattern = /^[a-z0-9-]+-[0-9a-f]{12}(\.unfinished.*)?$/

/** Marks `tools` as used now, so that no other checkout removes them. */
export async function markUsed(config: BoxConfig, tools: readonly Tool[], now = new Date()): Promise<void> {
  for (const tool of tools) {
    // Directories that root built cannot be marked by another user; the next `make up` marks them.
    await utimes(toolDirectory(config, tool), now, now).catch(() => {})
  }
}

/**
 * Removes the directories of tools at unused pins. It keeps those of this checkout and those that any checkout has used in
 * the last 14 days. While a process runs from one of the others, it keeps them all, because the box of another checkout
 * may need them.
 *
 * @param commandLines of all processes on this machine.
 * @returns the names of the removed directories.
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
    // The remains of a killed build are not needed, because Go's cache has the compiled packages.
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
        // The process has ended.
        return []
      }
    })
}
