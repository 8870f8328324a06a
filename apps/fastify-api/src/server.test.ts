/** The server as a pod runs it: a process of its own, real sockets, real signals. */
import { once } from 'node:events'
import { Agent, get, request } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { run, start } from './testing/server.ts'

interface Answer {
  status: number
  connection: string | undefined
}

interface AskError extends NodeJS.ErrnoException {
  /** Whether the connection had served a request before. */
  reused: boolean
}

function ask(port: number, path: string, agent?: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { port, path, host: '127.0.0.1', ...(agent === undefined ? {} : { agent }) }
    const asked = get(options, (response) => {
      response.resume()
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, connection: response.headers.connection }),
      )
    })
    asked.on('error', (error) => reject(Object.assign(error, { reused: asked.reusedSocket })))
  })
}

t.test(
  'SIGTERM: not ready, still serving, then requests in flight finish and the exit is clean',
  async (t) => {
    const server = await start(t, { DRAIN_DELAY_MS: '500' })
    t.equal((await ask(server.port, '/readyz')).status, 200)
    const inFlight = ask(server.port, '/api/v1/delay/1500')
    await sleep(100)
    server.process.kill('SIGTERM')
    await sleep(100)
    t.equal((await ask(server.port, '/readyz')).status, 503)
    t.strictSame(
      await ask(server.port, '/'),
      { status: 200, connection: 'close' },
      'a new connection is served',
    )
    t.equal((await inFlight).status, 200)
    t.equal((await server.ended).code, 0)
    t.match(server.output(), /"msg":"draining.*"msg":"closing.*"msg":"closed"/s)
  },
)

t.test('clients that keep asking until the listener closes lose no request', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '500' })
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.teardown(() => agent.destroy())
  const statuses: number[] = []
  const client = async (): Promise<string> => {
    for (;;) {
      try {
        statuses.push((await ask(server.port, '/', agent)).status)
      } catch (error) {
        const { code, reused } = error as AskError
        return `${code} on a ${reused ? 'kept' : 'new'} connection`
      }
      if (statuses.length === 100) server.process.kill('SIGTERM')
    }
  }
  const ends = new Set(await Promise.all(Array.from({ length: 8 }, client)))
  t.strictSame(new Set(statuses), new Set([200]))
  // Refused is who connects after the listener has closed. A reset is the kernel's word for the same, to those
  // that connect in that very instant.
  for (const code of ['ECONNREFUSED', 'ECONNRESET']) ends.delete(`${code} on a new connection`)
  t.strictSame(ends, new Set(), 'no client ended in any other way')
  await t.rejects(ask(server.port, '/'), { code: 'ECONNREFUSED' })
  t.equal((await server.ended).code, 0)
})

t.test('requests that wait to be accepted when the listener closes are served', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const busy = ask(server.port, '/api/v1/work?ms=1000')
  await sleep(200)
  const waiting = Array.from({ length: 20 }, () => ask(server.port, '/'))
  await sleep(200)
  server.process.kill('SIGTERM')
  for (const { status } of await Promise.all([busy, ...waiting])) t.equal(status, 200)
  t.equal((await server.ended).code, 0)
})

t.test('a probe does not wait until all work is done', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const agent = new Agent({ keepAlive: true, maxSockets: 20 })
  t.teardown(() => agent.destroy())
  const clients = Array.from({ length: 20 })
  // Connections first: what is under test is work that arrives all at once.
  await Promise.all(clients.map(() => ask(server.port, '/api/v1/delay/300', agent)))
  let done = 0
  const work = clients.map(() => ask(server.port, '/api/v1/work?ms=50', agent).then(() => done++))
  await ask(server.port, '/healthz')
  t.ok(done < clients.length, `${done} of ${clients.length} pieces of work were done first`)
  await Promise.all(work)
})

t.test('a connection that was opened and never used does not hold up the exit', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const idle = connect(server.port, '127.0.0.1')
  idle.on('error', () => {})
  await once(idle, 'connect')
  await ask(server.port, '/')
  server.process.kill('SIGTERM')
  t.equal((await server.ended).code, 0)
})

for (const [what, bytes] of [
  ['one byte', 'G'],
  ['the beginning of its headers', 'GET / HTTP/1.1\r\nhost: x\r\nx-slow: '],
  ['a part of its body', 'POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{'],
] as const) {
  t.test(`a request of which only ${what} arrives does not hold up the exit`, async (t) => {
    const server = await start(t, { DRAIN_DELAY_MS: '0' })
    const unfinished = [server.port, server.metricsPort].map((port) => connect(port, '127.0.0.1'))
    for (const socket of unfinished) {
      socket.on('error', () => {})
      await once(socket, 'connect')
      socket.write(bytes)
    }
    await ask(server.port, '/')
    await ask(server.metricsPort, '/metrics')
    server.process.kill('SIGTERM')
    t.equal((await server.ended).code, 0)
    t.match(server.output(), /"msg":"closed"/)
  })
}

