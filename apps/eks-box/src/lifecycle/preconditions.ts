/** Whether this machine and this user may run a box. */
import { mkdir, statfs } from 'node:fs/promises'
import { type BoxConfig, DISK_NEEDED, portVariables } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { missingTools, UP_TOOLS } from 'shared/tools'
import { requireBoxDirectory } from './ownership.ts'
import { openPort } from './ports.ts'
import type { BoxStatus } from './status.ts'

/**
 * Checks the preconditions of a start, so that it does not fail later with a less clear error.
 *
 * @param running the running box of this name; the new one takes over its ports.
 * @throws ActionableError for the first precondition that is not met.
 */
export async function checkMachine(config: BoxConfig, running?: BoxStatus): Promise<void> {
  if (process.platform !== 'linux') {
    throw new ActionableError(
      `the box needs Linux, but this is ${process.platform}`,
      'run it in a Linux virtual machine, or use an existing cluster: KUBE_CONTEXT=<context> make deploy',
    )
  }
  requireRoot(
    'the box needs root to create namespaces and mounts',
    'up',
    ', or use an existing cluster: KUBE_CONTEXT=<context> make deploy',
  )
  await requireBoxDirectory(config)
  await requireDisk(config.stateDir, DISK_NEEDED.run, 'the box needs', 'BOX_STATE_DIR')
  if (missingTools(config, UP_TOOLS).length > 0) {
    await requireDisk(config.cacheDir, DISK_NEEDED.build, 'building the tools needs', 'BOX_CACHE_DIR')
  }
  const held = Object.values(running?.ports ?? {})
  for (const [name, variable] of Object.entries(portVariables)) {
    const port = config.ports[name as keyof BoxConfig['ports']]
    if (held.includes(port)) continue
    const listener = await openPort(port, variable)
    listener.close()
  }
}

/**
 * @param target the make target that needs root.
 * @param alternative appended to the next step.
 * @throws ActionableError with the sudo command to run, unless this process runs as root.
 */
export function requireRoot(message: string, target: string, alternative = '', env = process.env): void {
  if (process.getuid?.() === 0) return
  // sudo drops the environment, but the box's settings and the proxy settings are needed.
  const kept = Object.keys(env).filter((name) => /^BOX_|^(https?|all|no)_proxy$/i.test(name))
  const assignments = ['PATH', ...kept].map((name) => `"${name}=$${name}"`).join(' ')
  throw new ActionableError(message, `run \`sudo env ${assignments} make ${target}\`${alternative}`)
}

async function requireDisk(directory: string, needed: number, what: string, variable: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  const { bavail, bsize } = await statfs(directory)
  const free = (bavail * bsize) / 2 ** 30
  if (free >= needed) return
  throw new ActionableError(
    `${directory} has ${free.toFixed(1)} GiB free; ${what} ${needed}`,
    `free disk space, or set ${variable} to a larger disk`,
  )
}
