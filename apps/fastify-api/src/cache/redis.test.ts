/** The shared cache, and every way in which Redis can fail. */
import dns from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createClient } from '@redis/client'
import t, { type Test } from 'tap'
import { Observer } from '../testing/cache-observer.ts'
import { findProgram, RedisServer } from '../testing/redis-server.ts'
import type { Cache } from './cache.ts'
import { type RedisCacheOptions, redisCache } from './redis.ts'

const FRESHNESS = { freshMs: 60_000, staleMs: 60_000 }

/** Milliseconds to wait for a Redis that answers: enough for a busy machine. */
const PATIENT = 30_000

async function server(t: Test, ...settings: string[]): Promise<RedisServer> {
  const redis = await RedisServer.start(...settings)
  t.teardown(() => redis.kill())
  return redis
}

/** The cache of one pod. */
function pod(t: Test, url: string, options: Partial<RedisCacheOptions> = {}) {
  const observer = new Observer()
  const cache = redisCache({ url, maxBytes: 1_000_000, commandTimeoutMs: PATIENT, ...options }, observer)
  t.teardown(() => cache.close())
  return { cache, observer }
}

async function connectedPod(t: Test, redis: RedisServer, options: Partial<RedisCacheOptions> = {}) {
  const made = pod(t, redis.url, options)
  await once(made.observer, 'up')
  return made
}

