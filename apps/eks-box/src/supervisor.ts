import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, renameSync, statSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Component, ComponentName, Probe } from './component.ts'
import { ActionableError } from './errors.ts'
import type { ComponentStatus } from './status.ts'

export interface SupervisorOptions {
  logDirectory: string
  ask: (probe: Probe) => Promise<string | undefined>
  onChange: (components: ComponentStatus[]) => void
  /** How long a component may take from its start to its first answer, in milliseconds. */
  startTimeout: number
  /** How long a component may take from its stop signal until it is killed, in milliseconds. */
  stopTimeout: number
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
}

const probeInterval = 200
const watchInterval = 2000
const longestRestartDelay = 10_000
const largestLog = 20 * 1024 * 1024

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
      process.kill(component.stopSignal ?? 'SIGTERM')
      const overdue = setTimeout(() => process.kill('SIGKILL'), this.#options.stopTimeout)
      await life
      clearTimeout(overdue)
    }
    this.#change(supervised, { state: 'stopped' })
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
      const run = await this.#launch(supervised)
      const failure = await this.#becomeReady(component, run)
      if (failure === undefined) {
        this.#change(supervised, { state: 'ready' })
        firstReady.resolve()
        const readySince = Date.now()
        await this.#watch(supervised, run)
        if (Date.now() - readySince > longestRestartDelay) delay = this.#options.restartDelay
      } else {
        run.process.kill('SIGKILL')
      }
      const how = await run.exit
      if (this.#stopping.signal.aborted) return
      const reason = await this.#diagnose(component, failure ?? `${component.name} ${how}`)
      const { restarts } = supervised.status
      if (restarts === 0 && failure !== undefined) {
        this.#change(supervised, { state: 'failed', ...reason })
        firstReady.reject(new ActionableError(reason.message, reason.nextStep))
        return
      }
      this.#change(supervised, { state: 'restarting', restarts: restarts + 1, ...reason })
      await sleep(delay, undefined, { signal: this.#stopping.signal }).catch(() => {})
      delay = Math.min(delay * 2, longestRestartDelay)
    }
  }

  async #launch(supervised: Supervised): Promise<Run> {
    const { component } = supervised
    for (const [path, content] of Object.entries(component.files)) {
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, content)
    }
    const log = this.#openLog(component.name)
    const [program, ...args] = component.command
    const process = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: { ...globalThis.process.env, ...component.environment },
    })
    closeSync(log)
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
    return { process, exit, ended: ended.signal }
  }

  /** Resolves to undefined when the component serves, else to why it does not. */
  async #becomeReady(component: Component, { exit, ended }: Run): Promise<string | undefined> {
    const deadline = Date.now() + this.#options.startTimeout
    let answer: string | undefined = 'it never answered'
    const pending: (() => Promise<string | undefined>)[] = [
      () => this.#options.ask(component.probe),
      ...(component.afterReady ?? []).map((command) => () => this.#options.ask({ kind: 'command', command })),
    ]
    for (const step of pending) {
      answer = await step()
      while (answer !== undefined) {
        if (ended.aborted) return `${component.name} ${await exit} before it was ready`
        if (Date.now() > deadline) {
          return `${component.name} was not ready after ${this.#options.startTimeout / 1000} s: ${answer}`
        }
        await sleep(probeInterval)
        answer = await step()
      }
    }
    return undefined
  }

  /** Follows a ready component until its process ends. */
  async #watch(supervised: Supervised, { ended }: Run): Promise<void> {
    while (!ended.aborted) {
      await sleep(watchInterval, undefined, { signal: ended }).catch(() => {})
      if (ended.aborted) return
      const answer = await this.#options.ask(supervised.component.probe)
      if (ended.aborted || answer === supervised.status.message) continue
      this.#change(supervised, answer === undefined ? { state: 'ready' } : { message: answer })
    }
  }

  async #diagnose(component: Component, fallback: string): Promise<{ message: string; nextStep: string }> {
    const log = await readFile(this.#logPath(component.name), 'utf8').catch(() => '')
    const tail = log.slice(-64 * 1024)
    for (const { pattern, cause, nextStep } of component.diagnoses) {
      if (pattern.test(tail)) return { message: cause, nextStep }
    }
    if (/address already in use/.test(tail.slice(-4096))) {
      return {
        message: `${component.name} found its port taken`,
        nextStep: '`make down` ends what is left of an earlier box',
      }
    }
    const last = tail.trimEnd().split('\n').at(-1) ?? ''
    return {
      message: last === '' ? fallback : `${fallback}; it last said: ${last.slice(0, 300)}`,
      nextStep: `see its log: \`make logs C=${component.name}\``,
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
