/** The server as a pod runs it: a separate process, real sockets and signals. */
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
  'SIGTERM: the service becomes unready, keeps serving, finishes requests in flight and exits with 0',
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

t.test('clients that send requests until the listener closes lose none', async (t) => {
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
  // Clients that connect after the listener has closed are refused. The kernel resets those that connect at that very
  // moment.
  for (const code of ['ECONNREFUSED', 'ECONNRESET']) ends.delete(`${code} on a new connection`)
  t.strictSame(ends, new Set(), 'no client failed in another way')
  await t.rejects(ask(server.port, '/'), { code: 'ECONNREFUSED' })
  t.equal((await server.ended).code, 0)
})

t.test('connections in the accept queue are still served when the listener closes', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const busy = ask(server.port, '/api/v1/work?ms=1000')
  await sleep(200)
  const waiting = Array.from({ length: 20 }, () => ask(server.port, '/'))
  await sleep(200)
  server.process.kill('SIGTERM')
  for (const { status } of await Promise.all([busy, ...waiting])) t.equal(status, 200)
  t.equal((await server.ended).code, 0)
})

t.test('probes do not wait for work in progress', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0' })
  const agent = new Agent({ keepAlive: true, maxSockets: 20 })
  t.teardown(() => agent.destroy())
  const clients = Array.from({ length: 20 })
  // Connect first, so that all the work arrives at once.
  await Promise.all(clients.map(() => ask(server.port, '/api/v1/delay/300', agent)))
  let done = 0
  const work = clients.map(() => ask(server.port, '/api/v1/work?ms=50', agent).then(() => done++))
  await ask(server.port, '/healthz')
  t.ok(done < clients.length, `${done} of ${clients.length} requests were done first`)
  await Promise.all(work)
})

t.test('a connection that was never used does not delay the exit', async (t) => {
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
  ['a part of its headers', 'GET / HTTP/1.1\r\nhost: x\r\nx-slow: '],
  ['a part of its body', 'POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{'],
] as const) {
  t.test(`a request of which only ${what} arrives does not delay the exit`, async (t) => {
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

t.test('a signal during the start stops the start in order', async (t) => {
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

t.test('a signal just before the service listens is not lost', async (t) => {
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

t.test('an unreachable trace collector does not change the exit code', async (t) => {
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

t.test("when the log's reader stalls, lines are dropped and counted", async (t) => {
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

t.test('a second signal ends the process at once, with a log line', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '60000' })
  server.process.kill('SIGTERM')
  while (!server.output().includes('draining')) await sleep(10)
  server.process.kill('SIGINT')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /second signal: exit at once/)
})

t.test('a request that does not end is abandoned after the shutdown timeout', async (t) => {
  const server = await start(t, { DRAIN_DELAY_MS: '0', SHUTDOWN_TIMEOUT_MS: '300' })
  const lost = ask(server.port, '/api/v1/delay/10000').catch((error: Error) => error.message)
  await sleep(200)
  server.process.kill('SIGTERM')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /requests were still in flight/)
  t.match(await lost, /socket hang up|ECONNRESET/)
})

t.test('an uncaught error is logged before the process ends', async (t) => {
  const throwing =
    "data:text/javascript,process.once('SIGUSR2', () => { throw new Error('out of the blue') })"
  const server = await start(t, {
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${throwing}"`,
  })
  server.process.kill('SIGUSR2')
  t.equal((await server.ended).code, 1)
  t.match(server.output(), /"level":"fatal".*out of the blue/)
})

t.test('an unexpected error during the start is logged with its stack', async (t) => {
  const broken =
    "data:text/javascript,import v8 from 'node:v8';import { syncBuiltinESMExports } from 'node:module';" +
    "v8.getHeapStatistics = () => { throw new Error('no heap') };syncBuiltinESMExports()"
  const { code, stderr } = await run(t, {
    NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import="${broken}"`,
  }).ended
  t.equal(code, 1)
  t.match(stderr, /Error: no heap\n\s+at /)
})

t.test('an invalid setting is reported in one line, with exit code 1', async (t) => {
  const { code, stderr } = await run(t, { PORT: 'http' }).ended
  t.equal(code, 1)
  t.equal(stderr, 'fastify-api: PORT="http" must be an integer from 0 to 65535\n')
})

t.test('a port in use is reported in one line, with exit code 1', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  t.teardown(() => holder.close())
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  const { code, stderr } = await run(t, { PORT: String(port) }).ended
  t.equal(code, 1)
  t.match(stderr, new RegExp(`^fastify-api: cannot listen on HOST=127.0.0.1 PORT=${port}: .*\n$`))
})

t.test('bytes that are not HTTP are refused, and the connection is closed', async (t) => {
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
