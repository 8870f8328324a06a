import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { memoryTaskRepository } from './memory.ts'

t.test('when the store is full, a new task replaces the oldest', async (t) => {
  const store = memoryTaskRepository(2)
  const { task: oldest } = await store.create({ title: 'a' })
  for (const title of ['b', 'c']) {
    await sleep(5) // Within one millisecond no task is older than another.
    await store.create({ title })
  }
  t.equal(await store.get(oldest.id), undefined)
  t.strictSame(
    (await store.list({ limit: 3 })).tasks.map(({ title }) => title),
    ['c', 'b'],
  )
})

t.test('when the store is full, a new idempotency key replaces the oldest', async (t) => {
  const store = memoryTaskRepository(2)
  const create = (key: string) => store.create({ title: key }, { key, fingerprint: key })
  for (const key of ['a', 'b', 'c']) await create(key)
  t.equal((await create('b')).replayed, true)
  t.equal((await create('a')).replayed, false)
})
