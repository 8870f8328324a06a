/** The command as a rollout runs it: in a separate process. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Client } from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from './testing/postgres-server.ts'

// On a busy machine, the tests take longer than tap's default timeout.
t.setTimeout(300_000)

const FIRST_OUTPUT = 'applied 001.do.tasks.sql\napplied 002.do.idempotency-keys.sql\nschema is at version 2\n'

const server = await startPostgres(t)

function start(t: Test, environment: Record<string, string | undefined>) {
  const command = spawn(process.execPath, [join(import.meta.dirname, 'migrate.ts')], {
    env: { ...process.env, DATABASE_URL: undefined, MIGRATION_TIMEOUT_MS: undefined, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => command.kill('SIGKILL'))
  return command
}

async function run(t: Test, environment: Record<string, string | undefined>) {
  const command = start(t, environment)
  const [stdout, stderr, [code]] = await Promise.all([
    text(command.stdout),
    text(command.stderr),
    once(command, 'exit'),
  ])
  return { code, stdout, stderr }
}

async function query(url: string, sql: string) {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

t.test('it prints the applied migrations, and does nothing the second time', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  t.strictSame(await run(t, { DATABASE_URL }), { code: 0, stdout: FIRST_OUTPUT, stderr: '' })
  t.strictSame(await run(t, { DATABASE_URL }), { code: 0, stdout: 'schema is at version 2\n', stderr: '' })
})

t.test('of two concurrent runs, one migrates and the other waits', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  const both = await Promise.all([run(t, { DATABASE_URL }), run(t, { DATABASE_URL })])
  t.strictSame(
    both.map(({ code, stderr }) => ({ code, stderr })),
    [
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ],
  )
  t.strictSame(both.map(({ stdout }) => stdout).sort(), [FIRST_OUTPUT, 'schema is at version 2\n'])
})

t.test('it waits until the server accepts connections', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  await server.kill()
  const command = start(t, { DATABASE_URL })
  const [waiting] = await once(command.stderr, 'data')
  t.match(String(waiting), /^migrate: waiting for the database: connect ECONNREFUSED 127\.0\.0\.1:\d+\n$/)
  await server.start()
  t.equal(await text(command.stdout), FIRST_OUTPUT)
})

t.test('an older version of the service leaves a newer schema unchanged', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  await run(t, { DATABASE_URL })
  await query(DATABASE_URL, 'INSERT INTO schema_version (version) VALUES (99)')
  t.match(await run(t, { DATABASE_URL }), { code: 0, stdout: 'schema is at version 99\n' })
})

t.test('the error names the failed migration, and all migrations are rolled back', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  await query(DATABASE_URL, 'CREATE TABLE idempotency_keys (key text)')
  t.strictSame(await run(t, { DATABASE_URL }), {
    code: 1,
    stdout: '',
    stderr:
      'migrate: cannot apply 002.do.idempotency-keys.sql: relation "idempotency_keys" already exists; ' +
      'all due migrations are rolled back; fix the cause and run this again\n',
  })
  t.strictSame(await query(DATABASE_URL, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`), [
    { tablename: 'idempotency_keys' },
  ])
})

t.test('a migration that was changed after it was applied is refused', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  await run(t, { DATABASE_URL })
  await query(DATABASE_URL, `UPDATE schema_version SET md5 = 'another' WHERE version = 1`)
  const { code, stderr } = await run(t, { DATABASE_URL })
  t.equal(code, 1)
  t.match(stderr, /^migrate: cannot migrate: MD5 checksum failed for migration \[1\]; .*\n$/)
})

t.test('a connection lost during a migration is reported like other errors', async (t) => {
  const DATABASE_URL = await server.createDatabase()
  await run(t, { DATABASE_URL })
  const holder = new Client({ connectionString: DATABASE_URL })
  holder.on('error', () => {})
  await holder.connect()
  await holder.query('BEGIN')
  await holder.query('LOCK TABLE schema_version')
  const migration = run(t, { DATABASE_URL })
  let waiting = 0
  while (waiting === 0) waiting = (await query(DATABASE_URL, 'SELECT FROM pg_locks WHERE NOT granted')).length
  await server.kill()
  await server.start()
  const { code, stderr } = await migration
  t.equal(code, 1)
  t.match(stderr, /^migrate: cannot migrate: .*; fix the cause and run this again\n$/)
  t.match(await run(t, { DATABASE_URL }), { code: 0, stdout: 'schema is at version 2\n' })
})

t.test('it gives up if the server does not become available', async (t) => {
  const gone = { DATABASE_URL: 'postgres://app:secret@127.0.0.1:1/app', MIGRATION_TIMEOUT_MS: '1' }
  const { code, stderr } = await run(t, gone)
  t.equal(code, 1)
  t.match(
    stderr,
    /^migrate: cannot connect to the database: connect ECONNREFUSED 127\.0\.0\.1:1; check DATABASE_URL .*\n$/m,
  )
  t.notMatch(stderr, 'secret')

  const twoAddresses =
    "data:text/javascript,import dns from 'node:dns';" +
    'dns.lookup = (name, options, found) => found(null, ' +
    "[{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }])"
  const named = await run(t, {
    ...gone,
    DATABASE_URL: 'postgres://app:secret@database.test:1/app',
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${twoAddresses}"`,
  })
  t.match(
    named.stderr,
    /cannot connect to the database: ECONNREFUSED; /,
    'no address of the host accepts connections',
  )
})

t.test('errors that waiting cannot resolve are reported at once', async (t) => {
  const missing = (await server.createDatabase()).replace(/[^/]*$/, 'missing')
  t.strictSame(await run(t, { DATABASE_URL: missing }), {
    code: 1,
    stdout: '',
    stderr:
      'migrate: cannot connect to the database: database "missing" does not exist; ' +
      'check DATABASE_URL and the server\n',
  })
  t.strictSame(await run(t, { DATABASE_URL: 'postgres://app:secret@host:port/app' }), {
    code: 1,
    stdout: '',
    stderr: 'migrate: cannot connect to the database: Invalid URL; check DATABASE_URL and the server\n',
  })
})

t.test('an invalid setting is reported in one line, with exit code 1', async (t) => {
  for (const DATABASE_URL of [undefined, 'mysql://app:secret@host/app']) {
    t.strictSame(await run(t, { DATABASE_URL }), {
      code: 1,
      stdout: '',
      stderr:
        'migrate: DATABASE_URL must be set to the database to migrate, ' +
        'as postgres://user:password@host/database\n',
    })
  }
  const { code, stderr } = await run(t, { DATABASE_URL: 'postgres://host/app', MIGRATION_TIMEOUT_MS: '1m' })
  t.equal(code, 1)
  t.equal(stderr, 'migrate: MIGRATION_TIMEOUT_MS="1m" must be an integer from 1 to 9999999\n')
})

t.test('with an administrator, it makes the users first', async (t) => {
  const admin = await server.createDatabase()
  const as = (user: string) => admin.replace('postgres@', `${user}:password@`)
  const environment = {
    DATABASE_URL: as('migration_user'),
    DATABASE_ADMIN_USERNAME: 'postgres',
    DATABASE_ADMIN_PASSWORD: 'any',
    SERVICE_DATABASE_URL: as('service_user'),
  }
  t.strictSame(await run(t, environment), { code: 0, stdout: FIRST_OUTPUT, stderr: '' })
  t.strictSame(await query(as('service_user'), 'SELECT FROM tasks'), [])

  t.strictSame(await run(t, { ...environment, DATABASE_ADMIN_PASSWORD: undefined }), {
    code: 1,
    stdout: '',
    stderr:
      'migrate: DATABASE_ADMIN_USERNAME, DATABASE_ADMIN_PASSWORD and SERVICE_DATABASE_URL must be set together\n',
  })
})

t.test('an unreadable CA certificate is reported in one line, with exit code 1', async (t) => {
  const { code, stderr } = await run(t, { DATABASE_URL: 'postgres://host/app', DATABASE_CA: 'none' })
  t.equal(code, 1)
  t.equal(stderr, 'migrate: DATABASE_CA cannot be used: it contains no PEM certificate\n')
})

t.test('an unexpected error is printed with its stack', async (t) => {
  const broken = "data:text/javascript,performance.now = () => { throw new Error('no clock') }"
  const { code, stderr } = await run(t, {
    DATABASE_URL: 'postgres://host/app',
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${broken}"`,
  })
  t.equal(code, 1)
  t.match(stderr, /Error: no clock\n\s+at /)
})
