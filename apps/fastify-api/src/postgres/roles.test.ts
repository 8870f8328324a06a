/** The users that a migration makes, on a server that checks passwords, by an administrator who is no superuser. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import t from 'tap'
import { startPostgres } from '../testing/postgres-server.ts'
import { MigrationFailed, migrate } from './migrations.ts'
import { urlWith } from './roles.ts'

const PATIENCE_MS = 300_000
t.setTimeout(PATIENCE_MS)

// The server runs as another user and writes its log here.
const folder = mkdtempSync(join(tmpdir(), 'roles-'))
t.teardown(() => rmSync(folder, { recursive: true }))
chmodSync(folder, 0o777)
const hba = join(folder, 'pg_hba.conf')
writeFileSync(hba, 'host all postgres all trust\nhost all all all scram-sha-256\n')
chmodSync(hba, 0o644)
const server = await startPostgres(t, {
  settings: [
    `--hba_file=${hba}`,
    '--log_statement=all',
    '--logging_collector=on',
    `--log_directory=${folder}`,
    '--log_filename=statements',
  ],
})

// As RDS generates it: with characters that a URL would interpret.
const admin = { username: 'master', password: 'm%41/#?@:ster' }
const migration = { username: 'fastify_migration', password: 'migration-password' }
const serviceA = { username: 'fastify_app_a', password: 'first-password' }
const serviceB = { username: 'fastify_app_b', password: 'second-password' }

const superuser = await server.createDatabase()
await query(superuser, `CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD '${admin.password}'`)

async function query(url: string, sql: string) {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** A database that the administrator owns, as RDS creates it. */
async function database() {
  const url = await server.createDatabase()
  const name = new URL(url).pathname.slice(1)
  await query(url, `ALTER DATABASE "${name}" OWNER TO ${admin.username}`)
  const as = (credentials: typeof admin) => urlWith(url, credentials)
  const run = (service: typeof admin) =>
    migrate(as(migration), PATIENCE_MS, { roles: { admin, serviceUrl: as(service) } })
  return { url, as, run }
}

const INSERT = `INSERT INTO tasks (id, title, notes, status)
  VALUES (gen_random_uuid(), 'title', '', 'open')`

t.test('the service may read and write the tables, and nothing else', async (t) => {
  const { as, run } = await database()
  t.match(await run(serviceA), { version: 2 })
  const service = as(serviceA)
  await query(service, INSERT)
  await query(service, `UPDATE tasks SET title = 'other'`)
  t.strictSame(await query(service, 'SELECT title FROM tasks'), [{ title: 'other' }])
  await query(service, 'DELETE FROM tasks')
  for (const statement of [
    'CREATE TABLE own (id int)',
    'CREATE TEMP TABLE own (id int)',
    'DROP TABLE tasks',
    'TRUNCATE tasks',
    'ALTER TABLE tasks ADD COLUMN own int',
    'SELECT * FROM schema_version',
    'SET ROLE fastify_migration',
    'CREATE ROLE own',
  ]) {
    await t.rejects(query(service, statement), /permission denied|must be owner/, statement)
  }
})

t.test('the migration owns the tables, but may not create roles', async (t) => {
  const { as, run } = await database()
  await run(serviceA)
  t.strictSame(
    await query(as(migration), `SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'`),
    [{ tableowner: migration.username }],
  )
  await t.rejects(query(as(migration), 'CREATE ROLE own'), /permission denied/)
})

t.test('a third user has no access to the database', async (t) => {
  const { as, run } = await database()
  await run(serviceA)
  await query(superuser, `CREATE ROLE stranger LOGIN PASSWORD 'stranger'`)
  await t.rejects(
    query(as({ username: 'stranger', password: 'stranger' }), 'SELECT 1'),
    /permission denied for database/,
  )
})

t.test('after a change of the user, the former one continues to work', async (t) => {
  const { as, run } = await database()
  await run(serviceA)
  await run(serviceB)
  await query(as(serviceB), INSERT)
  t.strictSame(await query(as(serviceA), 'SELECT title FROM tasks'), [{ title: 'title' }])

  await run({ ...serviceA, password: 'third-password' })
  await t.rejects(
    query(as(serviceA), 'SELECT'),
    /password authentication failed/,
    'the next change replaces its password',
  )
  await query(as({ ...serviceA, password: 'third-password' }), 'SELECT FROM tasks')
})

t.test('concurrent runs are safe, and further runs change nothing', async (t) => {
  const { as, run } = await database()
  const results = await Promise.all([run(serviceA), run(serviceA)])
  t.strictSame(results.map(({ applied }) => applied.length).sort(), [0, 2])
  t.match(await run(serviceA), { applied: [] })
  await query(as(serviceA), INSERT)
})

t.test('tables that another user has created come along, with their rows', async (t) => {
  const { url, as, run } = await database()
  await migrate(as(admin), PATIENCE_MS)
  await query(as(admin), INSERT)
  t.match(await run(serviceA), { applied: [] })
  t.strictSame(await query(as(serviceA), 'SELECT title FROM tasks'), [{ title: 'title' }])
  t.strictSame(await query(url, `SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'`), [
    { tableowner: migration.username },
  ])
})

t.test('no password reaches the server', async (t) => {
  const { run } = await database()
  await run(serviceA)
  const log = readFileSync(join(folder, 'statements'), 'utf8')
  t.match(log, 'ALTER ROLE "fastify_app_a" LOGIN PASSWORD')
  for (const { password } of [migration, serviceA]) t.notMatch(log, password)
})

t.test('an administrator without the right to create roles is reported', async (t) => {
  const { as } = await database()
  const roles = { admin: serviceB, serviceUrl: as({ username: 'another', password: 'x' }) }
  const failure = await migrate(as({ username: 'a-third', password: 'x' }), PATIENCE_MS, { roles }).catch(
    (error: unknown) => error,
  )
  t.type(failure, MigrationFailed)
  t.match(failure, {
    message: /^cannot make the roles: permission denied.*; nothing was changed; /,
  })
})

t.test('one user cannot have two of the roles', async (t) => {
  const { as } = await database()
  await t.rejects(
    migrate(as(migration), PATIENCE_MS, { roles: { admin, serviceUrl: as(migration) } }),
    new MigrationFailed(
      'DATABASE_ADMIN_USERNAME, DATABASE_URL and SERVICE_DATABASE_URL must name three different users',
    ),
  )
})

t.test('a URL without a password is reported without its value', async (t) => {
  const { as } = await database()
  await t.rejects(
    migrate(as(migration), PATIENCE_MS, { roles: { admin, serviceUrl: 'postgres://user@host/database' } }),
    new MigrationFailed(
      'SERVICE_DATABASE_URL must be a URL with user and password: postgres://user:password@host/database',
    ),
  )
})
