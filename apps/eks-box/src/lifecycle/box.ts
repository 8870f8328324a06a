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
import { fingerprint } from '../components/index.ts'
import { boxPaths } from '../state-directory.ts'
import { missingTools, UP_TOOLS } from '../tools.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, isRunning, type ProcessIdentity, readStatus } from './status.ts'
import { sweep } from './sweep.ts'
import { timeLimits } from './time-limits.ts'

const pollInterval = 200

/** The status of a running box; undefined when none runs under this name. */
export async function runningBox(config: BoxConfig): Promise<BoxStatus | undefined> {
  const status = await readStatus(config)
  return status !== undefined && isRunning(status.host) ? status : undefined
}

/**
 * Checks what would make a start fail later and less clearly.
 *
 * @param running the box of this name that runs already, whose ports are free for its successor.
 * @throws ActionableError for the first thing that is in the way.
 */
export async function checkMachine(config: BoxConfig, running?: BoxStatus): Promise<void> {
  if (process.platform !== 'linux') {
    throw new ActionableError(
      `the box needs Linux, this is ${process.platform}`,
      'run it in a Linux virtual machine, or use a cluster you have: KUBE_CONTEXT=<context> make deploy',
    )
  }
  requireRoot(
    'the box makes namespaces and mounts, which needs root',
    'up',
    ', or use a cluster you have: KUBE_CONTEXT=<context> make deploy',
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
 * @param otherwise what else the caller can do, to be added to the next step.
 * @throws ActionableError with the command to run instead, when this process is not root's.
 */
export function requireRoot(message: string, target: string, otherwise = '', env = process.env): void {
  if (process.getuid?.() === 0) return
  // sudo forgets the environment; the box's own settings and the way to the internet have to go along.
  const kept = Object.keys(env).filter((name) => /^BOX_|^(https?|all|no)_proxy$/i.test(name))
  const assignments = ['PATH', ...kept].map((name) => `"${name}=$${name}"`).join(' ')
  throw new ActionableError(message, `run \`sudo env ${assignments} make ${target}\`${otherwise}`)
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

/** Marks a state directory as one that a box made and may remove. */
const marker = '.eks-box'

/**
 * Makes sure that the state directory is the box's to fill and to remove: new, empty, or marked by a box.
 *
 * @throws ActionableError when it holds anything else.
 */
async function requireBoxDirectory(config: BoxConfig): Promise<void> {
  const { stateDir } = config
  if (!existsSync(stateDir) || existsSync(join(stateDir, marker))) return
  if ((await readStatus(config)) !== undefined || (await readdir(stateDir)).length === 0) return
  throw new ActionableError(
    `${stateDir} holds files that no box made`,
    'set BOX_STATE_DIR and BOX_NAME so that <BOX_STATE_DIR>/<BOX_NAME> is a new directory or one of a box',
  )
}

/**
 * The environment of the box's programs. It is chosen rather than inherited: a proxy would catch requests that
 * never leave the box, and a setting such as NODE_OPTIONS would change how the components behave.
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
 * Starts the box and resolves when every component is ready.
 *
 * @param onStatus is called with every new status while it starts.
 * @param signal stops the box again when aborted.
 * @throws ActionableError naming what did not start and why.
 */
export async function startBox(
  config: BoxConfig,
  onStatus: (status: BoxStatus) => void,
  signal: AbortSignal,
  env = process.env,
): Promise<void> {
  await endRemains(config)
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
  const hostEnded = new Promise<void>((resolve) => host.once('exit', () => resolve()))
  const abandon = async () => {
    host.ref()
    host.kill('SIGTERM')
    const overdue = setTimeout(() => host.kill('SIGKILL'), timeLimits(config).boxStop)
    await hostEnded
    clearTimeout(overdue)
    await endRemains(config)
  }
  host.unref()

  const { boxStart } = timeLimits(config)
  const deadline = Date.now() + boxStart
  let seen = ''
  while (true) {
    if (signal.aborted) {
      await abandon()
      throw new ActionableError('stopped while the box was starting', 'run `make up` again')
    }
    // Asked before the status is read: the last one that the host process writes is then seen.
    const hasEnded = host.exitCode !== null || host.signalCode !== null
    const status = await readStatus(config)
    if (hasEnded) {
      const failure = status?.failure ?? hostFailure(await readFile(logPath, 'utf8'))
      throw new ActionableError(failure.message, failure.nextStep)
    }
    if (status !== undefined) {
      const now = JSON.stringify(status)
      if (now !== seen) onStatus(status)
      seen = now
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

/** What the host process printed before it could write a status. */
function hostFailure(log: string): { message: string; nextStep: string } {
  const message = /^error: (.*)$/m.exec(log)?.[1]
  const nextStep = /^ next: (.*)$/m.exec(log)?.[1]
  return {
    message: message ?? 'the box ended before it said why',
    nextStep: nextStep ?? 'see `make logs C=box`',
  }
}

/** Whether the running box is the one this checkout and environment describe. */
export function isCurrent(config: BoxConfig, status: BoxStatus): boolean {
  return status.fingerprint === fingerprint(config)
}

/**
 * Waits until every component of a running box is ready: one that has ended or hangs is started again.
 *
 * @throws ActionableError naming the components that are not, or what ended the box.
 */
export async function awaitReady(config: BoxConfig, status: BoxStatus, signal: AbortSignal): Promise<void> {
  const { boxStart, componentHang } = timeLimits(config)
  // Long enough for a component that hangs to be found, ended, and started again.
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
      const broken = now.components.filter(({ state }) => state !== 'ready')
      const [first] = broken
      throw new ActionableError(
        `box ${config.name} is ${now.phase}: ${broken
          .map(
            ({ name, state, message }) =>
              `${name} is ${state}${message === undefined ? '' : ` (${message})`}`,
          )
          .join('; ')}`,
        `${first?.nextStep ?? 'see `make status`'}; to start every component again: \`make stop\`, then \`make up\``,
      )
    }
    await sleep(pollInterval)
  }
  throw new ActionableError(`stopped while waiting for box ${config.name}`, 'run `make up` again')
}

/** What the person who called sudo works with once the box is up: without it only root could use the cluster. */
export async function handOver(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (!(uid > 0 && gid >= 0)) return
  for (const path of [kubeconfigPath(config), operatorKeyPath(config)]) await chown(path, uid, gid)
  // `make apply` keeps the state of the local environment here.
  const terraform = join(config.stateDir, 'terraform')
  await mkdir(terraform, { recursive: true })
  await giveTo(`${uid}:${gid}`, terraform)
}

/** Makes the caller of sudo the owner of what was built, or `make tools` could not go on without sudo. */
export async function handOverTools(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (uid > 0 && gid >= 0) await giveTo(`${uid}:${gid}`, config.cacheDir)
}

async function giveTo(owner: string, directory: string): Promise<void> {
  await execa('chown', ['--recursive', '--no-dereference', owner, directory])
}

/**
 * Stops the box and leaves its state for the next start; resolves when its last process has ended.
 *
 * @throws ActionableError when the caller is not root.
 */
export async function stopBox(config: BoxConfig): Promise<void> {
  const status = await runningBox(config)
  if (status !== undefined) {
    requireRoot(`box ${config.name} belongs to root`, 'stop')
    process.kill(status.host.pid, 'SIGTERM')
    if (!(await ended(status.host, timeLimits(config).boxStop))) await kill(config, status.host)
  }
  await endRemains(config)
}

/** Ends what a host process that was killed may have left, and cleans up after it. */
async function endRemains(config: BoxConfig): Promise<void> {
  const remains = (await readStatus(config))?.namespaces
  if (remains !== undefined && isRunning(remains)) await kill(config, remains)
  await sweep(config)
}

async function kill(config: BoxConfig, identity: ProcessIdentity): Promise<void> {
  process.kill(identity.pid, 'SIGKILL')
  if (await ended(identity, timeLimits(config).boxStop)) return
  throw new ActionableError(
    `process ${identity.pid} of the box does not end`,
    `see what it waits for with \`cat /proc/${identity.pid}/stack\``,
  )
}

/** Whether the process ended within `timeout` milliseconds. */
async function ended(identity: ProcessIdentity, timeout: number): Promise<boolean> {
  const deadline = Date.now() + timeout
  while (isRunning(identity)) {
    if (Date.now() > deadline) return false
    await sleep(50)
  }
  return true
}

/**
 * Stops the box and removes everything it ever wrote, the cluster's data included; the tools stay.
 *
 * @returns whether there was a box.
 * @throws ActionableError when the caller is not root, or the directory is not a box's.
 */
export async function removeBox(config: BoxConfig): Promise<boolean> {
  const existed = existsSync(config.stateDir)
  await requireBoxDirectory(config)
  if (existed) requireRoot(`box ${config.name} belongs to root`, 'down')
  await stopBox(config)
  await rm(config.stateDir, { recursive: true, force: true })
  await rmdir(DEFAULT_STATE_ROOT).catch((error: NodeJS.ErrnoException) => {
    // Another box is there, or there never was one.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error
  })
  return existed
}
