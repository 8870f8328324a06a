/** The behaviour that all task stores have in common: in memory and in PostgreSQL. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { migrate } from '../postgres/migrations.ts'
import { startPostgres } from '../testing/postgres-server.ts'
import { IdempotencyKeyReused } from './idempotency.ts'
import { memoryTaskRepository } from './memory.ts'
import { postgresTaskRepository } from './postgres.ts'
import type { TaskRepository } from './repository.ts'
import type { NewTask, Task } from './task.ts'

const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

/** Longer than any test takes on a busy machine, because these tests are not about time. */
const PATIENCE_MS = 300_000
t.setTimeout(PATIENCE_MS)

const server = await startPostgres(t)

const stores: Record<string, () => Promise<TaskRepository>> = {
  memory: async () => memoryTaskRepository(),
  PostgreSQL: async () => {
    const url = await server.createDatabase()
    await migrate(url, PATIENCE_MS)
    return postgresTaskRepository({
      url,
      poolSize: 5,
      connectTimeoutMs: PATIENCE_MS,
      statementTimeoutMs: PATIENCE_MS,
      onDown() {},
      onUp() {},
    })
  },
}

for (const [name, makeStore] of Object.entries(stores)) {
  t.test(name, async (t) => {
    const open = async (t: Test): Promise<TaskRepository> => {
      const store = await makeStore()
      t.teardown(() => store.close())
      return store
    }
    const make = async (store: TaskRepository, ...tasks: NewTask[]): Promise<Task[]> => {
      const made: Task[] = []
      for (const task of tasks) made.push((await store.create(task)).task)
      return made
    }
    const titles = async (store: TaskRepository, title: string) =>
      (await store.list({ title, limit: 100 })).tasks.map((task) => task.title).sort()

    t.test('a new task is open, has no notes, and is stored as returned', async (t) => {
      const store = await open(t)
      const { task, replayed } = await store.create({ title: 'Water the plants' })
      t.equal(replayed, false)
      t.match(task, { title: 'Water the plants', notes: '', status: 'open', version: 1 })
      t.match(task.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      t.match(task.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      t.equal(task.updatedAt, task.createdAt)
      t.strictSame(await store.get(task.id), task)
      t.equal(await store.get(UNKNOWN_ID), undefined)
    })

    t.test('text is stored unchanged', async (t) => {
      const store = await open(t)
      for (const text of [`'; DROP TABLE tasks; --`, '100%_\\', '"$1"', '🪴 e\u0301 \u202e', '\u2028', ' ']) {
        const { task } = await store.create({ title: text, notes: `${text}\n\t${text}` })
        t.match(await store.get(task.id), { title: text, notes: `${text}\n\t${text}` })
      }
    })

    t.test('a lone surrogate becomes the replacement character', async (t) => {
      const store = await open(t)
      const { task } = await store.create({ title: 'a\ud800', notes: '\udc00b' })
      t.match(task, { title: 'a\ufffd', notes: '\ufffdb' })
      t.match(await store.update(task.id, 1, { title: '\ud83e', notes: '\ud83e' }), {
        title: '\ufffd',
        notes: '\ufffd',
      })
      t.strictSame(await titles(store, '\ud800'), ['\ufffd'])
    })

    t.test('an update replaces only the given fields and increments the version', async (t) => {
      const store = await open(t)
      const [task] = await make(store, { title: 'Plants', notes: 'Not the cactus' })
      const id = String(task?.id)
      t.match(await store.update(id, 1, { status: 'doing' }), {
        title: 'Plants',
        notes: 'Not the cactus',
        status: 'doing',
        version: 2,
        createdAt: task?.createdAt,
      })
      const changed = await store.update(id, 2, { title: 'Cactus', notes: '' })
      t.match(changed, { title: 'Cactus', notes: '', status: 'doing', version: 3 })
      t.strictSame(await store.get(id), changed)
      t.strictSame((await store.list({ limit: 10 })).tasks, [changed])
    })

    t.test('an update or removal with an outdated version is refused', async (t) => {
      const store = await open(t)
      const [task] = await make(store, { title: 'Plants' })
      const id = String(task?.id)
      const current = await store.update(id, 1, { status: 'done' })
      t.equal(await store.update(id, 1, { status: 'open' }), 'changed')
      t.equal(await store.remove(id, 1), 'changed')
      t.strictSame(await store.get(id), current)
    })

    t.test('a removed task is missing', async (t) => {
      const store = await open(t)
      const [first, second] = await make(store, { title: 'Plants' }, { title: 'Cactus' })
      const id = String(first?.id)
      t.equal(await store.remove(id, 1), 'removed')
      t.equal(await store.get(id), undefined)
      t.equal(await store.update(id, 1, { status: 'done' }), 'missing')
      t.equal(await store.remove(id, 1), 'missing')
      t.strictSame((await store.list({ limit: 10 })).tasks, [second])
    })

    t.test('of concurrent updates of the same version, exactly one succeeds', async (t) => {
      const store = await open(t)
      const [task] = await make(store, { title: 'Plants' })
      const id = String(task?.id)
      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, racer) => store.update(id, 1, { notes: String(racer) })),
      )
      const winners = outcomes.filter((outcome) => typeof outcome === 'object')
      t.equal(winners.length, 1)
      t.equal(outcomes.filter((outcome) => outcome === 'changed').length, 49)
      t.strictSame(await store.get(id), winners[0])
    })

    t.test('pages list the newest tasks first, without gaps or duplicates', async (t) => {
      const store = await open(t)
      const made = await Promise.all(
        Array.from({ length: 25 }, (_, index) => store.create({ title: `Task ${index}` })),
      )
      const listed: Task[] = []
      let page = await store.list({ limit: 10 })
      const sizes = [page.tasks.length]
      listed.push(...page.tasks)
      while (page.more) {
        page = await store.list({ limit: 10, after: listed.at(-1) })
        sizes.push(page.tasks.length)
        listed.push(...page.tasks)
      }
      t.strictSame(sizes, [10, 10, 5])
      const position = ({ createdAt, id }: Task) => `${createdAt} ${id}`
      t.strictSame(
        listed.map(position),
        made
          .map(({ task }) => position(task))
          .sort()
          .reverse(),
      )
      t.equal((await store.list({ limit: 25 })).more, false, 'a full page can be the last')
    })

    t.test(
      'a page continues where the last one ended, even if tasks were added or removed since',
      async (t) => {
        const store = await open(t)
        await make(store, ...['a', 'b', 'c', 'd'].map((title) => ({ title })))
        const all = (await store.list({ limit: 4 })).tasks
        const [, second, third, fourth] = all
        await sleep(5) // What is made in the same millisecond may come after.
        await store.create({ title: 'new' })
        await store.remove(String(second?.id), 1)
        t.strictSame((await store.list({ limit: 10, after: second })).tasks, [third, fourth])
      },
    )

    t.test('the list can be filtered by status, by text in the title, or by both', async (t) => {
      const store = await open(t)
      await make(
        store,
        { title: 'Water plants' },
        { title: 'Water cactus', status: 'done' },
        { title: 'Sow', status: 'done' },
      )
      const found = async (query: { status?: Task['status']; title?: string }) =>
        (await store.list({ ...query, limit: 10 })).tasks.map(({ title }) => title).sort()
      t.strictSame(await found({ status: 'done' }), ['Sow', 'Water cactus'])
      t.strictSame(await found({ title: 'wATER' }), ['Water cactus', 'Water plants'])
      t.strictSame(await found({ status: 'done', title: 'water' }), ['Water cactus'])
      t.strictSame(await found({ status: 'doing' }), [])
      t.strictSame(await found({ title: '' }), ['Sow', 'Water cactus', 'Water plants'])

      const page = await store.list({ status: 'done', limit: 1 })
      t.equal(page.more, true)
      const rest = await store.list({ status: 'done', limit: 1, after: page.tasks[0] })
      t.equal(rest.more, false)
      t.strictSame([...page.tasks, ...rest.tasks].map(({ title }) => title).sort(), ['Sow', 'Water cactus'])
    })

    t.test('the title filter has no wildcards', async (t) => {
      const store = await open(t)
      await make(
        store,
        ...['100%', '100 per cent', 'a_b', 'axb', 'c\\d', 'cd', '.*'].map((title) => ({ title })),
      )
      t.strictSame(await titles(store, '0%'), ['100%'])
      t.strictSame(await titles(store, 'A_B'), ['a_b'])
      t.strictSame(await titles(store, '\\'), ['c\\d'])
      t.strictSame(await titles(store, '.*'), ['.*'])
      t.strictSame(await titles(store, "' OR true --"), [])
      t.strictSame(await titles(store, '\0'), [], 'no title contains NUL')
    })

    t.test('the title filter ignores case, also beyond ASCII', async (t) => {
      const store = await open(t)
      await make(store, ...['ÄPFEL', 'Πέννα', 'İstanbul'].map((title) => ({ title })))
      t.strictSame(await titles(store, 'äpf'), ['ÄPFEL'])
      t.strictSame(await titles(store, 'ΈΝΝ'), ['Πέννα'])
      t.strictSame(await titles(store, 'İSTAN'), ['İstanbul'])
    })

    t.test('the summary counts tasks by status', async (t) => {
      const store = await open(t)
      t.strictSame(await store.summarize(), { total: 0, open: 0, doing: 0, done: 0 })
      await make(store, { title: 'a' }, { title: 'b' }, { title: 'c', status: 'done' })
      t.strictSame(await store.summarize(), { total: 3, open: 2, doing: 0, done: 1 })
    })

    t.test('requests with the same idempotency key create one task, and all return it', async (t) => {
      const store = await open(t)
      const idempotency = { key: 'one', fingerprint: 'a' }
      const first = await store.create({ title: 'Plants', notes: 'x', status: 'doing' }, idempotency)
      t.equal(first.replayed, false)
      t.strictSame(await store.create({ title: 'Plants', notes: 'x', status: 'doing' }, idempotency), {
        task: first.task,
        replayed: true,
      })
      const other = await store.create({ title: 'Plants' }, { key: 'two', fingerprint: 'a' })
      t.not(other.task.id, first.task.id, 'another key creates another task')
      t.equal((await store.summarize()).total, 2)
    })

    t.test('an idempotency key with a different request is refused', async (t) => {
      const store = await open(t)
      await store.create({ title: 'Plants' }, { key: 'one', fingerprint: 'a' })
      await t.rejects(
        store.create({ title: 'Cactus' }, { key: 'one', fingerprint: 'b' }),
        IdempotencyKeyReused,
      )
      t.equal((await store.summarize()).total, 1)
    })

    t.test(
      'a repeated request returns the first response, even if the task has changed or is gone',
      async (t) => {
        const store = await open(t)
        const idempotency = { key: 'one', fingerprint: 'a' }
        const { task } = await store.create({ title: 'Plants' }, idempotency)
        await store.update(task.id, 1, { title: 'Cactus' })
        t.strictSame(await store.create({ title: 'Plants' }, idempotency), { task, replayed: true })
        await store.remove(task.id, 2)
        t.strictSame(await store.create({ title: 'Plants' }, idempotency), { task, replayed: true })
        t.equal(await store.get(task.id), undefined, 'the task stays removed')
      },
    )

    t.test('1000 concurrent repetitions create one task, and all return it', async (t) => {
      const store = await open(t)
      const answers = await Promise.all(
        Array.from({ length: 1_000 }, () =>
          store.create({ title: 'Plants' }, { key: 'one', fingerprint: 'a' }),
        ),
      )
      t.equal((await store.summarize()).total, 1)
      t.equal(new Set(answers.map(({ task }) => JSON.stringify(task))).size, 1)
      t.equal(answers.filter(({ replayed }) => !replayed).length, 1, 'exactly one of them created it')
    })

    t.test('it answers', async (t) => {
      const store = await open(t)
      await t.resolves(store.check())
    })
  })
}
