import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdir, readFile, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BoxConfig, DEFAULT_STATE_ROOT } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { fingerprint } from '../components/index.ts'
import { boxPaths } from '../state-directory.ts'
import { claimStateDirectory, requireBoxDirectory } from './ownership.ts'
import { requireRoot } from './preconditions.ts'
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
  await claimStateDirectory(config)
  await mkdir(logs, { recursive: true })
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
