import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { TOOLS, type Tool, toolDirectory } from 'shared/tools'
import { installWithGo } from './go.ts'
import { installWithPip } from './pip.ts'

/**
 * Installs the programs of one tool module in `toolDirectory`, all or none. After an interruption, the next build
 * continues where this one stopped, because Go caches compiled packages.
 *
 * @param interrupt stops the build when aborted.
 * @param onProgress receives the share done, 0 to 1, and the progress as text.
 * @throws ActionableError when a prerequisite is missing or the build fails.
 */
export async function buildTool(
  config: BoxConfig,
  tool: Tool,
  interrupt: AbortSignal,
  onProgress: (share: number, text: string) => void,
): Promise<void> {
  const target = toolDirectory(config, tool)
  // Unique to this process, because two checkouts may build the same pin at the same time.
  const unfinished = `${target}.unfinished-${process.pid}`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { recursive: true })
  try {
    interrupt.throwIfAborted()
    if (TOOLS[tool].installer === 'go') {
      await installWithGo(config, tool, unfinished, interrupt, onProgress)
    } else {
      await installWithPip(tool, unfinished, target, interrupt, (line) => onProgress(0, line))
    }
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    if (!interrupt.aborted) throw error
    throw new ActionableError(
      `stopped while building ${tool}`,
      'run the command again: it continues from here',
      {
        cause: error,
      },
    )
  }
  // If another process was faster, its programs may be in use already.
  if (existsSync(target)) await rm(unfinished, { recursive: true, force: true })
  else await rename(unfinished, target)
}
