import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdir, readFile, rm, rmdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { boxPaths } from './component.ts'
import { fingerprint } from './components/index.ts'
import { type BoxConfig, DEFAULT_STATE_ROOT, DISK_NEEDED, portVariables, timeLimits } from './config.ts'
import { ActionableError } from './errors.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, isRunning, type ProcessIdentity, readStatus } from './status.ts'
import { sweep } from './sweep.ts'
import { missingTools } from './tools.ts'

const pollInterval = 200

/** The status of a running box; undefined when none runs under this name. */
export async function runningBox(config: BoxConfig): Promise<BoxStatus | undefined> {
  const status = await readStatus(config)
  return status !== undefined && isRunning(status.host) ? status : undefined
}

/**
 * Checks what would make a start fail later and less clearly.
 *
 * @throws ActionableError for the first thing that is in the way.
 */
export async function checkMachine(config: BoxConfig): Promise<void> {
  if (process.platform !== 'linux') {
    throw new ActionableError(
      `the box needs Linux, this is ${process.platform}`,
      'run it in a Linux virtual machine, or use a cluster you have: KUBE_CONTEXT=<context> make deploy',
    )
  }
  if (process.getuid?.() !== 0) {
    throw new ActionableError(
      'the box makes namespaces and mounts, which needs root',
      'run `sudo env "PATH=$PATH" make up`, or use a cluster you have: KUBE_CONTEXT=<context> make deploy',
    )
  }
  await requireDisk(config.stateDir, DISK_NEEDED.run, 'the box needs', 'BOX_STATE_DIR')
  if (missingTools(config).length > 0) {
    await requireDisk(config.cacheDir, DISK_NEEDED.build, 'building the tools needs', 'BOX_CACHE_DIR')
  }
  for (const [name, variable] of Object.entries(portVariables)) {
    const listener = await openPort(config.ports[name as keyof BoxConfig['ports']], variable)
    listener.close()
  }
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
): Promise<void> {
  await endRemains(config)
  await rm(join(config.stateDir, 'status.json'), { force: true })
  const { logs } = boxPaths(config)
  await mkdir(logs, { recursive: true })
  const logPath = join(logs, 'box.log')
  const log = openSync(logPath, 'w')
  const host = spawn(process.execPath, [join(import.meta.dirname, 'host.ts')], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, BOX_NAME: config.name },
  })
  closeSync(log)
  const hostEnded = new Promise((resolve) => host.once('exit', resolve))
  const abandon = async () => {
    host.ref()
    host.kill('SIGTERM')
    await hostEnded
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
    const status = await readStatus(config)
    if (status !== undefined) {
      const now = JSON.stringify(status)
      if (now !== seen) onStatus(status)
      seen = now
      if (status.phase === 'ready') return
    }
    if (host.exitCode !== null || host.signalCode !== null) {
      const failure = status?.failure ?? hostFailure(await readFile(logPath, 'utf8'))
      throw new ActionableError(failure.message, failure.nextStep)
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

/** Stops the box and leaves its state for the next start; resolves when its last process has ended. */
export async function stopBox(config: BoxConfig): Promise<void> {
  const status = await readStatus(config)
  if (status !== undefined && isRunning(status.host)) {
    process.kill(status.host.pid, 'SIGTERM')
    await ended(status.host, timeLimits(config).boxStop)
  }
  await endRemains(config)
}

/** Ends what a host process that was killed may have left, and cleans up after it. */
async function endRemains(config: BoxConfig): Promise<void> {
  const remains = (await readStatus(config))?.namespaces
  if (remains !== undefined && isRunning(remains)) {
    process.kill(remains.pid, 'SIGKILL')
    await ended(remains, timeLimits(config).boxStop)
  }
  await sweep(config)
}

async function ended(identity: ProcessIdentity, timeout: number): Promise<void> {
  const deadline = Date.now() + timeout
  while (isRunning(identity)) {
    if (Date.now() > deadline) {
      throw new ActionableError(
        `process ${identity.pid} of the box does not end`,
        `see what it waits for with \`cat /proc/${identity.pid}/stack\``,
      )
    }
    await sleep(50)
  }
}

/** Stops the box and removes everything it ever wrote, the cluster's data included; the tools stay. */
export async function removeBox(config: BoxConfig): Promise<boolean> {
  const existed = existsSync(config.stateDir)
  await stopBox(config)
  await rm(config.stateDir, { recursive: true, force: true })
  await rmdir(DEFAULT_STATE_ROOT).catch((error: NodeJS.ErrnoException) => {
    // Another box is there, or there never was one.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error
  })
  return existed
}
