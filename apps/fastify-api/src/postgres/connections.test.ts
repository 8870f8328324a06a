/** The store's connections: verified, through a pooler, and during outages. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Client } from 'pg'
import t, { type Test } from 'tap'
import { type PostgresOptions, postgresTaskRepository } from '../tasks/postgres.ts'
import { Authority } from '../testing/certificates.ts'
import { startPgBouncer } from '../testing/pgbouncer.ts'
import { startPostgres } from '../testing/postgres-server.ts'
import { migrate } from './migrations.ts'

const PATIENCE_MS = 300_000
t.setTimeout(PATIENCE_MS)
const PATIENT = { connectTimeoutMs: PATIENCE_MS, statementTimeoutMs: PATIENCE_MS, retryBudgetMs: PATIENCE_MS }
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

/** A store, and its reports of outages. */
function open(t: Test, options: Omit<PostgresOptions, 'onDown' | 'onUp'>) {
  const story: string[] = []
  const store = postgresTaskRepository({
    onDown: (error) => story.push(`down: ${error.message}`),
    onUp: (failures) => story.push(`up after ${failures}`),
    ...options,
  })
  t.teardown(() => store.close())
  return { store, story }
}

async function session(t: Test, url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

t.test('through PgBouncer in transaction mode', async (t) => {
  const server = await startPostgres(t)
  const through = await startPgBouncer(t, server.port)
  const url = through(await server.createDatabase())
  t.match(await migrate(url, PATIENCE_MS), { version: 2 }, 'migrations are applied')

  t.test('many concurrent calls all succeed', async (t) => {
    const { store, story } = open(t, { ...PATIENT, url, poolSize: 10 })
    const work = async (index: number) => {
      const idempotency = { key: `${index % 20}`, fingerprint: 'a' }
      const { task } = await store.create({ title: `Task ${index}` }, idempotency)
      await store.update(task.id, undefined, { notes: `${index}` })
      await store.list({ limit: 5, title: 'task' })
      return store.get(task.id)
    }
    const tasks = await Promise.all(Array.from({ length: 200 }, (_, index) => work(index)))
    t.equal(new Set(tasks.map((task) => task?.id)).size, 20)
    t.strictSame(story, [])
  })

  t.test('the timeout of a statement applies to that statement only', async (t) => {
    const { store } = open(t, { ...PATIENT, url, poolSize: 1, statementTimeoutMs: 1_000 })
    const { task } = await store.create({ title: 'Plants' })
    const other = await session(t, url)
    await other.query('BEGIN')
    await other.query('SELECT FROM tasks FOR UPDATE')
    await t.rejects(store.update(task.id, 1, { status: 'done' }), {
      name: 'StoreUnavailable',
      cause: { code: '57014' },
    })
    await other.query('COMMIT')
    for (const _ of [1, 2, 3, 4]) {
      t.strictSame((await other.query('SHOW statement_timeout')).rows, [{ statement_timeout: '0' }])
    }
  })

  t.test('a server that restarts behind the pooler', async (t) => {
    const { store } = open(t, { ...PATIENT, url, poolSize: 2 })
    const { task } = await store.create({ title: 'Plants' })
    await server.kill()
    const asked = store.get(task.id)
    await server.start()
    t.strictSame(await asked, task)
  })
})

t.test('with TLS and a private CA', async (t) => {
  const authority = new Authority(t)
  const server = await startPostgres(t, { tls: authority.issue('IP:127.0.0.1', 'DNS:localhost') })
  const url = await server.createDatabase()
  await migrate(url, PATIENCE_MS, { ca: authority.pem })

  t.test('connections are encrypted, whatever sslmode the URL has', async (t) => {
    for (const [host, query] of [
      ['127.0.0.1', ''],
      ['localhost', '?sslmode=require&application_name=other'],
    ] as const) {
      const { store } = open(t, {
        ...PATIENT,
        url: url.replace('127.0.0.1', host) + query,
        ca: authority.pem,
        poolSize: 1,
      })
      await store.check()
    }
    const admin = await session(t, url)
    const { rows } = await admin.query(
      `SELECT application_name, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
       WHERE application_name IN ('fastify-api', 'other') AND datname = current_database() ORDER BY 1`,
    )
    t.strictSame(rows, [
      { application_name: 'fastify-api', ssl: true },
      { application_name: 'other', ssl: true },
    ])
  })

  t.test('a server with a certificate of another CA is refused', async (t) => {
    const ca = new Authority(t).pem
    const { store } = open(t, { url, ca, poolSize: 1, retryBudgetMs: 0 })
    await t.rejects(store.get(UNKNOWN_ID), { cause: { code: /SELF_SIGNED|UNABLE_TO_VERIFY|SIGNATURE/ } })
    await t.rejects(migrate(url, 1, { ca }), {
      name: 'MigrationFailed',
      message: /certificate|signature/,
    })
  })

  t.test('a server with a certificate for another name is refused', async (t) => {
    const elsewhere = await startPostgres(t, { tls: authority.issue('DNS:database.example') })
    const { store } = open(t, {
      url: await elsewhere.createDatabase(),
      ca: authority.pem,
      poolSize: 1,
      retryBudgetMs: 0,
    })
    await t.rejects(store.get(UNKNOWN_ID), { cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' } })
  })

  t.test('a server without TLS is refused', async (t) => {
    const plain = await startPostgres(t)
    const { store } = open(t, {
      url: await plain.createDatabase(),
      ca: authority.pem,
      poolSize: 1,
      retryBudgetMs: 0,
    })
    await t.rejects(store.get(UNKNOWN_ID), { cause: { message: /does not support SSL/ } })
  })
})

t.test('while the server is unreachable, calls share one connection attempt', async (t) => {
  let attempts = 0
  const listener = createServer((socket) => {
    attempts++
    socket.destroy()
  }).listen(0, '127.0.0.1')
  t.teardown(() => listener.close())
  await once(listener, 'listening')
  const url = `postgres://postgres@127.0.0.1:${(listener.address() as AddressInfo).port}/postgres`
  const { store, story } = open(t, { url, poolSize: 5 })
  const burst = async () => {
    const before = attempts
    const results = await Promise.allSettled(Array.from({ length: 200 }, () => store.get(UNKNOWN_ID)))
    t.ok(results.every(({ status }) => status === 'rejected'))
    return attempts - before
  }
  const first = await burst()
  t.ok(first <= 200 + 7, `one for each call, and seven in common: ${first}`)
  t.equal(await burst(), 1, 'the outage is known by now')
  t.equal(story.length, 1, 'one report for one outage')
})

t.test('the start and the end of an outage are reported', async (t) => {
  const server = await startPostgres(t)
  const url = await server.createDatabase()
  await migrate(url, PATIENCE_MS)
  const { store, story } = open(t, { url, poolSize: 5, retryBudgetMs: 0 })
  await Promise.all(Array.from({ length: 5 }, () => store.check()))
  await server.kill()
  for (const _ of [1, 2, 3]) await t.rejects(store.check())
  await t.rejects(store.get(UNKNOWN_ID))
  await server.start()
  while (story.length < 2) await store.check().catch(() => {})
  await store.check()
  t.match(story, [/^down: ./, /^up after \d+$/])
  t.equal(story.length, 2)
})

t.test('a server without free connection slots', async (t) => {
  const server = await startPostgres(t, {
    settings: ['--max_connections=5', '--superuser_reserved_connections=0', '--max_wal_senders=0'],
  })
  const url = await server.createDatabase()
  await migrate(url, PATIENCE_MS)
  const others = [await session(t, url), await session(t, url)]

  t.test('calls use the connections that the pool has', async (t) => {
    const { store, story } = open(t, { ...PATIENT, url, poolSize: 10 })
    await Promise.all(Array.from({ length: 100 }, () => store.get(UNKNOWN_ID)))
    t.ok(store.pool().total <= 3, `${store.pool().total} connections`)
    t.strictSame(story, ['down: sorry, too many clients already'])
    await others.pop()?.end()
    while (store.pool().total <= 3) {
      await Promise.all(Array.from({ length: 10 }, () => store.get(UNKNOWN_ID)))
    }
    t.equal(store.pool().total, 4, 'later it uses the slots that have become free')
    await store.close()
  })

  t.test('without any connection, calls fail; once there is one, they succeed', async (t) => {
    const more: Client[] = []
    while (more.length < 4) {
      const client = new Client({ connectionString: url })
      // The server closes the connections of the previous store only after a moment.
      await client.connect().then(
        () => more.push(client),
        () => {},
      )
    }
    const { store } = open(t, { url, poolSize: 10 })
    await t.rejects(store.get(UNKNOWN_ID), { name: 'StoreUnavailable', cause: { code: '53300' } })
    await Promise.all([...others.slice(0, 1), ...more].map((client) => client.end()))
    let answered = false
    while (!answered) {
      answered = await store.check().then(
        () => true,
        () => false,
      )
    }
    t.equal(await store.get(UNKNOWN_ID), undefined)
  })
})

t.test('a call that waited too long for a connection does not wait again', async (t) => {
  const server = await startPostgres(t)
  const url = await server.createDatabase()
  await migrate(url, PATIENCE_MS)
  const { store } = open(t, { ...PATIENT, url, poolSize: 1, connectTimeoutMs: 2_000 })
  const { task } = await store.create({ title: 'Plants' })
  const other = await session(t, url)
  await other.query('BEGIN')
  await other.query('SELECT FROM tasks FOR UPDATE')
  const first = store.update(task.id, 1, { status: 'done' })
  await t.rejects(store.get(task.id), { name: 'StoreUnavailable', cause: { message: /timeout exceeded/ } })
  await other.query('COMMIT')
  t.match(await first, { version: 2 })
})
