import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { chown, mkdir, readdir, readFile, rm, rmdir, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import {
  type BoxConfig,
  DEFAULT_STATE_ROOT,
  DISK_NEEDED,
  kubeconfigPath,
  operatorKeyPath,
  portVariables,
} from 'shared/box'
import { ActionableError } from 'shared/errors'
import { missingTools, UP_TOOLS } from 'shared/tools'
import { fingerprint } from '../components/index.ts'
import { boxPaths } from '../state-directory.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, isRunning, type ProcessIdentity, readStatus } from './status.ts'
import { sweep } from './sweep.ts'
import { timeLimits } from './time-limits.ts'

const pollInterval = 200

/** The status of the running box; undefined when no box of this name runs. */
export async function runningBox(config: BoxConfig): Promise<BoxStatus | undefined> {
  const status = await readStatus(config)
  return status !== undefined && isRunning(status.host) ? status : undefined
}

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

/** File that marks a state directory as created by a box, which may remove it. */
const marker = '.eks-box'

/**
 * Checks that the box may write to and remove the state directory: it must be new, empty, or created by a box.
 *
 * @throws ActionableError when the directory contains anything else.
 */
async function requireBoxDirectory(config: BoxConfig): Promise<void> {
  const { stateDir } = config
  if (!existsSync(stateDir) || existsSync(join(stateDir, marker))) return
  if ((await readStatus(config)) !== undefined || (await readdir(stateDir)).length === 0) return
  throw new ActionableError(
    `${stateDir} contains files that were not created by a box`,
    'set BOX_STATE_DIR and BOX_NAME so that <BOX_STATE_DIR>/<BOX_NAME> is a new directory or belongs to a box',
  )
}

/**
 * The environment of the box's programs. Only known variables are inherited: a proxy would break requests that never
 * leave the box, and a setting such as NODE_OPTIONS would change the behaviour of the components.
 */
export function boxEnvironment(config: BoxConfig, env: NodeJS.ProcessEnv): Record<string, string> {
  const kept = Object.entries(env).filter(([name]) => /^(PATH|LANG|LC_\w+|TZ|TERM|BOX_\w+)$/.test(name))
  return {
    ...(Object.fromEntries(kept) as Record<string, string>),
    HOME: boxPaths(config).home,
    BOX_NAME: config.name,
    BOX_STATE_DIR: dirname(config.stateDir),
    BOX_CACHE_DIR: config.cacheDir,
  }
}

/**
 * Starts the box; resolves when every component is ready.
 *
 * @param onStatus called with every new status during the start.
 * @param signal stops the box when aborted.
 * @throws ActionableError that names what did not start, with the cause.
 */
export async function startBox(
  config: BoxConfig,
  onStatus: (status: BoxStatus) => void,
  signal: AbortSignal,
  env = process.env,
): Promise<void> {
  await removeRemains(config)
  const { logs } = boxPaths(config)
  await mkdir(logs, { recursive: true })
  await writeFile(join(config.stateDir, marker), '')
  await rm(join(config.stateDir, 'status.json'), { force: true })
  const logPath = join(logs, 'box.log')
  const log = openSync(logPath, 'w')
  const host = spawn(process.execPath, [join(import.meta.dirname, 'host.ts')], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    env: boxEnvironment(config, env),
  })
  closeSync(log)
  const hostExited = new Promise<void>((resolve) => host.once('exit', () => resolve()))
  const abandon = async () => {
    host.ref()
    host.kill('SIGTERM')
    const killTimer = setTimeout(() => host.kill('SIGKILL'), timeLimits(config).boxStop)
    await hostExited
    clearTimeout(killTimer)
    await removeRemains(config)
  }
  host.unref()

  const { boxStart } = timeLimits(config)
  const deadline = Date.now() + boxStart
  let reported = ''
  while (true) {
    if (signal.aborted) {
      await abandon()
      throw new ActionableError('interrupted while the box was starting', 'run `make up` again')
    }
    // Checked before the status is read, so that the last status of the host process is not missed.
    const hasExited = host.exitCode !== null || host.signalCode !== null
    const status = await readStatus(config)
    if (hasExited) {
      const failure = status?.failure ?? hostFailure(await readFile(logPath, 'utf8'))
      throw new ActionableError(failure.message, failure.nextStep)
    }
    if (status !== undefined) {
      const now = JSON.stringify(status)
      if (now !== reported) onStatus(status)
      reported = now
      if (status.phase === 'ready') return
    }
    if (Date.now() > deadline) {
      await abandon()
      throw new ActionableError(
        `the box was not ready after ${boxStart / 1000} s`,
        'see `make logs C=box`; on a slow machine set BOX_START_TIMEOUT_SECONDS to more than ' +
          config.startTimeoutSeconds,
      )
    }
    await sleep(pollInterval)
  }
}

/** Reads the error that the host process printed when it failed before it wrote a status. */
function hostFailure(log: string): { message: string; nextStep: string } {
  const message = /^error: (.*)$/m.exec(log)?.[1]
  const nextStep = /^ next: (.*)$/m.exec(log)?.[1]
  return {
    message: message ?? 'the box ended without an error message',
    nextStep: nextStep ?? 'see `make logs C=box`',
  }
}

