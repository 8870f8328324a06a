import { Writable } from 'node:stream'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp } from './app.ts'
import { type Config, loadConfig } from './config.ts'

interface LogLine {
  level: string
  msg: string
  reqId?: string
  url?: string
  statusCode?: number
  err?: { message: string }
}

/** The service without a port, and what it logs. */
async function build(t: Test, settings: Partial<Record<keyof Config, string>> = {}) {
  const lines: LogLine[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  const app = await buildApp(loadConfig(settings), sink)
  t.teardown(() => app.close())
  return { app, lines }
}

/** The body of an error answer, which always has the same media type. */
function problem(t: Test, response: Awaited<ReturnType<FastifyInstance['inject']>>) {
  t.match(response.headers['content-type'], /^application\/problem\+json\b/)
  return response.json()
}

t.test('GET / says who answers', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/')
  t.equal(response.statusCode, 200)
  t.match(response.json(), { name: 'fastify-api', version: /^\d+\.\d+\.\d+$/, hostname: /./ })
})

t.test('probes tell alive from ready', async (t) => {
  const { app, lines } = await build(t)
  t.strictSame((await app.inject('/healthz')).json(), { status: 'alive' })
  t.equal((await app.inject('/readyz')).statusCode, 503, 'not ready while it does not listen')

  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame((await app.inject('/readyz')).json(), { status: 'ready' })

  app.startDraining()
  t.strictSame((await app.inject('/readyz')).json(), { status: 'not ready' })
  t.equal((await app.inject('/healthz')).statusCode, 200, 'alive until the end')
  t.strictSame(
    lines.filter(({ level, url }) => level === 'info' && url !== undefined),
    [],
    'no line for a probe that is well',
  )
})

t.test('while draining every answer asks the client to connect elsewhere', async (t) => {
  const { app } = await build(t)
  t.not((await app.inject('/')).headers.connection, 'close')
  app.startDraining()
  const response = await app.inject('/')
  t.equal(response.statusCode, 200, 'and is served all the same')
  t.equal(response.headers.connection, 'close')
})

t.test('work burns the CPU time it is asked for', async (t) => {
  const { app } = await build(t)
  const { cpuMs, wallMs } = (await app.inject('/api/v1/work?ms=20')).json()
  t.ok(cpuMs >= 20, `${cpuMs} ms of CPU`)
  t.ok(wallMs > 0)
  t.ok((await app.inject('/api/v1/work')).json().cpuMs >= 10, '10 ms by default')
})

t.test('delay waits as long as it is asked to', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/api/v1/delay/15')
  // Timers run on whole milliseconds and may fire within the last one.
  t.ok(response.json().waitedMs >= 14, response.body)
})

for (const url of [
  '/api/v1/work?ms=1001',
  '/api/v1/work?ms=-1',
  '/api/v1/work?ms=ten',
  '/api/v1/work?milliseconds=1',
  '/api/v1/delay/10001',
  '/api/v1/delay/soon',
]) {
  t.test(`${url} is refused as a problem`, async (t) => {
    const { app } = await build(t)
    const response = await app.inject(url)
    t.equal(response.statusCode, 400)
    t.match(problem(t, response), { title: 'Bad Request', status: 400, detail: /\w/, requestId: /\w/ })
  })
}

t.test('the load endpoints can be switched off', async (t) => {
  const { app } = await build(t, { LOAD_ENDPOINTS_ENABLED: 'false' })
  t.equal((await app.inject('/api/v1/work')).statusCode, 404)
  t.equal((await app.inject('/')).statusCode, 200)
})

t.test('what is not there is a problem that names it', async (t) => {
  const { app } = await build(t)
  const response = await app.inject({ method: 'DELETE', url: '/nowhere' })
  t.equal(response.statusCode, 404)
  t.match(problem(t, response), { title: 'Not Found', detail: 'There is no DELETE /nowhere' })
})

t.test('a path that cannot be decoded is a problem too', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/%ff')
  t.equal(response.statusCode, 400)
  t.match(problem(t, response), { status: 400 })
})

t.test('an unexpected error is told to the log, not to the client', async (t) => {
  const { app, lines } = await build(t)
  app.get('/broken', async () => {
    throw new Error('the password is hunter2')
  })
  app.get('/odd', async () => {
    throw Object.assign(new Error('odd'), { statusCode: 200 })
  })
  app.get('/unheard-of', async () => {
    throw Object.assign(new Error('?'), { statusCode: 599 })
  })
  const response = await app.inject('/broken')
  t.equal(response.statusCode, 500)
  t.strictSame(Object.keys(problem(t, response)).sort(), ['requestId', 'status', 'title', 'type'])
  t.match(lines.at(-1), {
    level: 'error',
    msg: 'request failed',
    err: { message: 'the password is hunter2' },
  })
  t.equal((await app.inject('/odd')).statusCode, 500, 'an error is never a success')
  t.match(problem(t, await app.inject('/unheard-of')), { title: 'Error', status: 599 })
})

t.test('a request is one line in the log, under the id the client is told', async (t) => {
  const { app, lines } = await build(t)
  const given = await app.inject({ url: '/', headers: { 'x-request-id': 'abc-1' } })
  t.equal(given.headers['x-request-id'], 'abc-1')
  t.equal(lines.length, 1)
  t.match(lines[0], { level: 'info', msg: 'request completed', reqId: 'abc-1', url: '/', statusCode: 200 })

  const insane = await app.inject({ url: '/', headers: { 'x-request-id': 'a b' } })
  t.match(insane.headers['x-request-id'], /^[0-9a-f-]{36}$/, 'what could break a log line is not taken over')
})

t.test('metrics count requests by route template, and no probes', async (t) => {
  const { app } = await build(t)
  await app.inject('/api/v1/delay/1')
  await app.inject('/api/v1/delay/2')
  await app.inject('/healthz')
  await app.inject('/nowhere/1')
  const response = await app.inject('/metrics')
  t.match(response.headers['content-type'], /^text\/plain/)
  t.match(
    response.body,
    /^http_request_duration_seconds_count\{[^}]*route="\/api\/v1\/delay\/:ms"[^}]*\} 2$/m,
  )
  t.match(response.body, /^nodejs_eventloop_lag_seconds /m)
  t.match(response.body, /^process_cpu_seconds_total /m)
  t.notMatch(response.body, /healthz|nowhere|http_request_summary/)
})

t.test('under pressure work is refused with Retry-After, probes and metrics still answer', async (t) => {
  const { app, lines } = await build(t, { PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '1' })
  // Each of these keeps the event loop far longer from turning than is allowed.
  let refused = await app.inject('/api/v1/work?ms=300')
  for (let tries = 0; refused.statusCode === 200 && tries < 30; tries++) {
    await setImmediate()
    refused = await app.inject('/api/v1/work?ms=300')
  }
  t.equal(refused.statusCode, 503)
  t.match(refused.headers['retry-after'], /^\d+$/)
  t.match(problem(t, refused), { title: 'Service Unavailable' })
  t.match(lines.at(-1), { level: 'warn', msg: 'request refused' })
  t.equal((await app.inject('/healthz')).statusCode, 200)
  t.equal((await app.inject('/metrics')).statusCode, 200)
})

t.test('a long delay that is allowed is not mistaken for pressure', async (t) => {
  const { app } = await build(t, { PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '60000' })
  // Each takes longer than the plugin's own sampling interval, which would find a sample without a value.
  for (const _ of [1, 2, 3]) {
    t.equal((await app.inject('/api/v1/work?ms=1000')).statusCode, 200)
    await setTimeout(1)
  }
})
