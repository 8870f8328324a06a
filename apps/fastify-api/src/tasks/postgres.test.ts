/** The behaviour of a store behind a network: it survives lost connections, and no call has an effect twice. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import t, { type Test } from 'tap'
import { migrate } from '../postgres/migrations.ts'
import { startPostgres } from '../testing/postgres-server.ts'
import { type PostgresOptions, postgresTaskRepository } from './postgres.ts'
import { StoreUnavailable, type TaskRepository } from './repository.ts'

/** Longer than any test takes on a busy machine, because these tests are not about time. */
const PATIENCE_MS = 300_000
t.setTimeout(PATIENCE_MS)
const PATIENT = {
  connectTimeoutMs: PATIENCE_MS,
  statementTimeoutMs: PATIENCE_MS,
  retryBudgetMs: PATIENCE_MS,
}

const server = await startPostgres(t)

async function database(): Promise<string> {
  const url = await server.createDatabase()
  await migrate(url, PATIENCE_MS)
  return url
}

function open(t: Test, options: Pick<PostgresOptions, 'url'> & Partial<PostgresOptions>) {
  const store = postgresTaskRepository({ poolSize: 5, onDown() {}, onUp() {}, ...options })
  t.teardown(() => store.close())
  return store
}

/** Another client of the same database. */
async function session(t: Test, url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

async function freshTask(store: TaskRepository) {
  return (await store.create({ title: 'Plants' })).task
}

/** A proxy in front of the database; `url` leads through it. */
async function proxy(t: Test, url: string, onAnswer: (client: Socket) => void) {
  const listener = createServer((client) => {
    const upstream = connect(Number(new URL(url).port), '127.0.0.1')
    client.pipe(upstream)
    upstream.on('data', (answer) => {
      onAnswer(client)
      if (!client.destroyed) client.write(answer)
    })
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on('error', () => {})
      socket.on('close', () => other.destroy())
    }
  }).listen(0, '127.0.0.1')
  t.teardown(() => listener.close())
  await once(listener, 'listening')
  const through = new URL(url)
  through.port = String((listener.address() as AddressInfo).port)
  return through.href
}

t.test('a call is repeated when its answer is lost, and has no effect twice', async (t) => {
  /** A store that loses its connection after the server has executed a statement, but before it has confirmed it. */
  const setUp = async (t: Test) => {
    const url = await database()
    let losing = false
    const lost: Error[] = []
    const through = await proxy(t, url, (client) => {
      if (losing) client.destroy()
      losing = false
    })
    const store = open(t, { ...PATIENT, url: through, poolSize: 1, onDown: (error) => lost.push(error) })
    await store.check()
    return {
      store,
      lost,
      loseAnswer: () => {
        losing = true
      },
    }
  }

  t.test('create', async (t) => {
    const { store, lost, loseAnswer } = await setUp(t)
    loseAnswer()
    const { task, replayed } = await store.create({ title: 'Plants' })
    t.equal(replayed, false)
    t.strictSame((await store.list({ limit: 10 })).tasks, [task])
    t.equal(lost.length, 1, 'the loss is reported')
  })

  t.test('create with an idempotency key', async (t) => {
    const { store, loseAnswer } = await setUp(t)
    loseAnswer()
    const { task, replayed } = await store.create({ title: 'Plants' }, { key: 'one', fingerprint: 'a' })
    t.equal(replayed, false, 'this call created it')
    t.strictSame((await store.list({ limit: 10 })).tasks, [task])
  })

  t.test('update', async (t) => {
    const { store, loseAnswer } = await setUp(t)
    const { id } = await freshTask(store)
    loseAnswer()
    const changed = await store.update(id, 1, { status: 'done' })
    t.match(changed, { status: 'done', version: 2 })
    t.strictSame(await store.get(id), changed)
  })

  t.test('update of any version', async (t) => {
    const { store, loseAnswer } = await setUp(t)
    const { id } = await freshTask(store)
    loseAnswer()
    t.match(await store.update(id, undefined, { status: 'done' }), { status: 'done', version: 2 })
    t.match(await store.get(id), { version: 2 }, 'one update')
  })

  t.test('remove', async (t) => {
    const { store, loseAnswer } = await setUp(t)
    const { id } = await freshTask(store)
    loseAnswer()
    t.equal(await store.remove(id, 1), 'removed')
  })

  t.test('get', async (t) => {
    const { store, loseAnswer } = await setUp(t)
    const task = await freshTask(store)
    loseAnswer()
    t.strictSame(await store.get(task.id), task)
  })
})