/** Whether the running box matches this checkout and configuration. */
export function isCurrent(config: BoxConfig, status: BoxStatus): boolean {
  return status.fingerprint === fingerprint(config)
}

/**
 * Waits until every component of a running box is ready, including those that are being restarted.
 *
 * @throws ActionableError that names the components that are not ready, or the reason why the box ended.
 */
export async function awaitReady(config: BoxConfig, status: BoxStatus, signal: AbortSignal): Promise<void> {
  const { boxStart, componentHang } = timeLimits(config)
  // Long enough to detect, stop and restart a hung component.
  const deadline = Date.now() + (status.phase === 'starting' ? boxStart : 2 * componentHang)
  while (!signal.aborted) {
    const now = await readStatus(config)
    if (now?.phase === 'ready') return
    if (now === undefined || !isRunning(now.host)) {
      throw new ActionableError(
        `box ${config.name} ended${now?.failure === undefined ? '' : `: ${now.failure.message}`}`,
        now?.failure?.nextStep ?? 'see `make logs C=box`, then run `make up` again',
      )
    }
    if (Date.now() > deadline) {
      const unready = now.components.filter(({ state }) => state !== 'ready')
      const [first] = unready
      throw new ActionableError(
        `box ${config.name} is ${now.phase}: ${unready
          .map(
            ({ name, state, message }) =>
              `${name} is ${state}${message === undefined ? '' : ` (${message})`}`,
          )
          .join('; ')}`,
        `${first?.nextStep ?? 'see `make status`'}; to restart every component, run \`make stop\`, then \`make up\``,
      )
    }
    await sleep(pollInterval)
  }
  throw new ActionableError(`interrupted while waiting for box ${config.name}`, 'run `make up` again')
}

/** Makes the caller of sudo the owner of the kubeconfig and the AWS key; otherwise only root could use the cluster. */
export async function handOver(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (!(uid > 0 && gid >= 0)) return
  for (const path of [kubeconfigPath(config), operatorKeyPath(config)]) await chown(path, uid, gid)
  // `make apply` keeps the Terraform state of the local environment here.
  const terraform = join(config.stateDir, 'terraform')
  await mkdir(terraform, { recursive: true })
  await giveTo(`${uid}:${gid}`, terraform)
}

/** Makes the caller of sudo the owner of the built tools, so that a later `make tools` works without sudo. */
export async function handOverTools(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (uid > 0 && gid >= 0) await giveTo(`${uid}:${gid}`, config.cacheDir)
}

async function giveTo(owner: string, directory: string): Promise<void> {
  await execa('chown', ['--recursive', '--no-dereference', owner, directory])
}

/**
 * Stops the box and keeps its state for the next start; resolves when its last process has exited.
 *
 * @throws ActionableError when the caller is not root.
 */
export async function stopBox(config: BoxConfig): Promise<void> {
  const status = await runningBox(config)
  if (status !== undefined) {
    requireRoot(`box ${config.name} belongs to root`, 'stop')
    process.kill(status.host.pid, 'SIGTERM')
    if (!(await hasExitedWithin(status.host, timeLimits(config).boxStop))) await kill(config, status.host)
  }
  await removeRemains(config)
}

/** Kills the processes and removes the files that a killed host process may have left behind. */
async function removeRemains(config: BoxConfig): Promise<void> {
  const remains = (await readStatus(config))?.namespaces
  if (remains !== undefined && isRunning(remains)) await kill(config, remains)
  await sweep(config)
}

async function kill(config: BoxConfig, identity: ProcessIdentity): Promise<void> {
  process.kill(identity.pid, 'SIGKILL')
  if (await hasExitedWithin(identity, timeLimits(config).boxStop)) return
  throw new ActionableError(
    `process ${identity.pid} of the box does not exit after SIGKILL`,
    `run \`cat /proc/${identity.pid}/stack\` to see what it waits for in the kernel`,
  )
}

/** Whether the process exits within `timeout` milliseconds. */
async function hasExitedWithin(identity: ProcessIdentity, timeout: number): Promise<boolean> {
  const deadline = Date.now() + timeout
  while (isRunning(identity)) {
    if (Date.now() > deadline) return false
    await sleep(50)
  }
  return true
}

/**
 * Stops the box and removes everything that it wrote, including the cluster's data. Keeps the tools.
 *
 * @returns whether there was a box.
 * @throws ActionableError when the caller is not root, or the directory was not created by a box.
 */
export async function removeBox(config: BoxConfig): Promise<boolean> {
  const existed = existsSync(config.stateDir)
  await requireBoxDirectory(config)
  if (existed) requireRoot(`box ${config.name} belongs to root`, 'down')
  await stopBox(config)
  await rm(config.stateDir, { recursive: true, force: true })
  await rmdir(DEFAULT_STATE_ROOT).catch((error: NodeJS.ErrnoException) => {
    // Other boxes keep their state there, or the directory never existed.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error
  })
  return existed
}
