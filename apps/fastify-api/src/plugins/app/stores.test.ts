import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { migrate } from '../../postgres/migrations.ts'
import { build, metric } from '../../testing/app.ts'
import { startPostgres } from '../../testing/postgres-server.ts'
import { RedisServer } from '../../testing/redis-server.ts'

const task = { method: 'POST', url: '/api/v1/tasks', payload: { title: 'a task' } } as const

/** Polls, because background work reports only after a while. */
async function until(condition: () => unknown): Promise<void> {
  while (!(await condition())) await setTimeout(20)
}

/** Starts the service with its own database and cache. */
async function withStores(t: Test) {
  const postgres = await startPostgres(t)
  const redis = await RedisServer.start()
  t.teardown(() => redis.kill())
  const database = await postgres.createDatabase()
  await migrate(database, 30_000)
  const service = await build(t, {
    DATABASE_URL: database,
    REDIS_URL: redis.url,
    DATABASE_READY_GRACE_MS: '600000',
  })
  await service.app.listen({ port: 0, host: '127.0.0.1' })
  const ready = async () => (await service.app.inject('/readyz')).statusCode === 200
  await until(ready)
  return { ...service, postgres, redis, ready }
}

t.test('with a database, tasks survive the process that created them', async (t) => {
  const postgres = await startPostgres(t)
  const database = await postgres.createDatabase()
  await migrate(database, 30_000)
  const first = await build(t, { DATABASE_URL: database })
  const { id } = (await first.app.inject(task)).json()
  await first.app.close()
  const second = await build(t, { DATABASE_URL: database })
  t.equal((await second.app.inject(`/api/v1/tasks/${id}`)).statusCode, 200)
})

t.test('a short outage of the database affects only the routes that use it, not readiness', async (t) => {
  const { app, lines, postgres, ready } = await withStores(t)
  t.equal(await metric(app, 'database_up'), 1)
  t.equal((await app.inject(task)).statusCode, 201)
  t.equal(await metric(app, 'database_pool_connections{state="waiting"}'), 0)

  await postgres.kill()
  const refused = await app.inject(task)
  t.equal(refused.statusCode, 503)
  t.ok(refused.headers['retry-after'])
  t.ok(await ready(), 'a restart of the database does not make the pod unready')
  await until(async () => (await metric(app, 'database_up')) === 0)
  for (let count = 0; count < 20; count++) t.equal((await app.inject('/api/v1/tasks')).statusCode, 503)
  const reports = () => lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('the database'))
  t.strictSame(
    reports(),
    ['the database does not work: calls are retried, then refused'],
    'one line for each outage',
  )

  await postgres.start()
  await until(async () => (await app.inject(task)).statusCode === 201)
  await until(async () => (await metric(app, 'database_up')) === 1)
  await until(() => reports().length === 2)
  t.equal(reports()[1], 'the database answers again')
})

t.test('without the shared cache, requests are slower but succeed', async (t) => {
  const { app, lines, redis } = await withStores(t)
  const summary = () => app.inject('/api/v1/tasks/summary')
  await until(async () => (await metric(app, 'cache_store_up')) === 1)
  t.equal((await summary()).headers['cache-status'], 'fastify-api; fwd=miss')
  t.equal((await summary()).headers['cache-status'], 'fastify-api; hit')

  await redis.kill()
  for (let count = 0; count < 20; count++) t.equal((await summary()).statusCode, 200)
  await until(async () => (await metric(app, 'cache_store_up')) === 0)
  // On a busy machine there may have been earlier outages. Each has one line at its start and one at its end.
  const reports = lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('the shared cache'))
  t.match(reports.at(-1), /^the shared cache does not answer/)
  t.ok(
    reports.every((msg, index) => msg !== reports[index + 1]),
    'one line for each outage',
  )

  await redis.start()
  await until(async () => (await metric(app, 'cache_store_up')) === 1)
})

t.test('a process never reads an outdated value after another has written', async (t) => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.kill())
  const database = await (await startPostgres(t)).createDatabase()
  await migrate(database, 30_000)
  const settings = { DATABASE_URL: database, REDIS_URL: redis.url }
  const [writer, reader] = await Promise.all([build(t, settings), build(t, settings)])
  for (const { app } of [writer, reader]) {
    await until(async () => (await metric(app, 'cache_store_up')) === 1)
  }
  const total = async () => (await reader.app.inject('/api/v1/tasks/summary')).json().total
  const before = await total()
  await writer.app.inject(task)
  t.equal(await total(), before + 1)
})
