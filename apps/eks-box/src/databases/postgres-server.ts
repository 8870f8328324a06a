import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import type { DatabaseAuthority } from './authority.ts'

/** An instance of RDS. */
export interface Database {
  /** Its endpoint. */
  host: string
  masterUser: string
  masterPassword: string
  /** Its first database; undefined if there is none. */
  name?: string
  /** Whether connections need TLS. */
  forceSsl: boolean
  stopped: boolean
}

export interface PostgresServerOptions {
  authority: DatabaseAuthority
  /** The data directory, which also holds the certificate, and the rules for clients. */
  data: string
  /** Directory of PostgreSQL's programs. */
  programs: string
  sockets: string
  /** How long a restart may take, in milliseconds. */
  restartTimeout: number
}

/** Roles and databases that belong to the box itself. */
const own = { roles: ['postgres'], databases: ['postgres'] }

/** Rules for the box itself. A base backup needs the second. */
const ownRules = 'local all all trust\nlocal replication all trust\n'

/** The rules that a server starts with, before the account has an instance. */
export const initialRules = ownRules

/** File with the rules for clients, in the data directory. */
export const RULES_FILE = 'clients.conf'

/** The box's PostgreSQL, as an instance of RDS. */
export class PostgresServer {
  readonly #options: PostgresServerOptions

  constructor(options: PostgresServerOptions) {
    this.#options = options
  }

