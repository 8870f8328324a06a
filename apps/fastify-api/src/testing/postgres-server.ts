import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { Test } from 'tap'
import type { Certificate } from './certificates.ts'
import { freePort } from './free-port.ts'

/** Where Debian's packages install the server of each version. */
const SERVERS = '/usr/lib/postgresql/*/bin/postgres'

/**
 * Finds the directory with the programs of the newest installed PostgreSQL.
 *
 * @throws Error that says how to install one
 */
export function findPostgres(servers = SERVERS): string {
  const newest = globSync(servers)
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1)
  if (newest === undefined) {
    throw new Error(`no PostgreSQL at ${servers}: install it with "apt-get install postgresql"`)
  }
  return dirname(newest)
}

/**
 * An empty PostgreSQL server for one test file. It ends with the test, or with the test's process if that is killed.
 */
export async function startPostgres(
  t: Pick<Test, 'teardown'>,
  options: { tls?: Certificate; settings?: string[] } = {},
): Promise<PostgresServer> {
  const server = new PostgresServer(findPostgres(), await freePort(), options)
  t.teardown(() => server.remove())
  await server.initialize()
  await server.start()
  return server
}

export class PostgresServer {
  readonly port: number
  readonly #programs: string
  readonly #tls: Certificate | undefined
  readonly #settings: string[]
  readonly #folder = mkdtempSync(join(tmpdir(), 'postgres-'))
  #process: ChildProcess | undefined

  constructor(
    programs: string,
    port: number,
    { tls, settings = [] }: { tls?: Certificate; settings?: string[] } = {},
  ) {
    this.#programs = programs
    this.port = port
    this.#tls = tls
    this.#settings = settings
    // The server runs as another user, which creates its own directory in this one.
    chmodSync(this.#folder, 0o777)
  }

  async initialize(): Promise<void> {
    const initdb = this.#spawn('initdb', [
      '--auth=trust',
      '--username=postgres',
      '--encoding=UTF8',
      // The simplest locale, so that no test passes only because of the server's language.
      '--locale=C',
      '--no-sync',
      '--pgdata',
      join(this.#folder, 'data'),
    ])
    const [[code], output] = await Promise.all([once(initdb, 'close'), text(initdb.stderr)])
    if (code !== 0) throw new Error(`initdb: ${output}`)
    if (this.#tls === undefined) return
    // The server accepts only a key that no other user can read.
    for (const [name, file] of Object.entries(this.#tls)) {
      await once(spawnUnprivileged('install', ['--mode=600', file, join(this.#folder, name)]), 'close')
    }
    this.#settings.push(
      '--ssl=on',
      `--ssl_cert_file=${join(this.#folder, 'cert')}`,
      `--ssl_key_file=${join(this.#folder, 'key')}`,
    )
  }

  /** Starts the server; after {@link kill}, on the same port and with the same data. */
  async start(): Promise<void> {
    const server = this.#spawn('postgres', [
      '-D',
      join(this.#folder, 'data'),
      `--port=${this.port}`,
      '--listen_addresses=127.0.0.1',
      '--unix_socket_directories=',
      '--fsync=off',
      '--shared_buffers=16MB',
      ...this.#settings,
    ])
    this.#process = server
    const output = text(server.stderr)
    while (!(await this.#answers())) {
      if (server.exitCode !== null) throw new Error(`postgres: ${await output}`)
      await sleep(20)
    }
  }

  /** Kills the server, as a crash or the loss of a machine does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Kills the server and removes its data. */
  async remove(): Promise<void> {
    await this.#end('SIGQUIT')
    rmSync(this.#folder, { recursive: true })
  }

  /** Creates an empty database and returns its URL. */
  async createDatabase(): Promise<string> {
    const name = randomUUID()
    await this.#query(`CREATE DATABASE "${name}"`)
    return this.#url(name)
  }

  #url(database: string): string {
    return `postgres://postgres@127.0.0.1:${this.port}/${database}`
  }

  async #answers(): Promise<boolean> {
    return this.#query('SELECT 1').then(
      () => true,
      () => false,
    )
  }

  async #query(sql: string): Promise<void> {
    const client = new Client({ connectionString: this.#url('postgres') })
    await client.connect()
    try {
      await client.query(sql)
    } finally {
      await client.end()
    }
  }

  #spawn(program: string, options: string[]) {
    return spawnUnprivileged(join(this.#programs, program), options)
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process
    this.#process = undefined
    // Not `exit`: the child processes hold the pipe open, and the server cannot restart before they have ended.
    if (server?.kill(signal)) await once(server, 'close')
  }
}

/** Starts a program that refuses to run as root, such as PostgreSQL. It ends with this process at the latest. */
export function spawnUnprivileged(program: string, options: string[]) {
  /* c8 ignore next - who runs the tests is either root or not */
  const user = process.getuid?.() === 0 ? ['--reuid=postgres', '--regid=postgres', '--clear-groups'] : []
  return spawn(
    'setpriv',
    ['--pdeathsig=QUIT', ...user, '--', program, ...options],
    // English messages, whatever the machine's language.
    { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/', env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/bin' } },
  )
}
