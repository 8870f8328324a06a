/** The behaviour that all caches have in common. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Observer } from '../testing/cache-observer.ts'
import { RedisServer } from '../testing/redis-server.ts'
import type { Cache, Cached } from './cache.ts'
import { memoryCache } from './memory.ts'
import { redisCache } from './redis.ts'

const FRESHNESS = { freshMs: 10_000, staleMs: 20_000 }
const MAX_BYTES = 1024 * 1024

interface Setting {
  cache: Cache
  observer: Observer
  /** Advances the cache's clock. */
  pass(ms: number): void
}

const redis = await RedisServer.start()
t.teardown(() => redis.kill())

const implementations: Record<string, (observer: Observer, now: () => number) => Promise<Cache>> = {
  memory: async (observer, now) => memoryCache({ maxBytes: MAX_BYTES, now }, observer),
  redis: async (observer, now) => {
    const up = once(observer, 'up')
    const cache = redisCache({ url: redis.url, maxBytes: MAX_BYTES, commandTimeoutMs: 10_000, now }, observer)
    await up
    return cache
  },
}

/** A load that ends when the test says so. */
function heldLoad<T>() {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const begun = Promise.withResolvers<void>()
  const held = {
    count: 0,
    begun: begun.promise,
    resolve,
    reject,
    load: () => {
      held.count++
      begun.resolve()
      return promise
    },
  }
  return held
}

/** Repeats a get until its result matches, because background loads have no other sign. */
async function until<T>(ask: () => Promise<Cached<T>>, wished: (cached: Cached<T>) => boolean) {
  let cached = await ask()
  while (!wished(cached)) {
    await new Promise(setImmediate)
    cached = await ask()
  }
  return cached
}

