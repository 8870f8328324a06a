/** Malicious input over real sockets: it is refused, and other clients are not affected. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { start } from '../testing/server.ts'

const server = await start(t)
const metrics = async () => (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text()

async function open(): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1')
  // The server may reset the connection while the test still writes.
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Everything that the service answers to `bytes` until it closes the connection. */
async function send(bytes: string | Buffer): Promise<string> {
  const socket = await open()
  let answer = ''
  socket.on('data', (part) => {
    answer += part
  })
  // In a single write: a refusal resets the connection, and a later write would then fail before the answer is read.
  socket.write(bytes)
  await new Promise((resolve) => socket.once('close', resolve))
  return answer
}

function post(path: string, body: string | Buffer, headers: string[] = []): Buffer {
  const head = [
    `POST ${path} HTTP/1.1`,
    'host: x',
    'connection: close',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    ...headers,
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), Buffer.from(body)])
}

const get = (path: string, headers: string[] = []) =>
  `${[`GET ${path} HTTP/1.1`, 'host: x', ...headers].join('\r\n')}\r\n\r\n`

const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
const last = 'connection: close'

/** Whether other clients are served. */
const serves = async () => (await fetch(`http://127.0.0.1:${server.port}/healthz`)).status === 200
function attack(name: string, run: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await run(t)
    t.ok(await serves(), 'other clients are served')
    t.equal(server.process.exitCode, null)
  })
}

/** Opens a connection with a request in progress. Returns a function that completes it and resolves with the status. */
async function occupy(port: number): Promise<() => Promise<number>> {
  const socket = connect(port, '127.0.0.1')
  const head = ['expect: 100-continue', 'content-type: application/json', 'content-length: 2', last]
  socket.write(get('/api/v1/echo', head).replace('GET', 'POST'))
  const [interim] = await once(socket, 'data')
  if (status(String(interim)) !== 100) throw new Error(`instead of 100 Continue: ${interim}`)
  return async () => {
    const answer = text(socket)
    socket.write('{}')
    return status(await answer)
  }
}

attack('unfinished headers occupy only their own connection', async (t) => {
  const slow = await Promise.all(Array.from({ length: 50 }, open))
  for (const socket of slow) socket.write('GET / HTTP/1.1\r\nhost: x\r\nx-slow: ')
  for (let round = 0; round < 3; round++) {
    for (const socket of slow) socket.write('a')
    t.ok(await serves())
    await sleep(10)
  }
  for (const socket of slow) socket.destroy()
})

