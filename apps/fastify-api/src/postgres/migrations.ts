import { existsSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, DatabaseError } from 'pg'
import Postgrator from 'postgrator'
import { connectionConfig } from './connections.ts'

/** Any number will do, as long as nothing else locks the same one in this database. */
const ADVISORY_LOCK = 7_240_531

/** What waits for a table's lock holds up the service behind it: rather fail, and try again at a quieter time. */
const LOCK_TIMEOUT_MS = 5_000

const CONNECT_TIMEOUT_MS = 5_000
const RETRY_PAUSE_MS = 500

/** A server says so while it starts (57P03) or has no connection to spare (53300); nothing else passes by itself. */
const PASSES = new Set(['57P03', '53300'])

const BESIDE_BUNDLE = join(import.meta.dirname, 'migrations')
/* c8 ignore next 3 - the tests run the source, which has none beside it */
const FOLDER = existsSync(BESIDE_BUNDLE) ? BESIDE_BUNDLE : join(import.meta.dirname, '../../migrations')

/** The schema may not be the one that the service needs. The message is one line that ends with what to do. */
export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed'
}

export interface Migrated {
  /** Names of the files that were applied now, in order. */
  applied: string[]
  /** Of the newest migration that the database has; newer than any file here after a rollback of the service. */
  version: number
}

export interface MigrateOptions {
  ca?: string | undefined
  onWait?: (reason: string) => void
}

/**
 * Brings the database to the newest schema: all migrations that are due, in one transaction. Several at once are
 * safe: one does it, the others wait for it and find nothing left to do.
 *
 * @param url - as `DATABASE_URL`
 * @param timeoutMs - how long to wait for a server that does not accept connections yet, and then how long for
 *   another migration, in milliseconds
 * @param options - `ca`: certificates that the server's must come from, as in `DATABASE_CA`; `onWait`: called once,
 *   when the first attempt to connect has failed and more will follow
 * @throws {@link MigrationFailed}
 */
export async function migrate(
  url: string,
  timeoutMs: number,
  options: MigrateOptions = {},
): Promise<Migrated> {
  const client = await connect(url, timeoutMs, options)
  try {
    return await applyDue(client, timeoutMs)
  } finally {
    await client.end()
  }
}

async function applyDue(client: Client, timeoutMs: number): Promise<Migrated> {
  let step = 'cannot migrate'
  try {
    await access(FOLDER)
    await client.query('BEGIN')
    await client.query(`SET LOCAL lock_timeout = ${timeoutMs}`)
    await client.query(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`)
    await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`)

    const postgrator = new Postgrator({
      driver: 'pg',
      migrationPattern: join(FOLDER, '*.do.*.sql'),
      schemaTable: 'schema_version',
      execQuery: (sql) => client.query(sql),
    })
    postgrator.on('migration-started', ({ filename }) => {
      step = `cannot apply ${basename(filename)}`
    })
    const applied = await postgrator.migrate()
    const version = await postgrator.getDatabaseVersion()
    await client.query('COMMIT')
    return { applied: applied.map(({ filename }) => basename(filename)), version }
  } catch (error) {
    throw failed(step, error, 'all that were due are undone; put it right and run this again')
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
      // A connection that is lost later fails the next statement.
      client.on('error', () => {})
      await client.connect()
      return client
    } catch (error) {
      if (!passes(error) || performance.now() > deadline) {
        throw failed('cannot connect to the database', error, 'check DATABASE_URL and the server')
      }
      if (attempt === 1) onWait?.(describe(error))
      await sleep(RETRY_PAUSE_MS)
    }
  }
}

function passes(error: unknown): boolean {
  if (error instanceof DatabaseError) return PASSES.has(String(error.code))
  return !(error instanceof TypeError || error instanceof URIError) // A URL that is none.
}

function failed(what: string, cause: unknown, next: string): MigrationFailed {
  return new MigrationFailed(`${what}: ${describe(cause)}; ${next}`, { cause })
}

/** One line. A name with several addresses, none of which answers, has an error with a code and no message. */
function describe(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return (message || String(code)).replaceAll(/\s+/g, ' ')
}
