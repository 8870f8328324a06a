import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, renameSync, statSync } from 'node:fs'
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ActionableError } from 'shared/errors'
import type { Component, ComponentName, Probe } from '../components/component.ts'
import type { ComponentStatus } from './status.ts'

export interface SupervisorOptions {
  logDirectory: string
  /** Resolves to undefined when the probe succeeds, otherwise to the reason why it failed. */
  runProbe: (probe: Probe) => Promise<string | undefined>
  onChange: (components: ComponentStatus[]) => void
  /** Time from a component's start until it must be ready, in milliseconds. */
  startTimeout: number
  /** Time from a component's stop signal until SIGKILL, in milliseconds. */
  stopTimeout: number
  /**
   * How long the probe of a ready component may fail until the component counts as hung and is restarted, in
   * milliseconds. Time during which one of its dependencies is not ready does not count.
   */
  hangTimeout: number
  /** Interval between probes of a component that has been ready, in milliseconds. */
  watchInterval: number
  /** First delay before a restart, in milliseconds; it doubles up to 10 s. */
  restartDelay: number
}

interface Supervised {
  component: Component
  status: ComponentStatus
  process?: ChildProcess
  /** Settles when the component becomes ready for the first time, or fails to. */
  firstReady: PromiseWithResolvers<void>
  /** Settles when the component is no longer restarted. */
  restartLoop?: Promise<void>
}

/** One run of a component's process. */
interface Run {
  process: ChildProcess
  /** Resolves to how the process exited, as the rest of a sentence. */
  exit: Promise<string>
  /** Aborted when the process has exited. */
  exited: AbortSignal
  /** Size of the log when the process started: everything before it belongs to earlier runs. */
  logStart: number
}

/** Why a run ended. */
interface RunEnd {
  cause: string
  nextStep?: string
  logStart?: number
  /** When the component became ready in this run; undefined if it never did. */
  readySince?: number
}

const probeInterval = 200
/** Consecutive failed probes after which a component is unready, like Kubernetes' default failureThreshold. */
const failureThreshold = 3
const longestRestartDelay = 10_000
const largestLog = 20 * 1024 * 1024
/** How much of the end of a log a diagnosis reads, in bytes. */
const longestTail = 64 * 1024