/** Listens in place of Redis, and passes each connection to `onConnection`. */
async function listen(t: Test, onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    // The client may have disconnected before the answer.
    socket.on('error', () => {})
    onConnection(socket)
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A client of Redis itself. */
async function operator(t: Test, redis: RedisServer) {
  const client = await createClient({ url: redis.url }).connect()
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  return client
}

const loading = (value: string) => async () => value

async function outcome(cache: Cache, key: string, value = 'value'): Promise<string> {
  const cached = await cache.get(key, FRESHNESS, loading(value))
  return `${cached.outcome} ${cached.value}`
}

t.test('a value that one pod has loaded is a hit for the others', async (t) => {
  const redis = await server(t)
  const [one, other] = [await connectedPod(t, redis), await connectedPod(t, redis)]
  t.equal(await outcome(one.cache, 'key', 'loaded by one'), 'miss loaded by one')
  t.equal(await outcome(other.cache, 'key', 'loaded by another'), 'hit loaded by one')
})

t.test('a key that one pod deletes is gone for the others', async (t) => {
  const redis = await server(t)
  const [one, other] = [await connectedPod(t, redis), await connectedPod(t, redis)]
  await outcome(one.cache, 'key', 'old')
  await other.cache.delete('key')
  t.equal(await outcome(one.cache, 'key', 'new'), 'miss new')
})

t.test('a key that one pod deletes while another loads it stays deleted', async (t) => {
  const redis = await server(t)
  const [one, other] = [await connectedPod(t, redis), await connectedPod(t, redis)]
  const begun = Promise.withResolvers<void>()
  const { promise, resolve } = Promise.withResolvers<string>()
  const load = () => {
    begun.resolve()
    return promise
  }
  const asked = one.cache.get('key', FRESHNESS, load)
  await begun.promise
  await other.cache.delete('key')
  resolve('old')
  t.equal((await asked).value, 'old')
  t.equal(await outcome(other.cache, 'key', 'new'), 'miss new')
  t.equal(await outcome(one.cache, 'key'), 'hit new')
})

t.test('Redis removes values when they are too old to be served', async (t) => {
  const redis = await server(t)
  const { cache } = await connectedPod(t, redis)
  await cache.get('key', { freshMs: 40_000.4, staleMs: 60_000 }, loading('value'))
  const client = await operator(t, redis)
  const [key] = await client.keys('*:key')
  t.match(key, /^fastify-api:v\d+:key$/)
  const remaining = await client.pTTL(`${key}`)
  t.ok(remaining > 0 && remaining <= 100_001, `${remaining} ms`)
})

const GARBAGE = ['', 'not JSON', 'null', '7', '"text"', '{"value":1}', '{"loadedAt":"yesterday","value":1}']

t.test('a foreign value under a key counts as a miss and is replaced', async (t) => {
  const redis = await server(t)
  const { cache, observer } = await connectedPod(t, redis)
  const client = await operator(t, redis)
  for (const [index, garbage] of GARBAGE.entries()) {
    await client.set(`fastify-api:v1:${index}`, garbage)
    t.equal(await outcome(cache, `${index}`), 'miss value', `a text: ${garbage}`)
    t.equal(await outcome(cache, `${index}`), 'hit value')
  }
  await client.lPush('fastify-api:v1:list', 'entry')
  t.equal(await outcome(cache, 'list'), 'miss value', 'a list')
  t.equal(await outcome(cache, 'list'), 'hit value')
  t.strictSame(observer.story, ['up'], 'this is not an outage')
})

t.test(
  'while Redis is down, every get succeeds; the pods share the cache again afterwards; each change is reported once',
  async (t) => {
    const redis = await server(t)
    const { cache, observer } = await connectedPod(t, redis)
    let asking = true
    let answers = 0
    const client = async (): Promise<void> => {
      while (asking) {
        const { value } = await cache.get(`${answers % 100}`, FRESHNESS, loading('value'))
        if (value !== 'value') throw new Error(`${value} was never loaded`)
        answers++
        await new Promise(setImmediate)
      }
    }
    const clients = Promise.all(Array.from({ length: 50 }, client))
    const down = once(observer, 'down')
    await redis.kill()
    await down
    const up = once(observer, 'up')
    await redis.start()
    await up
    asking = false
    await clients
    t.equal(observer.outcomes.length, answers)
    t.match(observer.story, ['up', /^Redis at 127\.0\.0\.1:\d+: ./, 'up'])
    t.equal(observer.story.length, 3)
    await cache.get('after', FRESHNESS, loading('value'))
    const other = await connectedPod(t, redis)
    t.equal(await outcome(other.cache, 'after'), 'hit value')
  },
)

t.test('while Redis is down, each key is loaded once, not once per request', async (t) => {
  const redis = await server(t)
  const { cache, observer } = await connectedPod(t, redis)
  const down = once(observer, 'down')
  await redis.kill()
  await down
  t.equal(await outcome(cache, 'key'), 'miss value')
  t.equal(await outcome(cache, 'key'), 'hit value')
  await cache.delete('key')
  t.equal(await outcome(cache, 'key', 'new'), 'miss new')
})

t.test(
  'values loaded in one outage are not served in the next, because another pod may have deleted them',
  async (t) => {
    const redis = await server(t)
    const { cache, observer } = await connectedPod(t, redis)
    for (const value of ['first outage', 'second outage']) {
      const down = once(observer, 'down')
      await redis.kill()
      await down
      t.equal(await outcome(cache, 'key', value), `miss ${value}`)
      const up = once(observer, 'up')
      await redis.start()
      await up
    }
  },
)

t.test(
  'keys deleted while Redis is unreachable are deleted from it once it is reachable again',
  async (t) => {
    const redis = await server(t)
    const [cutOff, other] = [await connectedPod(t, redis), await connectedPod(t, redis)]
    await outcome(other.cache, 'key', 'old')
    const client = await operator(t, redis)
    // Redis keeps running: it closes all connections and accepts new ones.
    const up = Promise.all([once(cutOff.observer, 'up'), once(other.observer, 'up')])
    const down = once(cutOff.observer, 'down')
    await client.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
    await down
    await cutOff.cache.delete('key')
    await up
    t.equal(await outcome(cutOff.cache, 'key', 'new'), 'miss new')
    t.equal(await outcome(other.cache, 'key'), 'hit new')
  },
)

t.test('a Redis that hangs delays only one call, and is used again when it continues', async (t) => {
  const redis = await server(t)
  const { cache, observer } = await connectedPod(t, redis, { commandTimeoutMs: 1_000 })
  await outcome(cache, 'key', 'shared')
  redis.pause()
  t.equal(await outcome(cache, 'key', 'own'), 'miss own')
  t.equal(await outcome(cache, 'key'), 'hit own')
  t.match(observer.story, ['up', /no answer within 1000 ms$/])
  const up = once(observer, 'up')
  redis.resume()
  await up
  t.equal(await outcome(cache, 'key'), 'hit shared')
})

t.test('a Redis that hangs is detected without any requests', async (t) => {
  const redis = await server(t)
  const { observer } = await connectedPod(t, redis, { commandTimeoutMs: 1_000 })
  const down = once(observer, 'down')
  redis.pause()
  await down
  t.match(observer.story, ['up', /no answer within 1000 ms$/])
})

t.test('after a stall of the process, an answer that arrived meanwhile still counts', async (t) => {
  const redis = await server(t)
  const { cache, observer } = await connectedPod(t, redis, { commandTimeoutMs: 1_000 })
  await outcome(cache, 'key')
  const asked = outcome(cache, 'key')
  // The command is sent before the process stalls for longer than the timeout.
  await new Promise(setImmediate)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000)
  t.equal(await asked, 'hit value')
  t.strictSame(observer.story, ['up'])
})

t.test('a full Redis is not used until it has room', async (t) => {
  const redis = await server(t)
  const { cache, observer } = await connectedPod(t, redis)
  const client = await operator(t, redis)
  await client.configSet('maxmemory', '1')
  t.equal(await outcome(cache, 'key'), 'miss value')
  t.equal(await outcome(cache, 'key'), 'hit value', 'from memory')
  t.match(observer.story, ['up', /OOM/])
  const up = once(observer, 'up')
  await client.configSet('maxmemory', '0')
  await up
  t.equal(observer.story.length, 3)
})

t.test('a Redis that is full at the start is not used until it has room', async (t) => {
  const redis = await server(t, '--maxmemory', '1')
  const { observer } = pod(t, redis.url)
  await once(observer, 'down')
  const up = once(observer, 'up')
  await (await operator(t, redis)).configSet('maxmemory', '0')
  await up
  t.match(observer.story, [/OOM/, 'up'])
})