t.test('idle connections are closed for new ones, but busy ones stay', async (t) => {
  const small = await start(t, { MAX_CONNECTIONS: '10' })
  const connectTo = () => connect(small.port, '127.0.0.1').on('error', () => {})
  const finish = await occupy(small.port)
  const idle = Array.from({ length: 30 }, connectTo)
  for (const socket of idle) socket.resume()
  while (idle.filter((socket) => !socket.closed).length > 9) await sleep(10)
  t.equal((await fetch(`http://127.0.0.1:${small.port}/healthz`)).status, 200, 'a probe is served')
  t.equal(await finish(), 200)
  for (const socket of idle) socket.destroy()
  small.process.kill('SIGTERM')
  t.equal((await small.ended).code, 0)
  t.match(small.output(), /"most":10,"msg":"too many connections/)
})

t.test('if all connections are busy, a new one is closed', async (t) => {
  const small = await start(t, { MAX_CONNECTIONS: '1' })
  const finish = await occupy(small.port)
  await t.rejects(fetch(`http://127.0.0.1:${small.port}/`))
  t.equal(await finish(), 200)
  small.process.kill('SIGTERM')
  t.equal((await small.ended).code, 0)
})

attack('a flood of headers is refused', async (t) => {
  const flood = Array.from({ length: 2_000 }, (_, index) => `x-${index}: ${index}`)
  t.equal(status(await send(get('/', [...flood, last]))), 431)
})

attack('a body that is too large is refused before it is sent', async (t) => {
  const head = post('/api/v1/echo', '').toString().replace('content-length: 0', 'content-length: 10000000000')
  t.equal(status(await send(head)), 413)
})

attack('an endless chunked body is refused once it is too large', async (t) => {
  const head = get('/api/v1/echo', ['transfer-encoding: chunked', 'content-type: application/json']).replace(
    'GET',
    'POST',
  )
  const chunk = `${(8192).toString(16)}\r\n${' '.repeat(8192)}\r\n`
  t.equal(status(await send(head + chunk.repeat(20))), 413)
})

attack('a request with two lengths, or with a length and chunks, is refused', async (t) => {
  // A proxy and the service could disagree on where such a request ends.
  t.equal(status(await send(post('/api/v1/echo', '1', ['content-length: 2']))), 400)
  t.equal(status(await send(post('/api/v1/echo', '1', ['transfer-encoding: chunked']))), 400)
})

attack('deeply nested JSON is parsed or refused, without a stack overflow', async (t) => {
  const deep = '['.repeat(30_000) + ']'.repeat(30_000)
  t.match(String(status(await send(post('/api/v1/echo', deep)))), /^(200|422)$/)
  t.equal(status(await send(post('/api/v1/tasks', `{"title":${deep}}`))), 422)
})

for (const body of ['{"__proto__":{"polluted":true}}', '{"constructor":{"prototype":{"polluted":true}}}']) {
  attack(`${body} cannot change a prototype`, async (t) => {
    t.equal(status(await send(post('/api/v1/echo', body))), 400)
    t.equal(status(await send(post('/api/v1/tasks', body))), 400)
  })
}

attack('invalid UTF-8 is replaced or refused', async (t) => {
  const broken = Buffer.concat([
    Buffer.from('{"title":"'),
    Buffer.from([0xc3, 0x28, 0xff]),
    Buffer.from('"}'),
  ])
  t.equal(status(await send(post('/api/v1/tasks', broken))), 201)
  t.equal(status(await send(get('/%c3%28', [last]))), 400)
  t.equal(status(await send(post('/api/v1/tasks', '{"title":"\\u0000"}'))), 422, 'NUL is not allowed')
})

attack('header values cannot add header lines to the response', async (t) => {
  const answer = await send(get('/', ['x-request-id: a%0d%0aset-cookie: x', last]))
  t.equal(status(answer), 200)
  t.notMatch(answer, /^set-cookie/im)
})

attack('pipelined requests are answered in order', async (t) => {
  const paths = [...Array.from({ length: 30 }, (_, index) => `/api/v1/payload/${index}`)]
  const requests = paths.map((path, index) => get(path, index === paths.length - 1 ? [last] : []))
  const answer = await send(requests.join(''))
  const lengths = [...answer.matchAll(/content-length: (\d+)/gi)].map(([, length]) => Number(length))
  t.strictSame(
    lengths,
    paths.map((_, index) => index),
  )
})

attack('paths with .., repeated slashes or excessive length are refused', async (t) => {
  for (const path of [
    '/../../etc/passwd',
    '/api/v1/tasks/../../../etc/passwd',
    '//',
    `/${'a/'.repeat(2_000)}`,
  ]) {
    t.match(String(status(await send(get(path, [last])))), /^40[04]$/, path.slice(0, 40))
  }
  t.equal(status(await send(get(`/api/v1/tasks/${'a'.repeat(5_000)}`, [last]))), 400)
})

attack('unknown paths add no metric series', async (t) => {
  for (let index = 0; index < 50; index++) await send(get(`/random/${index}?q=${index}`, [last]))
  const routes = new Set([...(await metrics()).matchAll(/route="([^"]*)"/g)].map(([, route]) => route))
  t.notOk(
    [...routes].some((route) => route?.includes('random')),
    [...routes].join(' '),
  )
})
