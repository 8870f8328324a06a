/** The task list as clients see it, with each kind of store. */
import t, { type Test } from 'tap'
import { migrate } from '../postgres/migrations.ts'
import type { Task } from '../tasks/task.ts'
import { build, metric, problem } from '../testing/app.ts'
import { startPostgres } from '../testing/postgres-server.ts'

const tasks = '/api/v1/tasks'
const absent = '00000000-0000-4000-8000-000000000000'

t.setTimeout(300_000)

const server = await startPostgres(t)

type Settings = Parameters<typeof build>[1]

/** Settings for a service with its own store, by the kind of store. */
const stores: Record<string, () => Promise<Settings>> = {
  memory: async () => ({}),
  PostgreSQL: async () => {
    const database = await server.createDatabase()
    await migrate(database, 30_000)
    return { DATABASE_URL: database }
  },
}

/** The service, and a client of its task list. */
async function connect(t: Test, settings: Settings) {
  const { app } = await build(t, settings)
  const create = (payload: object = { title: 'a task' }, headers: Record<string, string> = {}) =>
    app.inject({ method: 'POST', url: tasks, payload, headers })
  const update = (id: string, payload: object, headers: Record<string, string>) =>
    app.inject({ method: 'PATCH', url: `${tasks}/${id}`, payload, headers })
  const remove = (id: string, headers: Record<string, string>) =>
    app.inject({ method: 'DELETE', url: `${tasks}/${id}`, headers })
  const list = async (query = '') => (await app.inject(`${tasks}${query}`)).json()
  return { app, create, update, remove, list }
}

