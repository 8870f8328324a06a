import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { TOOLS, type Tool, toolDirectory } from 'shared/tools'
import { installWithGo } from './go.ts'
import { installWithPip } from './pip.ts'

/**
 * Installs the programs of one tool module in `toolDirectory`, all or none. An interrupted build continues
 * where it was, because Go keeps what it compiled.
 *
 * @param interrupt ends the build when aborted.
 * @param onProgress gets the share that is done, 0 to 1, and what there is to say about it.
 * @throws ActionableError when something needed is missing or the build fails.
 */
export async function buildTool(
  config: BoxConfig,
  tool: Tool,
  interrupt: AbortSignal,
  onProgress: (share: number, text: string) => void,
): Promise<void> {
  const target = toolDirectory(config, tool)
  // Each process has its own: two checkouts may build the same pin at the same time.
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
  // Where the other process was faster, its programs are in use by now.
  if (existsSync(target)) await rm(unfinished, { recursive: true, force: true })
  else await rename(unfinished, target)
}
