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
  ask: (probe: Probe) => Promise<string | undefined>
  onChange: (components: ComponentStatus[]) => void
  /** How long a component may take from its start to its first answer, in milliseconds. */
  startTimeout: number
  /** How long a component may take from its stop signal until it is killed, in milliseconds. */
  stopTimeout: number
  /**
   * How long a component's probe may fail before the component is taken for hung and started again, in
   * milliseconds. Time in which a component it depends on is not ready does not count.
   */
  hangTimeout: number
  /** Pause between two probes of a component that is or was ready, in milliseconds. */
  watchInterval: number
  /** Pause before a component that ended by itself is started again; doubles up to 10 s. In milliseconds. */
  restartDelay: number
}

interface Supervised {
  component: Component
  status: ComponentStatus
  process?: ChildProcess
  /** Resolves when the component was ready for the first time. */
  firstReady: PromiseWithResolvers<void>
  /** The loop that keeps it running. */
  life?: Promise<void>
}

/** One life of a component's process. */
interface Run {
  process: ChildProcess
  /** How it ended, in words. */
  exit: Promise<string>
  /** Aborted when it has ended. */
  ended: AbortSignal
  /** Size of the log when it started: what is before that belongs to earlier lives. */
  logStart: number
}

/** Why a life ended. */
interface End {
  cause: string
  nextStep?: string
  logStart?: number
  /** Whether the component was ready in this life, and since when. */
  readySince?: number
}

const probeInterval = 200
/** Consecutive failures after which a component is not ready: kubelet's default failureThreshold. */
const unreadyAfter = 3
const longestRestartDelay = 10_000
const largestLog = 20 * 1024 * 1024
/** How much of a log's end a diagnosis reads, in bytes. */
const longestTail = 64 * 1024

