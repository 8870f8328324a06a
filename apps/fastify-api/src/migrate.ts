/**
 * The command that migrates the database to the newest schema, before a rollout of the service. Environment variables:
 *
 * - `DATABASE_URL`: the database, as for the service. The user needs permission to create tables. Poolers work,
 *   because all migrations are one transaction.
 * - `DATABASE_ADMIN_USERNAME`, `DATABASE_ADMIN_PASSWORD`, `SERVICE_DATABASE_URL`: all of them or none. With them, the
 *   command first makes the users of `DATABASE_URL`, which will own the schema, and of `SERVICE_DATABASE_URL`, which may
 *   only read and write the tables. The administrator must own the database and may create roles.
 * - `DATABASE_CA_FILE`, `DATABASE_CA`: as for the service.
 * - `MIGRATION_TIMEOUT_MS`: how long to wait for the server to accept connections, and then for a concurrent migration,
 *   in milliseconds; 60000 by default.
 */
import { ConfigError, trustedCertificates } from './config.ts'
import { MigrationFailed, migrate, type RoleOptions } from './postgres/migrations.ts'

const DEFAULT_TIMEOUT_MS = 60_000

interface Settings {
  url: string
  ca: string | undefined
  roles: RoleOptions | undefined
  timeoutMs: number
}

function settings(env: NodeJS.ProcessEnv): Settings {
  const url = env['DATABASE_URL'] ?? ''
  if (!/^postgres(?:ql)?:\/\//.test(url)) {
    // Without the value, which contains a password.
    throw new MigrationFailed(
      'DATABASE_URL must be set to the database to migrate, as postgres://user:password@host/database',
    )
  }
  const timeout = env['MIGRATION_TIMEOUT_MS'] ?? String(DEFAULT_TIMEOUT_MS)
  // At most seven digits, within the range of the server's lock_timeout.
  if (!/^[1-9]\d{0,6}$/.test(timeout)) {
    throw new MigrationFailed(
      `MIGRATION_TIMEOUT_MS=${JSON.stringify(timeout)} must be an integer from 1 to 9999999`,
    )
  }
  const ca = trustedCertificates('DATABASE', env)
  return { url, ca, roles: roles(env), timeoutMs: Number(timeout) }
}

function roles({
  DATABASE_ADMIN_USERNAME: username,
  DATABASE_ADMIN_PASSWORD: password,
  SERVICE_DATABASE_URL: serviceUrl,
}: NodeJS.ProcessEnv): RoleOptions | undefined {
  if (!username && !password && !serviceUrl) return undefined
  if (username && password && serviceUrl) return { admin: { username, password }, serviceUrl }
  throw new MigrationFailed(
    'DATABASE_ADMIN_USERNAME, DATABASE_ADMIN_PASSWORD and SERVICE_DATABASE_URL must be set together',
  )
}

try {
  const { url, timeoutMs, ...options } = settings(process.env)
  const { applied, version } = await migrate(url, timeoutMs, {
    ...options,
    onWait: (reason) => console.error(`migrate: waiting for the database: ${reason}`),
  })
  for (const name of applied) console.log(`applied ${name}`)
  console.log(`schema is at version ${version}`)
} catch (error) {
  const expected = error instanceof MigrationFailed || error instanceof ConfigError
  console.error(expected ? `migrate: ${error.message}` : error)
  process.exitCode = 1
}