for (const [name, create] of Object.entries(implementations)) {
  t.test(name, async (t) => {
    const start = async (t: Test): Promise<Setting> => {
      let now = Date.now()
      const observer = new Observer()
      const cache = await create(observer, () => now)
      t.teardown(() => cache.close())
      return {
        cache,
        observer,
        pass: (ms) => {
          now += ms
        },
      }
    }
    const unexpected = async () => {
      throw new Error('nothing was to be loaded')
    }

    t.test('a value is loaded once and then served with its age', async (t) => {
      const { cache, observer, pass } = await start(t)
      const key = `${t.name}`
      t.strictSame(await cache.get(key, FRESHNESS, async () => ({ total: 1 })), {
        value: { total: 1 },
        outcome: 'miss',
        age: 0,
      })
      pass(9_999)
      t.strictSame(await cache.get(key, FRESHNESS, unexpected), {
        value: { total: 1 },
        outcome: 'hit',
        age: 9,
      })
      t.strictSame(observer.outcomes, ['miss', 'hit'])
    })

    t.test('a missing value is cached too', async (t) => {
      const { cache } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => undefined)
      t.match(await cache.get(key, FRESHNESS, unexpected), { value: undefined, outcome: 'hit' })
    })

    t.test('changes that a caller makes to its value do not affect others', async (t) => {
      const { cache } = await start(t)
      const key = `${t.name}`
      const load = async () => ({ titles: ['first'] })
      const [one, other] = await Promise.all([
        cache.get(key, FRESHNESS, load),
        cache.get(key, FRESHNESS, load),
      ])
      one.value.titles.push('second')
      t.strictSame(other.value.titles, ['first'])
      t.strictSame((await cache.get(key, FRESHNESS, load)).value.titles, ['first'])
    })

    t.test('a thousand concurrent gets share one load', async (t) => {
      const { cache, observer } = await start(t)
      const held = heldLoad<string>()
      const asked = Array.from({ length: 1_000 }, () => cache.get(`${t.name}`, FRESHNESS, held.load))
      await held.begun
      held.resolve('value')
      t.strictSame(new Set((await Promise.all(asked)).map(({ value }) => value)), new Set(['value']))
      t.equal(held.count, 1)
      t.strictSame(new Set(observer.outcomes), new Set(['miss']))
      t.equal(observer.outcomes.length, 1_000)
    })

    t.test('a stale value is served at once while a single load replaces it', async (t) => {
      const { cache, pass } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => 'old')
      pass(FRESHNESS.freshMs)
      const held = heldLoad<string>()
      const ask = () => cache.get(key, FRESHNESS, held.load)
      const answers = [await ask(), ...(await Promise.all([ask(), ask(), ask()]))]
      t.strictSame(answers, Array(4).fill({ value: 'old', outcome: 'stale', age: 10 }))
      held.resolve('new')
      t.strictSame(await until(ask, ({ outcome }) => outcome === 'hit'), {
        value: 'new',
        outcome: 'hit',
        age: 0,
      })
      t.equal(held.count, 1)
    })

    t.test('a value that is too old to be served stale is loaded first', async (t) => {
      const { cache, pass } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => 'old')
      pass(FRESHNESS.freshMs + FRESHNESS.staleMs)
      t.match(await cache.get(key, FRESHNESS, async () => 'new'), { value: 'new', outcome: 'miss' })
    })

    t.test('calls that wait for a failed load get its error; the next call starts a new load', async (t) => {
      const { cache, observer } = await start(t)
      const key = `${t.name}`
      const held = heldLoad<string>()
      const asked = [cache.get(key, FRESHNESS, held.load), cache.get(key, FRESHNESS, held.load)]
      await held.begun
      const error = new Error('database down')
      held.reject(error)
      t.strictSame(
        (await Promise.allSettled(asked)).map((settled) => 'reason' in settled && settled.reason === error),
        [true, true],
      )
      t.match(await cache.get(key, FRESHNESS, async () => 'value'), { value: 'value', outcome: 'miss' })
      t.strictSame(observer.outcomes, ['miss', 'miss', 'miss'])
    })

    t.test('a failed background load keeps the stale value, and the next get tries again', async (t) => {
      const { cache, pass } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => 'old')
      pass(FRESHNESS.freshMs)
      const failing = async () => {
        throw new Error('database down')
      }
      t.match(await cache.get(key, FRESHNESS, failing), { value: 'old', outcome: 'stale' })
      t.match(await cache.get(key, FRESHNESS, failing), { value: 'old', outcome: 'stale' })
      const fresh = await until(
        () => cache.get(key, FRESHNESS, async () => 'new'),
        ({ outcome }) => outcome === 'hit',
      )
      t.equal(fresh.value, 'new')
    })

    t.test('a deleted value is loaded again', async (t) => {
      const { cache } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => 'old')
      await cache.delete(key)
      t.match(await cache.get(key, FRESHNESS, async () => 'new'), { value: 'new', outcome: 'miss' })
      t.match(await cache.get(key, FRESHNESS, unexpected), { value: 'new', outcome: 'hit' })
    })

    t.test(
      'after a delete during a load, a later get neither waits for that load nor returns its value',
      async (t) => {
        const { cache } = await start(t)
        const key = `${t.name}`
        const held = heldLoad<string>()
        const before = cache.get(key, FRESHNESS, held.load)
        await held.begun
        await cache.delete(key)
        t.match(await cache.get(key, FRESHNESS, async () => 'new'), { value: 'new', outcome: 'miss' })
        held.resolve('old')
        t.match(await before, { value: 'old' }, 'the earlier call may get the value from before the delete')
        t.match(await cache.get(key, FRESHNESS, unexpected), { value: 'new', outcome: 'hit' })
      },
    )

    t.test('after a delete during a background load, the loaded value is not kept', async (t) => {
      const { cache, pass } = await start(t)
      const key = `${t.name}`
      await cache.get(key, FRESHNESS, async () => 'older')
      pass(FRESHNESS.freshMs)
      const held = heldLoad<string>()
      await cache.get(key, FRESHNESS, held.load)
      await cache.delete(key)
      held.resolve('old')
      await new Promise(setImmediate)
      t.match(await cache.get(key, FRESHNESS, async () => 'new'), { value: 'new', outcome: 'miss' })
    })

    t.test('a value with no lifetime is not kept', async (t) => {
      const { cache } = await start(t)
      const never = { freshMs: 0, staleMs: 0 }
      await cache.get(`${t.name}`, never, async () => 'first')
      t.match(await cache.get(`${t.name}`, FRESHNESS, async () => 'second'), {
        value: 'second',
        outcome: 'miss',
      })
    })

    t.test('a value from a clock that is ahead counts as fresh', async (t) => {
      const { cache, pass } = await start(t)
      await cache.get(`${t.name}`, FRESHNESS, async () => 'value')
      pass(-5_000)
      t.match(await cache.get(`${t.name}`, FRESHNESS, unexpected), { outcome: 'hit', age: 0 })
    })

    t.test('close waits for loads in progress, because what they use is closed next', async (t) => {
      const { cache } = await start(t)
      const held = heldLoad<string>()
      const asked = cache.get(`${t.name}`, FRESHNESS, held.load)
      await held.begun
      const order: string[] = []
      const closed = cache.close().then(() => order.push('closed'))
      await new Promise(setImmediate)
      order.push('loaded')
      held.resolve('value')
      await Promise.all([asked, closed])
      t.strictSame(order, ['loaded', 'closed'])
    })
  })
}

t.test('memory: the least recently used values are evicted first', async (t) => {
  const cache = memoryCache({ maxBytes: 1_000_000 }, new Observer())
  const load = async () => 'x'.repeat(100_000)
  for (let i = 0; i < 100; i++) {
    await cache.get('used', FRESHNESS, load)
    await cache.get(`${i}`, FRESHNESS, load)
  }
  t.equal((await cache.get('used', FRESHNESS, load)).outcome, 'hit')
  t.equal((await cache.get('99', FRESHNESS, load)).outcome, 'hit')
  t.equal((await cache.get('0', FRESHNESS, load)).outcome, 'miss')
})

t.test('memory: a value larger than the cache is served but not kept, and evicts nothing', async (t) => {
  const cache = memoryCache({ maxBytes: 10_000 }, new Observer())
  await cache.get('small', FRESHNESS, async () => 'x')
  const large = () => cache.get('large', FRESHNESS, async () => 'x'.repeat(10_000))
  t.equal((await large()).value.length, 10_000)
  t.equal((await large()).outcome, 'miss')
  t.equal((await cache.get('small', FRESHNESS, async () => 'y')).outcome, 'hit')
})