/** Starts components in the order of their links, keeps them running, and stops them in reverse. */
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
   * Starts every component; resolves when all have been ready once.
   *
   * @throws ActionableError naming the component that did not start, and why.
   */
  async start(): Promise<void> {
    for (const supervised of this.#all.values()) supervised.life = this.#keepRunning(supervised)
    await Promise.all([...this.#all.values()].map(({ firstReady }) => firstReady.promise))
  }

  /** Stops every component, dependents first: with its signal, then SIGKILL for one that does not heed it. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const stopped = new Map<ComponentName, Promise<void>>()
    const stopOne = (name: ComponentName): Promise<void> => {
      const known = stopped.get(name)
      if (known !== undefined) return known
      const dependents = [...this.#all.values()].filter(({ component }) => component.after.includes(name))
      const stopping = Promise.all(dependents.map(({ component }) => stopOne(component.name))).then(() =>
        this.#end(name),
      )
      stopped.set(name, stopping)
      return stopping
    }
    await Promise.all([...this.#all.keys()].map(stopOne))
  }

  async #end(name: ComponentName): Promise<void> {
    const supervised = this.#all.get(name)
    if (supervised === undefined) return
    const { component, process, life } = supervised
    if (process?.exitCode === null && process.signalCode === null) {
      const overdue = this.#terminate(component, process)
      await life
      clearTimeout(overdue)
    }
    this.#change(supervised, { state: 'stopped' })
  }

  /** Sends the component its stop signal. SIGKILL follows when it is overdue, unless the timer is cleared. */
  #terminate(component: Component, process: ChildProcess): NodeJS.Timeout {
    process.kill(component.stopSignal ?? 'SIGTERM')
    return setTimeout(() => process.kill('SIGKILL'), this.#options.stopTimeout)
  }

  async #keepRunning(supervised: Supervised): Promise<void> {
    const { component, firstReady } = supervised
    try {
      await Promise.all(component.after.map((name) => this.#all.get(name)?.firstReady.promise))
    } catch {
      // The component it waits for has told why it failed.
      return
    }
    let delay = this.#options.restartDelay
    while (!this.#stopping.signal.aborted) {
      const end = await this.#live(supervised)
      if (this.#stopping.signal.aborted) return
      const reason = await this.#diagnose(component, end)
      const { restarts } = supervised.status
      if (restarts === 0 && end.readySince === undefined) {
        this.#change(supervised, { state: 'failed', ...reason })
        firstReady.reject(new ActionableError(reason.message, reason.nextStep))
        return
      }
      console.error(`${new Date().toISOString()} ${component.name} is started again: ${reason.message}`)
      this.#change(supervised, { state: 'restarting', restarts: restarts + 1, ...reason })
      const stable = end.readySince !== undefined && Date.now() - end.readySince > longestRestartDelay
      if (stable) delay = this.#options.restartDelay
      await sleep(delay, undefined, { signal: this.#stopping.signal }).catch(() => {})
      delay = Math.min(delay * 2, longestRestartDelay)
    }
  }

  /** One life of a component: starts it, follows it, and resolves when its process has ended. */
  async #live(supervised: Supervised): Promise<End> {
    const { component, firstReady } = supervised
    let run: Run
    try {
      run = await this.#launch(supervised)
    } catch (error) {
      // A full disk, for one: it must not take the other components along.
      return {
        cause: `${component.name} could not be started: ${error instanceof Error ? error.message : error}`,
      }
    }
    const { logStart, process } = run
    const failure = await this.#becomeReady(component, run)
    if (failure !== undefined) {
      process.kill('SIGKILL')
      await run.exit
      return { ...failure, logStart }
    }
    this.#change(supervised, { state: 'ready' })
    firstReady.resolve()
    const readySince = Date.now()
    const hung = await this.#watch(supervised, run)
    if (hung === undefined) {
      return { cause: `${component.name} ${await run.exit}`, logStart, readySince }
    }
    const cause = `${component.name} hung: ${hung}`
    this.#change(supervised, { state: 'restarting', message: cause, nextStep: logHint(component.name) })
    const overdue = this.#terminate(component, process)
    await run.exit
    clearTimeout(overdue)
    return { cause, logStart, readySince }
  }

  async #launch(supervised: Supervised): Promise<Run> {
    const { component } = supervised
    for (const [path, content] of Object.entries(component.files)) await writeWhole(path, content)
    this.#stopping.signal.throwIfAborted()
    const log = this.#openLog(component.name)
    try {
      const logStart = fstatSync(log).size
      const [program, ...args] = component.command
      const process = spawn(program, args, {
        stdio: ['ignore', log, log],
        env: { ...globalThis.process.env, ...component.environment },
      })
      const ended = new AbortController()
      const exit = new Promise<string>((resolve) => {
        process.on('error', (error) => resolve(`could not be started: ${error.message}`))
        process.on('exit', (code, signal) => {
          resolve(signal === null ? `exited with code ${code}` : `was ended by ${signal}`)
        })
      })
      exit.then(() => ended.abort())
      supervised.process = process
      const pid = process.pid
      this.#change(supervised, { state: 'starting', ...(pid === undefined ? {} : { pid }) })
      return { process, exit, ended: ended.signal, logStart }
    } finally {
      closeSync(log)
    }
  }

  /** Resolves to undefined when the component serves, else to why it does not. */
  async #becomeReady(component: Component, { exit, ended }: Run): Promise<End | undefined> {
    const deadline = Date.now() + this.#options.startTimeout
    let answer: string | undefined = 'it never answered'
    const pending: (() => Promise<string | undefined>)[] = [
      () => this.#options.ask(component.probe),
      ...(component.afterReady ?? []).map((command) => () => this.#options.ask({ kind: 'command', command })),
    ]
    for (const step of pending) {
      answer = await step()
      while (answer !== undefined) {
        if (ended.aborted) return { cause: `${component.name} ${await exit} before it was ready` }
        if (Date.now() > deadline) {
          return {
            cause: `${component.name} was not ready after ${this.#options.startTimeout / 1000} s: ${answer}`,
            nextStep: `see \`make logs C=${component.name}\`; on a slow machine raise BOX_START_TIMEOUT_SECONDS`,
          }
        }
        await sleep(probeInterval)
        answer = await step()
      }
    }
    return undefined
  }

  /** Follows a ready component. Resolves to undefined when its process has ended, to its last answer when it hangs. */
  async #watch(supervised: Supervised, { ended }: Run): Promise<string | undefined> {
    const { component } = supervised
    let failures = 0
    let failingSince = 0
    while (true) {
      await sleep(this.#options.watchInterval, undefined, { signal: ended }).catch(() => {})
      if (ended.aborted) return undefined
      const answer = await this.#options.ask(component.probe)
      if (ended.aborted) return undefined
      if (answer === undefined) {
        failures = 0
        if (supervised.status.state !== 'ready') this.#change(supervised, { state: 'ready' })
        continue
      }
      failures++
      const waits = component.after.some((name) => this.#all.get(name)?.status.state !== 'ready')
      if (failures === 1 || waits) failingSince = Date.now()
      if (failures < unreadyAfter) continue
      if (Date.now() - failingSince >= this.#options.hangTimeout) return answer
      if (supervised.status.message !== answer) {
        this.#change(supervised, { state: 'unready', message: answer, nextStep: logHint(component.name) })
      }
    }
  }

  async #diagnose(component: Component, end: End): Promise<{ message: string; nextStep: string }> {
    const tail = end.logStart === undefined ? '' : await this.#readLog(component.name, end.logStart)
    for (const { pattern, cause, nextStep } of component.diagnoses) {
      if (pattern.test(tail)) return { message: cause, nextStep }
    }
    if (/address already in use/.test(tail.slice(-4096))) {
      return {
        message: `${component.name} found its port taken`,
        nextStep: '`make down` ends what is left of an earlier box',
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
      message: last === '' ? end.cause : `${end.cause}; it last said: ${last.slice(0, 300)}`,
      nextStep: end.nextStep ?? logHint(component.name),
    }
  }

  /** The end of a component's log, from byte `start` at most. */
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

  #change(supervised: Supervised, change: Partial<ComponentStatus>): void {
    const { message: _message, nextStep: _nextStep, ...kept } = supervised.status
    supervised.status = { ...kept, ...change }
    this.#options.onChange([...this.#all.values()].map(({ status }) => status))
  }
}

/** Writes a file unless it is there with this content, and never half: a full disk leaves the old one. */
async function writeWhole(path: string, content: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === content) return
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.new`, content)
  await rename(`${path}.new`, path)
}

function logHint(name: ComponentName): string {
  return `see its log: \`make logs C=${name}\``
}