for (const [name, settings] of Object.entries(stores)) {
  t.test(name, async (t) => {
    const client = async (t: Test) => connect(t, await settings())

    t.test('a task is created, read, changed and removed', async (t) => {
      const { app, create, update, remove } = await client(t)
      const created = await create({ title: 'Water the plants', notes: 'All of them' })
      t.equal(created.statusCode, 201)
      const task = created.json<Task>()
      t.match(task, { title: 'Water the plants', notes: 'All of them', status: 'open', version: 1 })
      t.equal(created.headers.location, `${tasks}/${task.id}`)

      const read = await app.inject(`${tasks}/${task.id}`)
      t.strictSame(read.json(), task)
      t.equal(read.headers.etag, created.headers.etag)

      const changed = await update(task.id, { status: 'done' }, { 'if-match': String(read.headers.etag) })
      t.match(changed.json(), { title: 'Water the plants', status: 'done', version: 2 })
      t.not(changed.headers.etag, read.headers.etag)

      t.equal((await remove(task.id, { 'if-match': String(changed.headers.etag) })).statusCode, 204)
      t.match(problem(t, await app.inject(`${tasks}/${task.id}`)), { status: 404, detail: /no task/ })
    })

    t.test('a client that has the current version gets 304', async (t) => {
      const { app, create } = await client(t)
      const { headers, body } = await create()
      const { id } = JSON.parse(body)
      const ask = (ifNoneMatch: string) =>
        app.inject({ url: `${tasks}/${id}`, headers: { 'if-none-match': ifNoneMatch } })
      for (const known of [String(headers.etag), `"x", W/${headers.etag}`, '*']) {
        const response = await ask(known)
        t.equal(response.statusCode, 304, known)
        t.equal(response.body, '')
        t.equal(response.headers.etag, headers.etag)
        t.notOk('content-length' in response.headers, 'a 304 does not have the length of the task')
      }
      t.equal((await ask('"x"')).statusCode, 200)
    })

    t.test('an update requires the version that it is based on', async (t) => {
      const { create, update, remove } = await client(t)
      const created = await create()
      const { id } = created.json<Task>()
      const tag = String(created.headers.etag)
      for (const send of [
        (headers = {}) => update(id, { title: 'b' }, headers),
        (headers = {}) => remove(id, headers),
      ]) {
        t.match(problem(t, await send()), { status: 428, detail: /If-Match/ })
        t.match(problem(t, await send({ 'if-match': '"another"' })), { status: 412 })
        t.match(
          problem(t, await send({ 'if-match': `W/${tag}` })),
          { status: 412 },
          'a weak tag never matches',
        )
      }
      t.equal((await update(id, { title: 'b' }, { 'if-match': `"another", ${tag}` })).statusCode, 200)
      t.equal((await update(id, { title: 'c' }, { 'if-match': '*' })).statusCode, 200, 'for any version')
      for (const send of [
        update(absent, { title: 'b' }, { 'if-match': '*' }),
        remove(absent, { 'if-match': '*' }),
      ]) {
        t.match(problem(t, await send), { status: 404 })
      }
    })

    t.test('of concurrent updates of the same version, exactly one succeeds', async (t) => {
      const { create, update } = await client(t)
      const created = await create()
      const { id } = created.json<Task>()
      const headers = { 'if-match': String(created.headers.etag) }
      const statuses = await Promise.all(
        Array.from(
          { length: 20 },
          async (_, index) => (await update(id, { title: `${index}` }, headers)).statusCode,
        ),
      )
      t.equal(statuses.filter((status) => status === 200).length, 1)
      t.equal(statuses.filter((status) => status === 412).length, 19)
    })

    t.test('an update of a task that is removed meanwhile is answered with 404', async (t) => {
      const { app, create, update } = await client(t)
      const created = await create()
      const { id } = created.json<Task>()
      const { update: before } = app.tasks
      app.tasks.update = async (...args) => {
        await app.tasks.remove(id, 1)
        return before.apply(app.tasks, args)
      }
      t.equal((await update(id, { title: 'b' }, { 'if-match': '*' })).statusCode, 404)
    })

    t.test('repeated requests with one idempotency key create one task', async (t) => {
      const { create, list } = await client(t)
      const responses = await Promise.all(
        Array.from({ length: 20 }, () => create({ title: 'once' }, { 'idempotency-key': 'k-1' })),
      )
      t.strictSame(new Set(responses.map(({ statusCode }) => statusCode)), new Set([201]))
      t.equal(new Set(responses.map(({ body }) => body)).size, 1)
      t.equal(responses.filter(({ headers }) => headers['idempotency-replayed'] === undefined).length, 1)
      t.equal((await list()).items.length, 1)

      const reused = await create({ title: 'another' }, { 'idempotency-key': 'k-1' })
      t.match(problem(t, reused), { status: 422, detail: /Idempotency-Key/ })
      t.equal((await create({ title: 'once' }, { 'idempotency-key': 'a b' })).statusCode, 400)
    })

    t.test('the pages contain every task once, newest first', async (t) => {
      const { create, list } = await client(t)
      for (let index = 0; index < 7; index++) await create({ title: `task ${index}` })
      const seen: string[] = []
      for (let query: string | undefined = '?limit=3'; query !== undefined; ) {
        const { items, nextCursor }: { items: Task[]; nextCursor?: string } = await list(query)
        t.ok(items.length <= 3)
        seen.push(...items.map(({ title }) => title))
        // New tasks belong to the first page, and do not change later pages.
        await create({ title: 'new' })
        query = nextCursor === undefined ? undefined : `?limit=3&cursor=${nextCursor}`
      }
      t.strictSame(
        seen.sort(),
        Array.from({ length: 7 }, (_, index) => `task ${index}`),
      )
    })

    t.test('the list is filtered by status and title', async (t) => {
      const { create, list } = await client(t)
      await create({ title: 'Buy 100% juice', status: 'done' })
      await create({ title: 'Buy bread' })
      const titles = async (query: string) => (await list(query)).items.map(({ title }: Task) => title)
      t.strictSame(await titles('?status=done'), ['Buy 100% juice'])
      t.strictSame(await titles('?title=BREAD'), ['Buy bread'])
      t.strictSame(await titles('?title=%25'), ['Buy 100% juice'], 'a percent sign is not a wildcard')
      t.strictSame(await titles('?status=doing'), [])
    })

    for (const position of [
      'x',
      '2026',
      '2026-99-99T00:00:00.000Z '.padEnd(61, '0'),
      `0000-01-01T00:00:00.000Z ${absent}`,
      `2026-02-31T00:00:00.000Z ${absent}`,
      `2026-01-01T24:00:00.000Z ${absent}`,
      `2026-01-01T00:00:00.000Z ${'-'.repeat(36)}`,
      `2026-01-01T00:00:00.000Z ${'a'.repeat(36)}`,
      `2026-01-01T00:00:00.000Z ${absent} `,
      `2026-01-01T00:00:00.000Z ${absent}\0`,
    ]) {
      t.test(
        `a cursor that this service cannot have issued is refused: ${JSON.stringify(position)}`,
        async (t) => {
          const { app } = await client(t)
          const cursor = Buffer.from(position).toString('base64url')
          t.match(problem(t, await app.inject(`${tasks}?cursor=${cursor}`)), {
            status: 400,
            detail: /cursor/,
          })
        },
      )
    }

    t.test('a cursor can be as early as the year 1', async (t) => {
      const { list } = await client(t)
      for (const year of ['0001', '9999']) {
        const cursor = Buffer.from(`${year}-01-01T00:00:00.000Z ${absent}`).toString('base64url')
        t.strictSame(await list(`?cursor=${cursor}`), { items: [] })
      }
    })

    t.test('the summary comes from the cache until a task changes', async (t) => {
      const { app, create, update, remove } = await client(t)
      const ask = async () => {
        const { headers, body } = await app.inject(`${tasks}/summary`)
        return { status: headers['cache-status'], age: headers['age'], ...JSON.parse(body) }
      }
      const none = { total: 0, open: 0, doing: 0, done: 0 }
      t.match(await ask(), { status: 'fastify-api; fwd=miss', ...none })
      t.match(await ask(), { status: 'fastify-api; hit', age: /^\d+$/, ...none })
      const created = await create()
      t.match(await ask(), { status: 'fastify-api; fwd=miss', total: 1, open: 1 })
      const changed = await update(
        created.json<Task>().id,
        { status: 'doing' },
        { 'if-match': String(created.headers.etag) },
      )
      t.match(await ask(), { total: 1, open: 0, doing: 1 })
      await remove(created.json<Task>().id, { 'if-match': String(changed.headers.etag) })
      t.match(await ask(), none)
      t.equal(await metric(app, 'cache_requests_total{outcome="hit"}'), 1)
    })

    t.test('a repeated request may order its JSON members differently', async (t) => {
      const { create, list } = await client(t)
      const headers = { 'idempotency-key': 'k-2' }
      const first = await create({ title: 'once', notes: 'x', status: 'doing' }, headers)
      const again = await create({ status: 'doing', notes: 'x', title: 'once' }, headers)
      t.equal(again.headers['idempotency-replayed'], 'true')
      t.equal(again.body, first.body)
      t.equal((await list()).items.length, 1)
      t.equal((await create({ title: 'once', notes: 'x' }, headers)).statusCode, 422)
    })

    t.test('twenty concurrent updates with If-Match: * all succeed', async (t) => {
      const { app, create, update, remove } = await client(t)
      const { id } = (await create()).json<Task>()
      const any = { 'if-match': ' * ' }
      const changes = await Promise.all(
        Array.from({ length: 20 }, (_, index) => update(id, { title: `${index}` }, any)),
      )
      t.strictSame(new Set(changes.map(({ statusCode }) => statusCode)), new Set([200]))
      t.equal(new Set(changes.map(({ headers }) => headers.etag)).size, 20, 'each creates a new version')
      t.equal((await app.inject(`${tasks}/${id}`)).json<Task>().version, 21)
      const removals = await Promise.all(Array.from({ length: 20 }, () => remove(id, any)))
      t.strictSame(removals.map(({ statusCode }) => statusCode).sort(), [204, ...Array(19).fill(404)])
    })

    t.test('only a lone * matches any version, and a W/ within the quotes is part of the tag', async (t) => {
      const { app, create, update } = await client(t)
      const { headers, body } = await create()
      const { id } = JSON.parse(body)
      for (const list of ['"x", *', '*, "x"', '"*"', 'W/"1"', '"W/1"', '1']) {
        t.equal((await update(id, { title: 'b' }, { 'if-match': list })).statusCode, 412, list)
      }
      const ask = (known: string) =>
        app.inject({ url: `${tasks}/${id}`, headers: { 'if-none-match': known } })
      for (const list of ['"x", *', '"*"', '"W/1"', '"W/"1"', '1']) {
        t.equal((await ask(list)).statusCode, 200, list)
      }
      for (const list of [`"a,b",${headers.etag}`, `W/"x" , W/${headers.etag}`]) {
        t.equal((await ask(list)).statusCode, 304, list)
      }
    })
  })
}

t.test('without the database, only the routes that need it fail, with Retry-After', async (t) => {
  // Nothing listens on port 1.
  const { app, create } = await connect(t, { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' })
  const refused = await create()
  t.match(problem(t, refused), { status: 503, type: /store-unavailable$/ })
  t.match(refused.headers['retry-after'], /^\d+$/)
  t.notMatch(refused.body, /127\.0\.0\.1|ECONN/, 'internal details are not exposed')
  t.equal((await app.inject('/')).statusCode, 200)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const unready = await app.inject('/readyz')
  t.match(problem(t, unready), { status: 503, detail: 'Not ready: database' })
  t.equal((await app.inject('/healthz')).statusCode, 200)
  t.equal(await metric(app, 'database_up'), 0)
})
