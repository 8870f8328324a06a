/** The shared cache in a cluster, in which other nodes redirect to the node that has a key. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Observer } from '../testing/cache-observer.ts'
import { Authority } from '../testing/certificates.ts'
import { freePort } from '../testing/free-port.ts'
import { RedisServer, startCluster } from '../testing/redis-server.ts'
import { type RedisCacheOptions, redisCache } from './redis.ts'

t.setTimeout(300_000)

const FRESHNESS = { freshMs: 600_000, staleMs: 600_000 }
const KEYS = Array.from({ length: 30 }, (_, index) => `key-${index}`)

async function pod(t: Test, url: string, options: Partial<RedisCacheOptions> = {}) {
  const observer = new Observer()
  const cache = redisCache({ url, maxBytes: 1_000_000, commandTimeoutMs: 60_000, ...options }, observer)
  t.teardown(() => cache.close())
  const up = once(observer, 'up')
  // On a busy machine, the first connection attempt may time out.
  const sinceUp = () => observer.story.slice(observer.story.indexOf('up'))
  const outcomes = async (value: string) => {
    const cached = await Promise.all(KEYS.map((key) => cache.get(key, FRESHNESS, async () => value)))
    return [...new Set(cached.map(({ outcome, value }) => `${outcome} ${value}`))]
  }
  return { cache, observer, up, sinceUp, outcomes }
}

t.test('keys on every node are read, written and deleted, whichever node the URL names', async (t) => {
  const { nodes, clients } = await startCluster(t)
  const pods = await Promise.all(nodes.map(({ url }) => pod(t, url)))
  await Promise.all(pods.map(({ up }) => up))
  const [one, two, three] = pods
  t.strictSame(await one?.outcomes('first'), ['miss first'])
  t.strictSame(await two?.outcomes('second'), ['hit first'])
  await Promise.all(KEYS.map((key) => two?.cache.delete(key)))
  t.strictSame(await three?.outcomes('third'), ['miss third'])
  t.strictSame(await one?.outcomes('fourth'), ['hit third'])
  for (const client of clients) t.ok((await client.keys('*')).length > 0, 'every node has some keys')
  for (const { sinceUp } of pods) t.strictSame(sinceUp(), ['up'])
})

t.test('the client follows slots that move to another node', async (t) => {
  const { nodes, clients, ids } = await startCluster(t)
  const { sinceUp, up, outcomes } = await pod(t, String(nodes[1]?.url))
  await up
  t.strictSame(await outcomes('before'), ['miss before'])
  const [from, to] = clients
  const [fromId, toId] = ids.map(String)
  const slots = new Set<number>()
  for (const key of KEYS) {
    const slot = Number(await from?.clusterKeySlot(`fastify-api:v1:${key}`))
    const moved = (await from?.clusterGetKeysInSlot(slot, 100)) ?? []
    if (moved.length === 0) continue
    slots.add(slot)
    await to?.sendCommand(['CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', String(fromId)])
    await from?.sendCommand(['CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', String(toId)])
    t.strictSame(await outcomes('meanwhile'), ['hit before'], 'while the slots are moving')
    await from?.sendCommand([
      'MIGRATE',
      '127.0.0.1',
      String(nodes[1]?.port),
      '',
      '0',
      '5000',
      'KEYS',
      ...moved,
    ])
    t.strictSame(await outcomes('meanwhile'), ['hit before'], 'served by the other node')
    for (const client of [to, from]) {
      await client?.sendCommand(['CLUSTER', 'SETSLOT', String(slot), 'NODE', String(toId)])
    }
  }
  t.ok(slots.size > 3, 'the first node had slots')
  t.strictSame(await outcomes('after'), ['hit before'])
  t.strictSame(sinceUp(), ['up'], 'there was no outage')
})

t.test('the loss of a primary is one outage, until its replica takes over', async (t) => {
  const { nodes } = await startCluster(t, { replicas: 1 })
  const { cache, observer, sinceUp, up, outcomes } = await pod(t, String(nodes[1]?.url))
  await up
  t.strictSame(await outcomes('before'), ['miss before'])
  const again = Promise.all([once(observer, 'down'), once(observer, 'up')])
  await nodes[0]?.kill()
  let outage = true
  again.then(() => {
    outage = false
  })
  while (outage) {
    await cache.get(`key-${Math.floor(Math.random() * 30)}`, FRESHNESS, async () => 'before')
    await new Promise(setImmediate)
  }
  t.match(sinceUp(), ['up', /^Redis at /, 'up'])
  t.equal(sinceUp().length, 3)
  // Writes that the primary had not replicated are lost.
  await outcomes('before')
  t.strictSame(await outcomes('after'), ['hit before'])
})

t.test('the loss of a node is detected without any requests', async (t) => {
  const { nodes } = await startCluster(t)
  const { observer, up, sinceUp } = await pod(t, String(nodes[1]?.url))
  await up
  const down = once(observer, 'down')
  await nodes[2]?.kill()
  await down
  t.match(sinceUp(), ['up', /^Redis at /])
})

t.test('when one node is unreachable, connections to the others are closed', async (t) => {
  const { nodes } = await startCluster(t)
  await nodes[0]?.kill()
  const timers = () => process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
  const before = timers()
  const { cache, observer } = await pod(t, String(nodes[1]?.url))
  await once(observer, 'down')
  await Promise.all(nodes.map((node) => node.kill()))
  await cache.close()
  while (timers() > before) await new Promise(setImmediate)
  t.equal(observer.story.length, 1)
})

t.test('TLS, a private CA and a password apply to every node', async (t) => {
  const authority = new Authority(t)
  const { cert, key } = authority.issue('IP:127.0.0.1')
  const tlsPort = await freePort()
  const tls = ['--tls-port', String(tlsPort), '--tls-cert-file', cert, '--tls-key-file', key]
  const settings = [
    ...tls,
    '--tls-ca-cert-file',
    authority.file,
    '--tls-auth-clients',
    'no',
    '--tls-cluster',
    'yes',
  ]
  const { clients } = await startCluster(t, { masters: 1, settings })
  await clients[0]?.configSet({ requirepass: 's3cret word', masterauth: 's3cret word' })
  const { sinceUp, up, outcomes } = await pod(t, `rediss://:s3cret%20word@127.0.0.1:${tlsPort}`, {
    ca: authority.pem,
  })
  await up
  t.strictSame(await outcomes('first'), ['miss first'])
  t.strictSame(await outcomes('second'), ['hit first'])
  t.strictSame(sinceUp(), ['up'])
})

t.test('a single server with TLS', async (t) => {
  const authority = new Authority(t)
  const listen = async (...names: string[]) => {
    const { cert, key } = authority.issue(...names)
    const port = await freePort()
    const redis = await RedisServer.start(
      ...['--tls-port', String(port), '--tls-cert-file', cert, '--tls-key-file', key],
      ...['--tls-ca-cert-file', authority.file, '--tls-auth-clients', 'no'],
    )
    t.teardown(() => redis.kill())
    return port
  }
  const port = await listen('DNS:localhost')

  t.test('is used if its certificate is from the CA', async (t) => {
    const { sinceUp, up, outcomes } = await pod(t, `rediss://localhost:${port}`, { ca: authority.pem })
    await up
    t.strictSame(await outcomes('first'), ['miss first'])
    t.strictSame(sinceUp(), ['up'])
  })

  t.test('is not used if its certificate is from another CA or for another name', async (t) => {
    for (const [url, ca, reason] of [
      [`rediss://localhost:${port}`, new Authority(t).pem, /certificate|signature/],
      [`rediss://localhost:${port}`, undefined, /certificate/],
      [`rediss://127.0.0.1:${port}`, authority.pem, /does not match certificate/],
    ] as const) {
      const { observer } = await pod(t, url, { ca })
      await once(observer, 'down')
      t.match(observer.story, [reason])
    }
  })
})