  /** Makes the server the instance, or, without one, deletes everything that belonged to an instance. */
  async apply(database: Database | undefined): Promise<void> {
    if (database === undefined) return this.#clear()
    const { host, masterUser, masterPassword, name, forceSsl, stopped } = database
    await this.#certify(host)
    await this.#query(`${createRole('rds_superuser')}
GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION;
${createRole(masterUser)}
ALTER ROLE ${identifier(masterUser)} LOGIN CREATEDB CREATEROLE NOSUPERUSER PASSWORD ${literal(masterPassword)};
GRANT rds_superuser TO ${identifier(masterUser)};
${name === undefined ? '' : createDatabase(name, masterUser)}`)
    await this.#admit(stopped ? undefined : forceSsl ? 'hostssl' : 'host')
  }

  /** Restarts the server. The box's supervisor starts it again when it has ended. */
  async restart(): Promise<void> {
    const [pid = ''] = (await readFile(join(this.#options.data, 'postmaster.pid'), 'utf8')).split('\n')
    process.kill(Number(pid), 'SIGINT')
    const deadline = Date.now() + this.#options.restartTimeout
    while (!(await this.#startedAgain(pid))) {
      if (Date.now() > deadline) throw new Error('PostgreSQL did not start again in time')
      await sleep(200)
    }
  }

  async #startedAgain(formerPid: string): Promise<boolean> {
    const file = join(this.#options.data, 'postmaster.pid')
    if (!existsSync(file) || (await readFile(file, 'utf8')).split('\n')[0] === formerPid) return false
    const { failed } = await execa(this.#program('pg_isready'), this.#connection, { reject: false })
    return !failed
  }

  /** Completes the present segment of the log, so that it is archived, and returns its name. */
  async completeLog(): Promise<string> {
    // A recovery to any earlier time needs a later transaction, at which it ends.
    await this.#query('SELECT pg_current_xact_id();')
    const [segment = ''] = await this.#list('SELECT pg_walfile_name(pg_switch_wal())')
    return segment
  }

  /** Whether the server accepts connections and does not replay a log. */
  async isPrimary(): Promise<boolean> {
    const replays = await this.#list('SELECT pg_is_in_recovery()').catch(() => ['unknown'])
    return replays[0] === 'f'
  }

  /** Writes the instance's roles and databases to a new directory. */
  async dump(directory: string): Promise<void> {
    const attempt = `${directory}.new`
    await rm(attempt, { recursive: true, force: true })
    await mkdir(attempt, { recursive: true, mode: 0o700 })
    const { stdout: roles } = await execa(this.#program('pg_dumpall'), [...this.#connection, '--roles-only'])
    const isOwn = new RegExp(`^(CREATE|ALTER) ROLE (${own.roles.join('|')})\\b`)
    const lines = roles.split('\n').filter((line) => !isOwn.test(line))
    await writeFile(join(attempt, 'roles.sql'), `${lines.join('\n')}\n`, { mode: 0o600 })
    for (const [index, name] of (await this.#databases()).entries()) {
      const file = join(attempt, `${index}.dump`)
      await execa(this.#program('pg_dump'), [
        ...this.#connection,
        ...['--format=custom', `--file=${file}`, name],
      ])
    }
    await rm(directory, { recursive: true, force: true })
    await rename(attempt, directory)
  }

  /** Replaces the instance's roles and databases by those in a directory that `dump` wrote. */
  async load(directory: string): Promise<void> {
    await this.#clear()
    await this.#query(await readFile(join(directory, 'roles.sql'), 'utf8'))
    for (let index = 0; existsSync(join(directory, `${index}.dump`)); index++) {
      await execa(this.#program('pg_restore'), [
        ...this.#connection,
        ...['--create', '--exit-on-error', '--dbname=postgres', join(directory, `${index}.dump`)],
      ])
    }
  }

  async #clear(): Promise<void> {
    await this.#admit(undefined)
    for (const name of await this.#databases()) {
      await this.#query(`DROP DATABASE ${identifier(name)} WITH (FORCE);`)
    }
    // Members first, because of what they were granted.
    const roles = await this.#list(
      `SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolname = ANY (${array(own.roles)})`,
    )
    if (roles.length === 0) return
    const names = roles.map(identifier).join(', ')
    await this.#query(`DROP OWNED BY ${names} CASCADE;\nDROP ROLE ${names};`)
  }

  #databases(): Promise<string[]> {
    return this.#list(
      `SELECT datname FROM pg_database WHERE NOT datistemplate AND NOT datname = ANY (${array(own.databases)}) ORDER BY datname`,
    )
  }

  /** Gives the server a certificate with the name of its endpoint. */
  async #certify(host: string): Promise<void> {
    const { authority, data } = this.#options
    const issued = await authority.renew(join(data, 'server.crt'), [host])
    if (issued === undefined) return
    await writeServerCertificate(data, issued)
    await this.#query('SELECT pg_reload_conf();')
  }

  /** Admits clients with passwords over TLS (`hostssl`), also without TLS (`host`), or not at all. */
  async #admit(connections: 'host' | 'hostssl' | undefined): Promise<void> {
    const file = join(this.#options.data, RULES_FILE)
    const rules = `${ownRules}${connections === undefined ? '' : `${connections} all all all scram-sha-256\n`}`
    if ((await readFile(file, 'utf8')) !== rules) {
      await writeFile(`${file}.new`, rules, { mode: 0o644 })
      await rename(`${file}.new`, file)
      await this.#query('SELECT pg_reload_conf();')
    }
    if (connections === 'host') return
    // The rules hold for new connections only.
    const kept = connections === 'hostssl' ? 'AND pid NOT IN (SELECT pid FROM pg_stat_ssl WHERE ssl)' : ''
    await this.#query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND NOT usename = ANY (${array(own.roles)}) ${kept};`,
    )
  }

  async #list(sql: string): Promise<string[]> {
    const stdout = await this.#query(sql, '--tuples-only', '--no-align')
    return stdout.split('\n').filter(Boolean)
  }

  async #query(sql: string, ...options: string[]): Promise<string> {
    // On stdin, because it may contain a password, and arguments are public.
    const { stdout } = await execa(
      this.#program('psql'),
      [
        ...this.#connection,
        ...['--dbname=postgres', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1'],
        ...options,
      ],
      { input: sql },
    )
    return stdout
  }

  get #connection(): string[] {
    return [`--host=${this.#options.sockets}`, '--username=postgres']
  }

  #program(name: string): string {
    return join(this.#options.programs, name)
  }
}

/** Writes a certificate and its key to the data directory, for the user `postgres`. */
export async function writeServerCertificate(
  data: string,
  { certificate, key }: { certificate: string; key: string },
): Promise<void> {
  await writeFile(join(data, 'server.crt'), certificate)
  // PostgreSQL refuses a key that others can read.
  await execa('install', [
    '--owner=postgres',
    '--group=postgres',
    '--mode=0600',
    '/dev/null',
    join(data, 'server.key'),
  ])
  await writeFile(join(data, 'server.key'), key)
}

const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`
const array = (names: readonly string[]) => `ARRAY[${names.map(literal).join(', ')}]::name[]`

function createRole(name: string): string {
  return `SELECT ${literal(`CREATE ROLE ${identifier(name)}`)} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal(name)}) \\gexec`
}

function createDatabase(name: string, owner: string): string {
  return `SELECT ${literal(`CREATE DATABASE ${identifier(name)} OWNER ${identifier(owner)}`)} WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = ${literal(name)}) \\gexec`
}