t.test('a server that is killed and restarted', async (t) => {
  const url = await database()
  const store = open(t, { url, poolSize: 5 })

  t.test('calls succeed or fail as unavailable; every confirmed task exists exactly once', async (t) => {
    const made: string[] = []
    const failures: unknown[] = []
    let stopped = false
    const client = async (name: number) => {
      for (let call = 0; !stopped; call++) {
        const title = `${name}-${call}`
        const idempotency = name % 2 === 0 ? { key: title, fingerprint: title } : undefined
        await store.create({ title }, idempotency).then(
          ({ task }) => made.push(task.id),
          (error) => failures.push(error),
        )
      }
    }
    const until = async (condition: () => boolean) => {
      while (!condition()) await sleep(5)
    }

    const clients = Array.from({ length: 20 }, (_, name) => client(name))
    await until(() => made.length > 100)
    await server.kill()
    await until(() => failures.length > 0)
    await server.start()
    const before = made.length
    await until(() => made.length > before + 100)
    stopped = true
    await Promise.all(clients)

    t.ok(
      failures.every((error) => error instanceof StoreUnavailable),
      'every failure says that the store is unavailable',
    )
    const kept = (await store.list({ limit: 1_000_000 })).tasks
    const ids = new Set(kept.map(({ id }) => id))
    t.strictSame(
      made.filter((id) => !ids.has(id)),
      [],
    )
    t.equal(new Set(kept.map(({ title }) => title)).size, kept.length)
  })

  t.test('a call with a long retry budget succeeds', async (t) => {
    const patient = open(t, { ...PATIENT, url })
    const task = await freshTask(patient)
    await server.kill()
    const asked = patient.get(task.id)
    await server.start()
    t.strictSame(await asked, task)
  })

  t.test('an idle connection that the server closes is replaced', async (t) => {
    const lost: Error[] = []
    const idle = open(t, { ...PATIENT, url, poolSize: 1, onDown: (error) => lost.push(error) })
    const task = await freshTask(idle)
    const admin = await session(t, url)
    await admin.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'fastify-api'`,
    )
    while (lost.length === 0) await sleep(5)
    t.match(lost, [{ code: '57P01' }])
    t.strictSame(await idle.get(task.id), task)
  })
})

t.test('a server that does not exist', async (t) => {
  const store = open(t, { url: 'postgres://postgres@127.0.0.1:1/postgres', retryBudgetMs: 50 })
  const refused = { name: 'StoreUnavailable', cause: { code: 'ECONNREFUSED' } }
  await t.rejects(store.get('00000000-0000-4000-8000-000000000000'), refused)
  await t.rejects(store.create({ title: 'Plants' }), refused)
  await t.rejects(store.check(), refused)
})

t.test('a server that accepts connections and never answers', async (t) => {
  const sockets: Socket[] = []
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  await once(silent, 'listening')
  const url = `postgres://postgres@127.0.0.1:${(silent.address() as AddressInfo).port}/postgres`

  const impatient = open(t, { url, connectTimeoutMs: 50, retryBudgetMs: 0 })
  await t.rejects(impatient.get('00000000-0000-4000-8000-000000000000'), StoreUnavailable)

  const patient = open(t, { url, connectTimeoutMs: 10_000 })
  await t.rejects(patient.check(), { name: 'StoreUnavailable', cause: { message: 'no answer in time' } })
  for (const socket of sockets) socket.destroy()
})

t.test('a statement that exceeds its timeout is cancelled and not repeated', async (t) => {
  const url = await database()
  const lost: Error[] = []
  const store = open(t, { url, statementTimeoutMs: 1_000, onDown: (error) => lost.push(error) })
  const { id } = await freshTask(store)
  const other = await session(t, url)
  await other.query('BEGIN')
  await other.query('SELECT FROM tasks FOR UPDATE')
  await t.rejects(store.update(id, 1, { status: 'done' }), {
    name: 'StoreUnavailable',
    cause: { code: '57014' },
  })
  t.match(lost, [{ code: '57014' }])
  t.equal(lost.length, 1)
  await other.query('COMMIT')
  t.match(await store.get(id), { status: 'open', version: 1 }, 'it had no effect')
})

t.test('a temporary error is retried: a server that is read-only after a failover', async (t) => {
  const url = await database()
  const admin = await session(t, url)
  const readOnly = (value: string) =>
    admin.query(
      `ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET default_transaction_read_only = ${value}`,
    )
  await readOnly('on')
  const failed: Error[] = []
  const store = open(t, { ...PATIENT, url, onDown: (error) => failed.push(error) })
  const created = store.create({ title: 'Plants' })
  while (failed.length === 0) await sleep(5)
  await admin.query('SET default_transaction_read_only = off')
  await readOnly('off')
  t.match(failed[0], { code: '25006' })
  t.match(await created, { task: { title: 'Plants' } })
})

t.test('an unexpected error is passed on unchanged', async (t) => {
  const store = open(t, { ...PATIENT, url: await database() })
  await t.rejects(store.get('not a UUID'), { name: 'error', code: '22P02' })
})

t.test('without its schema, the store is not available', async (t) => {
  const store = open(t, { url: await server.createDatabase() })
  await t.rejects(store.check(), { name: 'StoreUnavailable', cause: { code: '42P01' } })
})

t.test('expired idempotency keys', async (t) => {
  const setUp = async (t: Test) => {
    const url = await database()
    const store = open(t, { ...PATIENT, url })
    const admin = await session(t, url)
    const create = (key: string) => store.create({ title: key }, { key, fingerprint: key })
    const expire = () => admin.query(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours'`)
    const keys = async () =>
      (await admin.query('SELECT key FROM idempotency_keys ORDER BY key')).rows.map(({ key }) => key)
    return { admin, create, expire, keys }
  }

  t.test('are removed in small batches when new keys arrive', async (t) => {
    const { create, expire, keys } = await setUp(t)
    for (const key of ['a', 'b', 'c']) await create(key)
    await expire()
    await create('d')
    t.equal((await keys()).length, 2, 'two were removed and one was added')
    await create('e')
    t.strictSame(await keys(), ['d', 'e'])
  })

  t.test('return their task until they are removed', async (t) => {
    const { create, expire } = await setUp(t)
    const { task } = await create('a')
    await expire()
    t.match(await create('a'), { task: { id: task.id, title: 'a' }, replayed: true })
  })

  t.test('count as new if they are removed while they are repeated', async (t) => {
    const { admin, create, expire } = await setUp(t)
    const { task } = await create('a')
    await expire()
    // Between the statement that finds the key and the one that reads the task.
    await admin.query(`
      CREATE FUNCTION remove_expired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours';
        RETURN NULL;
      END $$;
      CREATE TRIGGER remove_expired AFTER INSERT ON idempotency_keys EXECUTE FUNCTION remove_expired()`)
    const again = await create('a')
    t.equal(again.replayed, false)
    t.not(again.task.id, task.id)
  })
})

t.test('the pool reports its connections', async (t) => {
  const url = await database()
  const store = open(t, { ...PATIENT, url, poolSize: 1 })
  t.strictSame(store.pool(), { total: 0, idle: 0, waiting: 0 })
  const { id } = await freshTask(store)
  t.strictSame(store.pool(), { total: 1, idle: 1, waiting: 0 })
  const calls = [store.get(id), store.get(id), store.get(id)]
  t.strictSame(
    store.pool(),
    { total: 1, idle: 1, waiting: 3 },
    'the pool hands connections out in the next tick',
  )
  await Promise.all(calls)
})

t.test('close waits for calls in progress and refuses new ones', async (t) => {
  const url = await database()
  const store = open(t, { ...PATIENT, url, poolSize: 1 })
  const created = Array.from({ length: 5 }, () => freshTask(store))
  const closed = store.close()
  await t.rejects(store.summarize(), StoreUnavailable)
  t.equal((await Promise.all(created)).length, 5)
  await closed
  await t.rejects(store.check(), StoreUnavailable)
  t.strictSame(store.pool(), { total: 0, idle: 0, waiting: 0 })
})
