import { existsSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, DatabaseError } from 'pg'
import Postgrator from 'postgrator'
import { connectionConfig } from './connections.ts'
import { type Credentials, credentialsIn, ensureRoles, grantTables, urlWith } from './roles.ts'

/** An arbitrary number that no other program locks in this database. */
const ADVISORY_LOCK = 7_240_531

/** A migration that waits for a table lock blocks the service, so it fails after this time and can be retried. */
const LOCK_TIMEOUT_MS = 5_000

const SCHEMA_TABLE = 'schema_version'

const CONNECT_TIMEOUT_MS = 5_000
const RETRY_PAUSE_MS = 500

/** Temporary errors: the server is starting (57P03) or has no free connection (53300). */
const TEMPORARY = new Set(['57P03', '53300'])

const NEXT_TO_BUNDLE = join(import.meta.dirname, 'migrations')
/* c8 ignore next 3 - tests run the source, which has no migrations next to it */
const FOLDER = existsSync(NEXT_TO_BUNDLE) ? NEXT_TO_BUNDLE : join(import.meta.dirname, '../../migrations')

/** The database may not have the schema that the service needs. The message is one line with the next step. */
export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed'
}

export interface Migrated {
  /** Names of the files applied now, in order. */
  applied: string[]
  /** The newest migration in the database; after a rollback of the service, newer than any file here. */
  version: number
}

/** With which users the roles are made. */
export interface RoleOptions {
  /** Owns the database and may create roles. */
  admin: Credentials
  /** The database's URL with the service's user. */
  serviceUrl: string
}

export interface MigrateOptions {
  ca?: string | undefined
  /** If it is set, the roles of the service and of the migration are made first. */
  roles?: RoleOptions | undefined
  onWait?: (reason: string) => void
}

/**
 * Migrates the database to the newest schema, in one transaction. Concurrent runs are safe: one migrates, the others
 * wait and find nothing to do.
 *
 * @param url - as `DATABASE_URL`
 * @param timeoutMs - how long to wait for the server to accept connections, and then for a concurrent migration, in
 *   milliseconds
 * @param options - `ca`: certificate authorities of the server, as in `DATABASE_CA`; `roles`: to make the users first;
 *   `onWait`: called once, when the first attempt to connect has failed and will be retried
 * @throws {@link MigrationFailed}
 */
export async function migrate(
  url: string,
  timeoutMs: number,
  options: MigrateOptions = {},
): Promise<Migrated> {
  const { roles } = options
  if (roles !== undefined) await makeRoles(url, roles, timeoutMs, options)
  const client = await connect(url, timeoutMs, options)
  try {
    return await applyDue(client, timeoutMs, roles !== undefined)
  } finally {
    await client.end()
  }
}

async function makeRoles(
  url: string,
  { admin, serviceUrl }: RoleOptions,
  timeoutMs: number,
  options: MigrateOptions,
): Promise<void> {
  const [migration, service] = [
    credentialsOf('DATABASE_URL', url),
    credentialsOf('SERVICE_DATABASE_URL', serviceUrl),
  ]
  if (new Set([admin.username, migration.username, service.username]).size < 3) {
    throw new MigrationFailed(
      'DATABASE_ADMIN_USERNAME, DATABASE_URL and SERVICE_DATABASE_URL must name three different users',
    )
  }
  const client = await connect(urlWith(url, admin), timeoutMs, options)
  try {
    await begin(client, timeoutMs)
    await ensureRoles(client, migration, service)
    await client.query('COMMIT')
  } catch (error) {
    throw failed(
      'cannot make the roles',
      error,
      'nothing was changed; DATABASE_ADMIN_USERNAME must own the database and may create roles',
    )
  } finally {
    await client.end()
  }
}

function credentialsOf(variable: string, url: string): Credentials {
  try {
    return credentialsIn(url)
  } catch {
    // Without the value, which contains a password.
    throw new MigrationFailed(
      `${variable} must be a URL with user and password: postgres://user:password@host/database`,
    )
  }
}

/** Begins a transaction, after that of a concurrent run. */
async function begin(client: Client, timeoutMs: number): Promise<void> {
  await client.query('BEGIN')
  await client.query(`SET LOCAL lock_timeout = ${timeoutMs}`)
  await client.query(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`)
  await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`)
}

async function applyDue(client: Client, timeoutMs: number, grants: boolean): Promise<Migrated> {
  let step = 'cannot migrate'
  try {
    await access(FOLDER)
    await begin(client, timeoutMs)

    const postgrator = new Postgrator({
      driver: 'pg',
      migrationPattern: join(FOLDER, '*.do.*.sql'),
      schemaTable: SCHEMA_TABLE,
      execQuery: (sql) => client.query(sql),
    })
    postgrator.on('migration-started', ({ filename }) => {
      step = `cannot apply ${basename(filename)}`
    })
    const applied = await postgrator.migrate()
    const version = await postgrator.getDatabaseVersion()
    // In the same transaction, so that no table exists that the service may not use.
    if (grants) await grantTables(client, SCHEMA_TABLE)
    await client.query('COMMIT')
    return { applied: applied.map(({ filename }) => basename(filename)), version }
  } catch (error) {
    throw failed(step, error, 'all due migrations are rolled back; fix the cause and run this again')
  }
}

async function connect(url: string, timeoutMs: number, { ca, onWait }: MigrateOptions): Promise<Client> {
  const deadline = performance.now() + timeoutMs
  for (let attempt = 1; ; attempt++) {
    try {
      const client = new Client({
        ...connectionConfig(url, ca),
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        keepAlive: true,
        application_name: 'fastify-api-migrate',
      })
      // If the connection is lost later, the next statement fails.
      client.on('error', () => {})
      await client.connect()
      return client
    } catch (error) {
      if (!isTemporary(error) || performance.now() > deadline) {
        throw failed('cannot connect to the database', error, 'check DATABASE_URL and the server')
      }
      if (attempt === 1) onWait?.(describe(error))
      await sleep(RETRY_PAUSE_MS)
    }
  }
}

function isTemporary(error: unknown): boolean {
  if (error instanceof DatabaseError) return TEMPORARY.has(String(error.code))
  return !(error instanceof TypeError || error instanceof URIError) // The URL is invalid.
}

function failed(what: string, cause: unknown, next: string): MigrationFailed {
  return new MigrationFailed(`${what}: ${describe(cause)}; ${next}`, { cause })
}

/** The message in one line. If no address of a host answers, the error has only a code. */
function describe(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return (message || String(code)).replaceAll(/\s+/g, ' ')
}