t.test(
  'without Redis at the start, every call succeeds and one outage is reported; Redis is used once it is available',
  async (t) => {
    const redis = await server(t)
    await redis.kill()
    const { cache, observer } = pod(t, redis.url)
    const down = once(observer, 'down')
    t.equal(await outcome(cache, 'key'), 'miss value', 'no call waits for a connection')
    await down
    t.equal(await outcome(cache, 'later'), 'miss value')
    const up = once(observer, 'up')
    await redis.start()
    await up
    t.match(observer.story, [/ECONNREFUSED/, 'up'])
    t.equal(observer.story.length, 2)
    t.equal(await outcome(cache, 'later'), 'miss value', 'Redis is used now')
  },
)

t.test('if every address of a host refuses connections, the error says so', async (t) => {
  const redis = await server(t)
  await redis.kill()
  const addresses = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }))
  t.capture(dns, 'lookup', (_host: string, _options: unknown, found: (...result: unknown[]) => void) =>
    found(null, addresses),
  )
  const { observer } = pod(t, `redis://redis.test:${redis.port}`)
  await once(observer, 'down')
  t.strictSame(observer.story, [`Redis at redis.test:${redis.port}: ECONNREFUSED`])
})

t.test('the client authenticates with a password', async (t) => {
  const redis = await server(t, '--requirepass', 's3cret word')
  const { cache, observer } = pod(t, redis.url.replace('//', '//:s3cret%20word@'))
  await once(observer, 'up')
  t.equal(await outcome(cache, 'key'), 'miss value')
  t.equal(await outcome(cache, 'key'), 'hit value')
})

t.test('the client authenticates with a user and a password', async (t) => {
  const redis = await server(t, '--user', 'pod', 'on', '>s3cret', '~*', '+@all', '--user', 'default', 'off')
  const { cache, observer } = pod(t, redis.url.replace('//', '//pod:s3cret@'))
  await once(observer, 'up')
  t.equal(await outcome(cache, 'key'), 'miss value')
  t.equal(await outcome(cache, 'key'), 'hit value')
})

t.test('no error contains the password', async (t) => {
  t.test('when Redis refuses the password', async (t) => {
    const redis = await server(t, '--requirepass', 'other')
    const { observer } = pod(t, redis.url.replace('//', '//:s3cret%20word@'))
    await once(observer, 'down')
    t.match(observer.story, [/WRONGPASS/])
    t.notMatch(observer.story, [/s3cret/])
  })

  t.test('when a server echoes a command that it does not know', async (t) => {
    const port = await listen(t, (socket) => {
      socket.on('data', (data) => socket.write(`-ERR unknown ${JSON.stringify(String(data))}\r\n`))
    })
    const { observer } = pod(t, `redis://:s3cret%20word@127.0.0.1:${port}`)
    await once(observer, 'down')
    t.match(observer.story, [/ERR unknown .*AUTH.*\*\*\*/])
    t.notMatch(observer.story, [/s3cret/])
  })

  for (const url of [
    'redis://:s3cret@host:port',
    'redis://:s3cret%@host',
    'http://:s3cret@host',
    'redis://:s3cret@host/db',
  ]) {
    t.test(`when the URL is ${url}`, async (t) => {
      try {
        redisCache({ url, maxBytes: 1 }, new Observer())
        t.fail('the URL was accepted')
      } catch (error) {
        t.match(error, { message: /the Redis URL is invalid/, cause: undefined })
        t.notMatch(`${JSON.stringify(error)} ${(error as Error).stack}`, /s3cret/)
      }
    })
  }
})

t.test('an outage is reported once, however often connecting fails', async (t) => {
  let attempts = 0
  const third = Promise.withResolvers<void>()
  const port = await listen(t, (socket) => {
    socket.destroy()
    if (++attempts === 3) third.resolve()
  })
  const { observer } = pod(t, `redis://127.0.0.1:${port}`)
  await third.promise
  t.equal(observer.story.length, 1)
})

t.test('a closed cache reports no outages', async (t) => {
  const redis = await server(t)
  const connected = await connectedPod(t, redis)
  const connecting = pod(t, redis.url)
  await Promise.all([connected.cache.close(), connecting.cache.close()])
  // Events of later connections are reported later.
  await connectedPod(t, redis)
  await redis.kill()
  const refused = pod(t, redis.url)
  await refused.cache.close()
  await once(pod(t, redis.url).observer, 'down')
  t.strictSame(connected.observer.story, ['up'])
  t.strictSame([...connecting.observer.story, ...refused.observer.story], [])
})

t.test('without redis-server, the tests fail and name the package to install', async (t) => {
  t.throws(() => findProgram('/nowhere'), { message: /apt-get install .*redis-server/ })
})

t.test("a setting that the server refuses fails the test, with the setting's name", async (t) => {
  await t.rejects(RedisServer.start('--no-such-setting', '1'), { message: /no-such-setting/ })
})
