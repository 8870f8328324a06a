import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { TOOLS, type Tool, toolDirectory } from 'shared/tools'
import { installWithGo } from './go.ts'
import { installWithPip } from './pip.ts'

/**
 * Installs the programs of one tool module in `toolDirectory`, all or none. An interrupted build continues where it
 * stopped, because Go keeps compiled packages.
 *
 * @param interrupt ends the build when aborted.
 * @param onProgress receives the finished share, 0 to 1, and a description.
 * @throws ActionableError when something needed is missing or the build fails.
 */
export async function buildTool(
  config: BoxConfig,
  tool: Tool,
  interrupt: AbortSignal,
  onProgress: (share: number, text: string) => void,
): Promise<void> {
  const target = toolDirectory(config, tool)
  // Separate for each process, because two checkouts may build the same pin at the same time.
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
  // If another process was faster, its programs may already be in use.
  if (existsSync(target)) await rm(unfinished, { recursive: true, force: true })
  else await rename(unfinished, target)
}