t.test('a signal that comes while it starts ends the start in order', async (t) => {
  const signalled =
    'data:text/javascript,const { on } = process; process.on = function (name, listener) {' +
    "on.call(this, name, listener); if (name === 'SIGINT') process.kill(process.pid, 'SIGTERM'); return this }"
  const server = run(t, {
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${signalled}"`,
  })
  t.strictSame(await server.ended, { code: 0, stderr: '' })
  t.match(server.output(), /"signal":"SIGTERM","msg":"stopped while starting".*"msg":"closed"/s)
  t.notMatch(server.output(), /"msg":"started"/)
})

t.test('a signal that comes while it begins to listen is not lost either', async (t) => {
  const signalled =
    'data:text/javascript,const { on } = process; process.on = function (name, listener) {' +
    "on.call(this, name, listener); if (name === 'uncaughtException') process.kill(process.pid, 'SIGTERM'); return this }"
  const server = run(t, {
    DRAIN_DELAY_MS: '0',
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${signalled}"`,
  })
  t.strictSame(await server.ended, { code: 0, stderr: '' })
  t.match(server.output(), /"msg":"draining.*"msg":"closed"/s)
})

t.test('a dead trace collector does not make the exit a failure', async (t) => {
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as AddressInfo
  closed.close()
  const server = await start(t, {
    DRAIN_DELAY_MS: '0',
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
  })
  await ask(server.port, '/')
  server.process.kill('SIGTERM')
  t.equal((await server.ended).code, 0)
})

t.test('a reader of the log that stalls loses lines, and they are counted', async (t) => {
  const server = await start(t, { LOG_REQUESTS_PER_SECOND: '1000000' })
  server.process.stdout?.pause()
  const dropped = async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text()
    return Number(/^log_lines_dropped_total (\d+)$/m.exec(metrics)?.[1])
  }
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  t.teardown(() => agent.destroy())
  const path = `/${'x'.repeat(12_000)}`
  while ((await dropped()) === 0) {
    await Promise.all(Array.from({ length: 100 }, () => ask(server.port, path, agent)))
  }
  t.equal((await ask(server.port, '/healthz')).status, 200)
})

t.test('a second signal ends it at once and says so', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '60000' })
  server.process.kill('SIGTERM')
  while (!server.output().includes('draining')) await sleep(10)
  server.process.kill('SIGINT')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /second signal: exit at once/)
})

t.test('a request that does not end is given up after the shutdown timeout', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0', SHUTDOWN_TIMEOUT_MS: '300' })
  const lost = ask(server.port, '/api/v1/delay/10000').catch((error: Error) => error.message)
  await sleep(200)
  server.process.kill('SIGTERM')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /requests were still in flight/)
  t.match(await lost, /socket hang up|ECONNRESET/)
})

t.test('an error that nobody catches is logged before the process ends', async (t) => {
  const throwing =
    "data:text/javascript,process.once('SIGUSR2', () => { throw new Error('out of the blue') })"
  const server = await start(t, {
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${throwing}"`,
  })
  server.process.kill('SIGUSR2')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /"level":"fatal".*out of the blue/)
})

t.test('a defect at the start shows its trace', async (t) => {
  const broken =
    "data:text/javascript,import v8 from 'node:v8';import { syncBuiltinESMExports } from 'node:module';" +
    "v8.getHeapStatistics = () => { throw new Error('no heap') };syncBuiltinESMExports()"
  const { code, stderr } = await run(t, {
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${broken}"`,
  }).ended
  t.equal(code, 1)
  t.match(stderr, /Error: no heap\n\s+at /)
})

t.test('a bad setting is one line and exit 1', async (t) => {
  const { code, stderr } = await run(t, { PORT: 'http' }).ended
  t.equal(code, 1)
  t.equal(stderr, 'fastify-api: PORT="http" must be an integer from 0 to 65535\n')
})

t.test('a port in use is one line and exit 1', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  t.teardown(() => holder.close())
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  const { code, stderr } = await run(t, { PORT: String(port) }).ended
  t.equal(code, 1)
  t.match(stderr, new RegExp(`^fastify-api: cannot listen on HOST=127.0.0.1 PORT=${port}: .*\n$`))
})

t.test('what is not HTTP is refused and the connection dropped', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const socket = connect(server.port, '127.0.0.1')
  socket.write('nonsense\r\n\r\n')
  const answer = await text(socket)
  t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/)
  t.match(answer, /application\/problem\+json/)

  const headers = { 'x-large': 'x'.repeat(20_000) }
  const status = await new Promise((resolve, reject) => {
    request({ port: server.port, host: '127.0.0.1', headers }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .on('error', reject)
      .end()
  })
  t.equal(status, 431)
  server.process.kill('SIGTERM')
  t.equal((await server.ended).code, 0)
})
