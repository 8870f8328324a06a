import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/** A server to measure. */
export interface Contestant {
  name: string
  /** Program and arguments to listen on 127.0.0.1; `PORT` is the port as well. */
  command: (port: number) => [string, ...string[]]
  /** Its whole environment except PATH, so that the caller's environment does not affect the result. */
  env: Readonly<Record<string, string>>
  /** The route that is put under load. */
  route: string
  /** Answers 200 when the server is ready. */
  readyRoute: string
}

/** Most milliseconds until a server is ready: many times the slowest one's time. */
const READY_WITHIN_MS = 30_000

/** Interval of readiness checks in milliseconds, and so the resolution of the time to ready. */
const ASK_EVERY_MS = 2

/** A contestant's process on one core. */
export class Server {
  readonly #process: ChildProcess
  readonly #origin: string
  readonly #contestant: Contestant
  /** Its last output, for error messages. */
  #output = ''
  /** Its first output, which contains the line about the start. */
  #firstOutput = ''

  private constructor(contestant: Contestant, port: number, child: ChildProcess) {
    this.#contestant = contestant
    this.#origin = `http://127.0.0.1:${port}`
    this.#process = child
    const onData = (data: Buffer) => {
      const text = data.toString()
      if (this.#firstOutput.length < 10_000) this.#firstOutput += text
      this.#output = (this.#output + text).slice(-2_000)
    }
    child.stdout?.on('data', onData)
    child.stderr?.on('data', onData)
  }

  /**
   * Starts a contestant on `core` and waits until it is ready.
   *
   * @param signal - ends the process when aborted
   * @returns the server, and the milliseconds from before its process existed until it was ready
   * @throws Error when it ends or does not become ready, with what it wrote last
   */
  static async start(
    contestant: Contestant,
    core: number,
    signal: AbortSignal,
  ): Promise<{ server: Server; readyMs: number }> {
    const port = await freePort()
    const since = performance.now()
    const child = spawn('taskset', ['--cpu-list', String(core), ...contestant.command(port)], {
      env: { PATH: process.env['PATH'], PORT: String(port), ...contestant.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
      killSignal: 'SIGKILL',
    })
    // `#fail` reports it, with what was expected.
    child.on('error', () => {})
    const server = new Server(contestant, port, child)
    while (!(await server.#isReady())) {
      if (child.exitCode !== null || child.pid === undefined) return server.#fail('ended immediately')
      if (performance.now() - since > READY_WITHIN_MS) return server.#fail('did not become ready')
      await sleep(ASK_EVERY_MS, undefined, { signal })
    }
    return { server, readyMs: performance.now() - since }
  }

  async #isReady(): Promise<boolean> {
    const answer = await fetch(this.#origin + this.#contestant.readyRoute).catch(() => undefined)
    await answer?.arrayBuffer()
    return answer?.status === 200
  }

  async #fail(what: string): Promise<never> {
    await this.stop()
    throw new Error(`${this.#contestant.name} ${what}: ${this.#output.trim() || 'it wrote nothing'}`)
  }

  /** URL of the route that is put under load. */
  get url(): string {
    return this.#origin + this.#contestant.route
  }

  /**
   * Waits for a line in its first output with `"<name>":<number>`: a server can answer before it has written that.
   *
   * @returns the number
   * @throws Error when it ends without such a line or takes too long, with what it wrote last
   */
  async logged(name: string, signal: AbortSignal): Promise<number> {
    const line = new RegExp(`"${name}":(\\d+)`)
    const since = performance.now()
    for (;;) {
      const value = line.exec(this.#firstOutput)?.[1]
      if (value !== undefined) return Number(value)
      if (this.#process.exitCode !== null || performance.now() - since > READY_WITHIN_MS) {
        return this.#fail(`logged no "${name}"`)
      }
      await sleep(ASK_EVERY_MS, undefined, { signal })
    }
  }

  /** CPU time it has used, in milliseconds: of all its threads, user and kernel. */
  cpuMs(): number {
    const threads = `/proc/${this.#process.pid}/task`
    return readdirSync(threads)
      .map((thread) => Number(readFileSync(`${threads}/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6)
      .reduce((sum, ms) => sum + ms, 0)
  }

  /** Resident memory in MiB: current and peak. */
  memoryMiB(): { now: number; most: number } {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8')
    const read = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024
    return { now: read('VmRSS'), most: read('VmHWM') }
  }

  /** Kills it; it needs no graceful end. */
  async stop(): Promise<void> {
    if (this.#process.pid === undefined || this.#process.exitCode !== null || this.#process.killed) return
    // Unlike 'exit', 'close' comes after the last output.
    const ended = once(this.#process, 'close')
    this.#process.kill('SIGKILL')
    await ended
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port')
  return address.port
}

/** Numbers of the processor cores that this process may use. */
export function allowedCores(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8')
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(status)?.[1] ?? '0'
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

/** Keeps this process, the client, and its threads on `core`. */
export async function stayOn(core: number): Promise<void> {
  const threads = ['--all-tasks', '--cpu-list', '--pid']
  await promisify(execFile)('taskset', [...threads, String(core), String(process.pid)])
}