/** Starts components in dependency order, restarts them when they exit or hang, and stops them in reverse order. */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #all = new Map<ComponentName, Supervised>()
  readonly #stopping = new AbortController()

  constructor(components: readonly Component[], options: SupervisorOptions) {
    this.#options = options
    for (const component of components) {
      const firstReady = Promise.withResolvers<void>()
      firstReady.promise.catch(() => {})
      this.#all.set(component.name, {
        component,
        status: { name: component.name, state: 'waiting', restarts: 0 },
        firstReady,
      })
    }
  }

  /**
   * Starts every component; resolves when each has become ready.
   *
   * @throws ActionableError that names the component that did not start, with the cause.
   */
  async start(): Promise<void> {
    for (const supervised of this.#all.values()) supervised.restartLoop = this.#keepRunning(supervised)
    await Promise.all([...this.#all.values()].map(({ firstReady }) => firstReady.promise))
  }

  /** Stops every component, dependents first. A component that ignores its stop signal gets SIGKILL. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const stopped = new Map<ComponentName, Promise<void>>()
    const stopAfterDependents = (name: ComponentName): Promise<void> => {
      const known = stopped.get(name)
      if (known !== undefined) return known
      const dependents = [...this.#all.values()].filter(({ component }) => component.dependsOn.includes(name))
      const stopping = Promise.all(
        dependents.map(({ component }) => stopAfterDependents(component.name)),
      ).then(() => this.#stopOne(name))
      stopped.set(name, stopping)
      return stopping
    }
    await Promise.all([...this.#all.keys()].map(stopAfterDependents))
  }

  async #stopOne(name: ComponentName): Promise<void> {
    const supervised = this.#all.get(name)
    if (supervised === undefined) return
    const { component, process, restartLoop } = supervised
    if (process?.exitCode === null && process.signalCode === null) {
      const killTimer = this.#terminate(component, process)
      await restartLoop
      clearTimeout(killTimer)
    }
    this.#update(supervised, { state: 'stopped' })
  }

  /** Sends the component its stop signal, and SIGKILL after `stopTimeout` unless the caller clears the timer. */
  #terminate(component: Component, process: ChildProcess): NodeJS.Timeout {
    process.kill(component.stopSignal ?? 'SIGTERM')
    return setTimeout(() => process.kill('SIGKILL'), this.#options.stopTimeout)
  }

  async #keepRunning(supervised: Supervised): Promise<void> {
    const { component, firstReady } = supervised
    try {
      await Promise.all(component.dependsOn.map((name) => this.#all.get(name)?.firstReady.promise))
    } catch {
      // The failed dependency has already reported the cause.
      return
    }
    let delay = this.#options.restartDelay
    while (!this.#stopping.signal.aborted) {
      const end = await this.#runOnce(supervised)
      if (this.#stopping.signal.aborted) return
      const failure = await this.#diagnose(component, end)
      const { restarts } = supervised.status
      if (restarts === 0 && end.readySince === undefined) {
        this.#update(supervised, { state: 'failed', ...failure })
        firstReady.reject(new ActionableError(failure.message, failure.nextStep))
        return
      }
      console.error(`${new Date().toISOString()} restarting ${component.name}: ${failure.message}`)
      this.#update(supervised, { state: 'restarting', restarts: restarts + 1, ...failure })
      const stable = end.readySince !== undefined && Date.now() - end.readySince > longestRestartDelay
      if (stable) delay = this.#options.restartDelay
      await sleep(delay, undefined, { signal: this.#stopping.signal }).catch(() => {})
      delay = Math.min(delay * 2, longestRestartDelay)
    }
  }

  /** Starts a component and watches it; resolves when its process has exited. */
  async #runOnce(supervised: Supervised): Promise<RunEnd> {
    const { component, firstReady } = supervised
    let run: Run
    try {
      run = await this.#spawn(supervised)
    } catch (error) {
      // An error such as a full disk must not end the other components.
      return {
        cause: `${component.name} could not be started: ${error instanceof Error ? error.message : error}`,
      }
    }
    const { logStart, process } = run
    const failure = await this.#waitUntilReady(component, run)
    if (failure !== undefined) {
      process.kill('SIGKILL')
      await run.exit
      return { ...failure, logStart }
    }
    this.#update(supervised, { state: 'ready' })
    firstReady.resolve()
    const readySince = Date.now()
    const probeFailure = await this.#watch(supervised, run)
    if (probeFailure === undefined) {
      return { cause: `${component.name} ${await run.exit}`, logStart, readySince }
    }
    const cause = `${component.name} hung: ${probeFailure}`
    this.#update(supervised, { state: 'restarting', message: cause, nextStep: logHint(component.name) })
    const killTimer = this.#terminate(component, process)
    await run.exit
    clearTimeout(killTimer)
    return { cause, logStart, readySince }
  }

  async #spawn(supervised: Supervised): Promise<Run> {
    const { component } = supervised
    for (const [path, content] of Object.entries(component.files)) await writeIfChanged(path, content)
    this.#stopping.signal.throwIfAborted()
    const log = this.#openLog(component.name)
    try {
      const logStart = fstatSync(log).size
      const [program, ...args] = component.command
      const process = spawn(program, args, {
        stdio: ['ignore', log, log],
        env: { ...globalThis.process.env, ...component.environment },
      })
      const exited = new AbortController()
      const exit = new Promise<string>((resolve) => {
        process.on('error', (error) => resolve(`could not be started: ${error.message}`))
        process.on('exit', (code, signal) => {
          resolve(signal === null ? `exited with code ${code}` : `was killed by ${signal}`)
        })
      })
      exit.then(() => exited.abort())
      supervised.process = process
      const pid = process.pid
      this.#update(supervised, { state: 'starting', ...(pid === undefined ? {} : { pid }) })
      return { process, exit, exited: exited.signal, logStart }
    } finally {
      closeSync(log)
    }
  }

  /** Resolves to undefined when the component is ready, otherwise to the reason why it is not. */
  async #waitUntilReady(component: Component, { exit, exited }: Run): Promise<RunEnd | undefined> {
    const deadline = Date.now() + this.#options.startTimeout
    const commands = (component.afterReady ?? []).map((command): Probe => ({ kind: 'command', command }))
    for (const probe of [component.probe, ...commands]) {
      let failure = await this.#options.runProbe(probe)
      while (failure !== undefined) {
        if (exited.aborted) return { cause: `${component.name} ${await exit} before it was ready` }
        if (Date.now() > deadline) {
          return {
            cause: `${component.name} was not ready after ${this.#options.startTimeout / 1000} s: ${failure}`,
            nextStep: `see \`make logs C=${component.name}\`; on a slow machine raise BOX_START_TIMEOUT_SECONDS`,
          }
        }
        await sleep(probeInterval)
        failure = await this.#options.runProbe(probe)
      }
    }
    return undefined
  }

  /** Probes a ready component. Resolves to undefined when its process exits, to the probe's failure when it hangs. */
  async #watch(supervised: Supervised, { exited }: Run): Promise<string | undefined> {
    const { component } = supervised
    let failures = 0
    let failingSince = 0
    while (true) {
      await sleep(this.#options.watchInterval, undefined, { signal: exited }).catch(() => {})
      if (exited.aborted) return undefined
      const failure = await this.#options.runProbe(component.probe)
      if (exited.aborted) return undefined
      if (failure === undefined) {
        failures = 0
        if (supervised.status.state !== 'ready') this.#update(supervised, { state: 'ready' })
        continue
      }
      failures++
      const isBlocked = component.dependsOn.some((name) => this.#all.get(name)?.status.state !== 'ready')
      if (failures === 1 || isBlocked) failingSince = Date.now()
      if (failures < failureThreshold) continue
      if (Date.now() - failingSince >= this.#options.hangTimeout) return failure
      if (supervised.status.message !== failure) {
        this.#update(supervised, { state: 'unready', message: failure, nextStep: logHint(component.name) })
      }
    }
  }

  /** Explains why a run ended: by the component's known failures, by common ones, or by the last line of its log. */
  async #diagnose(component: Component, end: RunEnd): Promise<{ message: string; nextStep: string }> {
    const tail = end.logStart === undefined ? '' : await this.#readLog(component.name, end.logStart)
    for (const { pattern, cause, nextStep } of component.diagnoses) {
      if (pattern.test(tail)) return { message: cause, nextStep }
    }
    if (/address already in use/.test(tail.slice(-4096))) {
      return {
        message: `${component.name} cannot listen: its port is already in use inside the box`,
        nextStep: 'run `make stop`, then `make up`, to start every component again',
      }
    }
    if (/no space left on device|ENOSPC/i.test(`${end.cause}\n${tail.slice(-4096)}`)) {
      return {
        message: `${component.name} cannot write: the disk of the box's state is full`,
        nextStep: 'free disk space, then run `make up`',
      }
    }
    const last = tail.trimEnd().split('\n').at(-1) ?? ''
    return {
      message: last === '' ? end.cause : `${end.cause}; its last log line: ${last.slice(0, 300)}`,
      nextStep: end.nextStep ?? logHint(component.name),
    }
  }

  /** Reads the end of a component's log, but nothing before byte `start`. */
  async #readLog(name: string, start: number): Promise<string> {
    const file = await open(this.#logPath(name)).catch(() => undefined)
    if (file === undefined) return ''
    try {
      const { size } = await file.stat()
      const from = Math.max(start, size - longestTail)
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(longestTail), position: from })
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  }

  #logPath(name: string): string {
    return join(this.#options.logDirectory, `${name}.log`)
  }

  #openLog(name: string): number {
    const path = this.#logPath(name)
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > largestLog) renameSync(path, `${path}.1`)
    return openSync(path, 'a')
  }

  /** Changes a component's status; without a new message, the old one is removed. */
  #update(supervised: Supervised, change: Partial<ComponentStatus>): void {
    const { message: _message, nextStep: _nextStep, ...kept } = supervised.status
    supervised.status = { ...kept, ...change }
    this.#options.onChange([...this.#all.values()].map(({ status }) => status))
  }
}

/** Writes a file atomically unless it has this content: on a full disk, the old file stays intact. */
async function writeIfChanged(path: string, content: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === content) return
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.new`, content)
  await rename(`${path}.new`, path)
}

function logHint(name: ComponentName): string {
  return `see its log: \`make logs C=${name}\``
}
