/**
 * The command that migrates the database to the newest schema, before a rollout of the service. Environment variables:
 *
 * - `DATABASE_URL`: the database, as for the service. The user needs permission to create tables. Poolers work,
 *   because all migrations are one transaction.
 * - `DATABASE_CA_FILE`, `DATABASE_CA`: as for the service.
 * - `MIGRATION_TIMEOUT_MS`: how long to wait for the server to accept connections, and then for a concurrent migration,
 *   in milliseconds; 60000 by default.
 */
import { ConfigError, trustedCertificates } from './config.ts'
import { MigrationFailed, migrate } from './postgres/migrations.ts'

const DEFAULT_TIMEOUT_MS = 60_000

function settings(env: NodeJS.ProcessEnv): { url: string; ca: string | undefined; timeoutMs: number } {
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
  return { url, ca: trustedCertificates('DATABASE', env), timeoutMs: Number(timeout) }
}

try {
  const { url, ca, timeoutMs } = settings(process.env)
  const { applied, version } = await migrate(url, timeoutMs, {
    ca,
    onWait: (reason) => console.error(`migrate: waiting for the database: ${reason}`),
  })
  for (const name of applied) console.log(`applied ${name}`)
  console.log(`schema is at version ${version}`)
} catch (error) {
  const expected = error instanceof MigrationFailed || error instanceof ConfigError
  console.error(expected ? `migrate: ${error.message}` : error)
  process.exitCode = 1
}
