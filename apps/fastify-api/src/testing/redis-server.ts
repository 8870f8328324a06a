import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'

const PROGRAMS = ['redis-server', 'valkey-server']

/** A Redis, or a Valkey, of its own for a test: it writes nothing to disk and has a port of its own. */
export class RedisServer {
  readonly port: number
  readonly #program: string
  readonly #settings: string[]
  #process: ChildProcess | undefined

  private constructor(program: string, port: number, settings: string[]) {
    this.#program = program
    this.port = port
    this.#settings = settings
  }

  /**
   * Starts one that answers when the promise resolves.
   *
   * @param settings - more settings, as on the command line: `--requirepass`, `secret`
   * @throws Error when neither program is installed, saying how to install one, or when it does not take the
   *   settings.
   */
  static async start(...settings: string[]): Promise<RedisServer> {
    const server = new RedisServer(findProgram(), await freePort(), settings)
    await server.start()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts it again after {@link kill}, empty, on the same port. */
  async start(): Promise<void> {
    const listen = ['--bind', '127.0.0.1', '--port', String(this.port)]
    const keepNothing = ['--save', '', '--appendonly', 'no']
    // Ends with the test's process, however that ends.
    const server = spawn(
      'setpriv',
      ['--pdeathsig=KILL', '--', this.#program, ...listen, ...keepNothing, ...this.#settings],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.#process = server
    const output = text(server.stderr)
    while (!(await answers(this.port))) {
      if (server.exitCode !== null) throw new Error(`${this.#program}: ${await output}`)
      await sleep(20)
    }
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    const server = this.#process
    this.#process = undefined
    if (server?.kill('SIGKILL')) await once(server, 'exit')
  }

  /** Lets it hang: connections stay open, new ones are accepted by the kernel, nothing is answered. */
  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }
}

/** The server's program: Debian has Redis, some distributions have Valkey in its place. */
export function findProgram(path = `${process.env['PATH']}:/usr/bin`): string {
  const candidates = PROGRAMS.flatMap((program) => path.split(':').map((folder) => join(folder, program)))
  const found = candidates.find(isExecutable)
  if (found === undefined) {
    throw new Error(`no ${PROGRAMS.join(' or ')} found: apt-get install --no-install-recommends redis-server`)
  }
  return found
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Whether something on the port speaks the protocol; that a password is asked for is an answer too. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.on('data', (data) => {
      socket.destroy()
      resolve(/^[+-]/.test(String(data)))
    })
    socket.on('error', () => resolve(false))
  })
}
