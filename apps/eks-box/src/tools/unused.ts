import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, rm, stat, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { TOOL_NAMES, type Tool, toolDirectory } from 'shared/tools'

const day = 24 * 60 * 60 * 1000

/** A directory that no checkout has used for this many days is removed. */
const UNUSED_DAYS = 14

/** Matches the directory of a tool at some pin, and of a killed build. */
const toolPattern = /^[a-z0-9-]+-[0-9a-f]{12}(\.unfinished.*)?$/

/** Marks `tools` as used now, so that no other checkout removes them as unused. */
export async function markUsed(config: BoxConfig, tools: readonly Tool[], now = new Date()): Promise<void> {
  for (const tool of tools) {
    // Other users cannot mark directories that root built. The next `make up` runs as root and marks them.
    await utimes(toolDirectory(config, tool), now, now).catch(() => {})
  }
}

/**
 * Removes the directories of tools that no checkout has used for 14 days. Keeps this checkout's own tools. Removes none
 * while a process runs from one of the others, because that box may need the rest as well.
 *
 * @param commandLines - the command lines of this machine's processes.
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
    // A killed build leaves nothing worth keeping, because Go has cached the compiled packages.
    const kept = name.includes('.unfinished') ? day : UNUSED_DAYS * day
    if (now - mtimeMs < kept) continue
    await rm(join(root, name), { recursive: true, force: true })
    removed.push(name)
  }
  return removed
}

/** Reads the command line of every process. Null characters separate the arguments. */
function readCommandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')]
      } catch {
        // The process has exited in the meantime.
        return []
      }
    })
}
