import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { build, metric, problem } from './testing/app.ts'

t.test('GET / identifies the service', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/')
  t.equal(response.statusCode, 200)
  t.match(response.json(), {
    name: 'fastify-api',
    version: /^\d+\.\d+\.\d+$/,
    commit: 'unknown',
    hostname: /./,
  })
})

t.test('liveness and readiness probes differ', async (t) => {
  const { app, lines } = await build(t)
  t.strictSame((await app.inject('/healthz')).json(), { status: 'alive' })
  t.equal((await app.inject('/readyz')).statusCode, 503, 'not ready while it does not listen')

  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame((await app.inject('/readyz')).json(), { status: 'ready' })

  app.startDraining()
  const draining = await app.inject('/readyz')
  t.equal(draining.statusCode, 503)
  t.match(problem(t, draining), { detail: 'Not ready: draining' })
  t.equal((await app.inject('/healthz')).statusCode, 200, 'alive until it exits')
  t.strictSame(
    lines.filter(({ level, path }) => level === 'info' && path !== undefined),
    [],
    'no line for a successful probe',
  )
})

t.test('while draining, every response closes its connection', async (t) => {
  const { app } = await build(t)
  t.not((await app.inject('/')).headers.connection, 'close')
  app.startDraining()
  const response = await app.inject('/')
  t.equal(response.statusCode, 200, 'and the request is served')
  t.equal(response.headers.connection, 'close')
})

t.test('an unknown path is answered with a problem that names it', async (t) => {
  const { app } = await build(t)
  const response = await app.inject({ method: 'DELETE', url: '/nowhere' })
  t.equal(response.statusCode, 404)
  t.match(problem(t, response), { title: 'Not Found', detail: 'There is no DELETE /nowhere' })
})

t.test('an unsupported method is answered with 405 and the supported methods', async (t) => {
  const { app } = await build(t)
  const response = await app.inject({ method: 'PUT', url: '/api/v1/tasks', payload: 'whatever' })
  t.equal(response.statusCode, 405)
  t.equal(response.headers.allow, 'GET, HEAD, POST')
  t.match(problem(t, response), { title: 'Method Not Allowed' })
})

const refusals: [what: string, status: number, request: object][] = [
  ['a body that is not JSON', 400, { payload: '{', headers: { 'content-type': 'application/json' } }],
  ['a body that is too large', 413, { payload: { title: 'x'.repeat(70_000) } }],
  ['a body of another type', 415, { payload: '<a/>', headers: { 'content-type': 'text/xml' } }],
  ['a body with an invalid field', 422, { payload: { title: '' } }],
  ['a body with an unknown field', 422, { payload: { title: 'a', colour: 'red' } }],
]
for (const [what, status, request] of refusals) {
  t.test(`${what} is refused with ${status} as a problem`, async (t) => {
    const { app } = await build(t)
    const response = await app.inject({ method: 'POST', url: '/api/v1/tasks', ...request })
    t.equal(response.statusCode, status)
    t.match(problem(t, response), { status, detail: /\w/, requestId: /\w/ })
  })
}

t.test('each kind of problem has its own type', async (t) => {
  const { app } = await build(t)
  const post = { method: 'POST', url: '/api/v1/tasks' } as const
  const absent = '/api/v1/tasks/00000000-0000-4000-8000-000000000000'
  await app.inject({ ...post, payload: { title: 'a' }, headers: { 'idempotency-key': 'k' } })
  for (const [name, request] of [
    ['not-found', { url: '/nowhere' }],
    ['task-not-found', { url: absent }],
    ['invalid-parameters', { url: '/api/v1/tasks?limit=0' }],
    ['invalid-cursor', { url: '/api/v1/tasks?cursor=x' }],
    ['malformed-request', { ...post, payload: '{', headers: { 'content-type': 'application/json' } }],
    ['invalid-body', { ...post, payload: {} }],
    ['idempotency-key-reused', { ...post, payload: { title: 'b' }, headers: { 'idempotency-key': 'k' } }],
    ['if-match-missing', { method: 'DELETE', url: absent }],
  ] as const) {
    const { type } = problem(t, await app.inject(request))
    t.equal(type, `urn:problem-type:fastify-api:${name}`)
  }
  const limited = await build(t, { RATE_LIMIT_PER_MINUTE: '1' })
  await limited.app.inject('/')
  const { type } = problem(t, await limited.app.inject('/'))
  t.equal(type, 'urn:problem-type:fastify-api:rate-limited')
})

t.test('a problem points to each invalid field', async (t) => {
  const { app } = await build(t)
  const send = async (payload: object) =>
    (await app.inject({ method: 'POST', url: '/api/v1/tasks', payload })).json().errors
  t.match(await send({ title: 7, notes: [] }), [{ in: 'body', pointer: '/title', detail: 'must be string' }])
  t.match(await send({ title: 'a', notes: null }), [{ pointer: '/notes' }], 'null is not a text')
  t.match(await send({ title: 'a', colour: 'red' }), [{ in: 'body', pointer: '', detail: 'has no "colour"' }])
})

t.test('requests that the router refuses are answered, logged and counted like others', async (t) => {
  const { app, lines } = await build(t)
  const response = await app.inject('/%ff?token=secret')
  t.equal(response.statusCode, 400)
  t.match(problem(t, response), { status: 400, detail: /%ff/ })
  t.match(response.headers, { 'x-request-id': /\w/, 'x-content-type-options': 'nosniff' })
  t.match(lines.at(-1), { msg: 'request completed', path: '/%ff', statusCode: 400 })
  const series = 'http_request_duration_seconds_count{method="GET",route="unmatched",status_code="400"}'
  t.equal(await metric(app, series), 1)
})

t.test('an unexpected error is logged, but not sent to the client', async (t) => {
  const { app, lines } = await build(t)
  app.get('/broken', async () => {
    throw Object.assign(new Error('the table is gone'), { password: 'hunter2' })
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
    err: { message: 'the table is gone', password: '[Redacted]' },
  })
  t.equal((await app.inject('/odd')).statusCode, 500, 'an error is never a success')
  t.match(problem(t, await app.inject('/unheard-of')), { title: 'Error', status: 599 })
})

t.test('each request is one line in the log, with the id that the client receives', async (t) => {
  const { app, lines } = await build(t)
  const given = await app.inject({ url: '/?token=secret', headers: { 'x-request-id': 'abc-1' } })
  t.equal(given.headers['x-request-id'], 'abc-1')
  t.equal(lines.length, 1)
  t.match(lines[0], { level: 'info', msg: 'request completed', reqId: 'abc-1', path: '/', statusCode: 200 })

  const insane = await app.inject({ url: '/', headers: { 'x-request-id': 'a b' } })
  t.match(insane.headers['x-request-id'], /^[\w-]{12}-\d+$/, 'an id that could break a log line is not used')
})

t.test("a request that belongs to a trace is logged with the trace's id", async (t) => {
  const { app, lines } = await build(t)
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const traced = await app.inject({ url: '/', headers: { traceparent: `00-${trace}-b7ad6b7169203331-01` } })
  t.equal(traced.headers['x-request-id'], trace, 'it is also the request id if the client sent none')
  t.equal(lines.at(-1)?.traceId, trace)
  const broken = await app.inject({
    url: '/',
    headers: { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` },
  })
  t.match(broken.headers['x-request-id'], /^[\w-]{12}-\d+$/)
  t.equal(lines.at(-1)?.traceId, undefined)
})

t.test("behind an AWS load balancer, a request's id is the one in the load balancer's log", async (t) => {
  const { app } = await build(t)
  const root = '1-67891233-abcdef012345678912345678'
  const ask = (trace: string) => app.inject({ url: '/', headers: { 'x-amzn-trace-id': trace } })
  t.equal((await ask(`Self=1-67891234-12456789abcdef012345678;Root=${root}`)).headers['x-request-id'], root)
  t.match((await ask('Root=mine')).headers['x-request-id'], /^[\w-]{12}-\d+$/)
})

t.test('a route can log, with the id of its request', async (t) => {
  const { app, lines } = await build(t, { LOG_LEVEL: 'debug' })
  app.get('/talkative', async ({ log }) => {
    log.debug('said by the route')
    log.child({ part: 'one' }).info('said by a part of it')
    return { level: log.level }
  })
  const response = await app.inject({ url: '/talkative', headers: { 'x-request-id': 'abc-2' } })
  t.strictSame(response.json(), { level: 'debug' })
  t.match(lines, [
    { level: 'debug', reqId: 'abc-2', msg: 'said by the route' },
    { level: 'info', reqId: 'abc-2', part: 'one' },
    { msg: 'request completed' },
  ])
})

t.test('under load, log lines are dropped and counted', async (t) => {
  const { app, lines } = await build(t, { LOG_REQUESTS_PER_SECOND: '1' })
  let sent = 0
  const counted = () => lines.reduce((sum, { leftOut = 0 }) => sum + leftOut, lines.length)
  while (lines.filter(({ leftOut }) => leftOut !== undefined).length < 2) {
    sent++
    await app.inject('/healthz')
    await app.inject('/')
    await setImmediate()
  }
  t.equal(counted(), sent, 'a probe is not logged, so it does not report the count')
  t.ok(lines.length < sent)
})

t.test('log lines for failures and for refusals have separate limits', async (t) => {
  const { app, lines } = await build(t)
  app.get('/broken', async () => {
    throw new Error('broken')
  })
  for (let sent = 0; sent < 30; sent++) {
    await app.inject('/broken')
    await app.inject('/api/v1/status/503')
    app.log.warn(new Error('the database is down'))
    app.log.warn('by message')
    app.log.error({ table: 'tasks' }, 'with fields')
  }
  for (const msg of [
    'request failed',
    'request refused',
    'the database is down',
    'by message',
    'with fields',
  ]) {
    t.equal(lines.filter((line) => line.msg === msg).length, 10, msg)
  }
  app.log.fatal('the end')
  t.match(lines.at(-1), { level: 'fatal', msg: 'the end' }, 'fatal errors are never dropped')

  const written = lines.length
  const write = async (...args: [object | string, string?]) => {
    const before = lines.length
    while (lines.length === before) {
      app.log.warn(...args)
      await setTimeout(10)
    }
    return lines.at(-1)
  }
  t.match(await write(new Error('the database is down')), {
    msg: 'the database is down',
    err: { message: 'the database is down' },
    leftOut: /^\d+$/,
  })
  t.match(await write('by message'), { msg: 'by message', leftOut: /^\d+$/ })
  t.match(await write({ table: 'tasks' }, 'with fields'), { table: 'tasks', leftOut: /^\d+$/ })
  t.match(await write({ no: 'message' }), { no: 'message' })
  t.ok(lines.length > written)
})

t.test('after many distinct messages, all others share one limit', async (t) => {
  const { app, lines } = await build(t)
  for (let message = 0; message < 300; message++) app.log.warn(`number ${message}`)
  t.equal(lines.length, 99 + 10)
})

t.test("a request's logger has the whole interface of a logger", async (t) => {
  const { app, lines } = await build(t)
  app.get('/logs', async ({ log }) => {
    log.silent('nothing')
    log.setBindings({ part: 'one' })
    const debug = log.isLevelEnabled('debug')
    log.debug('not yet')
    log.level = 'debug'
    log.debug('now')
    log.child({ deep: true }).child({}, { level: 'info' }).info('from a child')
    return { debug, now: log.isLevelEnabled('debug') }
  })
  const response = await app.inject({ url: '/logs', headers: { 'x-request-id': 'abc-3' } })
  t.strictSame(response.json(), { debug: false, now: true })
  t.match(lines, [
    { level: 'debug', msg: 'now', reqId: 'abc-3', part: 'one' },
    { level: 'info', msg: 'from a child', reqId: 'abc-3', part: 'one', deep: true },
    { msg: 'request completed', reqId: 'abc-3', part: 'one' },
  ])
  t.equal(app.log.isLevelEnabled('debug'), false, 'its level is independent')
})

t.test('metrics count requests by route template, and leave out probes', async (t) => {
  const { app } = await build(t)
  await app.inject('/api/v1/delay/1')
  await app.inject('/api/v1/delay/2')
  await app.inject('/healthz')
  await app.inject('/nowhere/1')
  const text = await app.metricsRegistry.metrics()
  const count = 'http_request_duration_seconds_count'
  t.match(text, new RegExp(`^${count}\\{[^}]*route="/api/v1/delay/:ms"[^}]*\\} 2$`, 'm'))
  t.match(text, /^nodejs_eventloop_lag_seconds /m)
  t.match(text, /^nodejs_eventloop_utilization_histogram_count /m)
  t.match(text, /^process_cpu_seconds_total /m)
  t.notMatch(text, /healthz|nowhere|http_request_summary/)
})

t.test('metrics distinguish methods, and count all unmatched routes under one label', async (t) => {
  const { app } = await build(t)
  const methods = ['DELETE', 'GET', 'GET', 'POST', 'HEAD', 'OPTIONS'] as const
  for (const method of methods) await app.inject({ method, url: `/nowhere/${method}` })
  const count = (method: string) =>
    metric(app, `http_request_duration_seconds_count{method="${method}",route="unmatched",status_code="404"}`)
  t.strictSame(await Promise.all(['DELETE', 'GET', 'POST', 'HEAD', 'OPTIONS'].map(count)), [1, 2, 1, 1, 1])
})

t.test("metrics include the build's version and commit", async (t) => {
  const { app } = await build(t, { BUILD_COMMIT: '0123abc' })
  t.match(await app.metricsRegistry.metrics(), /^build_info\{version="\d+\.\d+\.\d+",commit="0123abc"\} 1$/m)
})

t.test('every response has the security headers', async (t) => {
  const { app } = await build(t)
  for (const url of ['/', '/nowhere']) {
    t.match((await app.inject(url)).headers, {
      'x-content-type-options': 'nosniff',
      'content-security-policy': /default-src 'none'/,
      'cache-control': 'no-store',
    })
  }
})

t.test(
  "a client that exceeds the rate limit is refused; a trusted proxy reports the client's address",
  async (t) => {
    const { app } = await build(t, { RATE_LIMIT_PER_MINUTE: '2', TRUSTED_PROXY_HOPS: '1' })
    const ask = (client: string, url = '/') => app.inject({ url, headers: { 'x-forwarded-for': client } })
    for (const _ of [1, 2]) t.equal((await ask('192.0.2.1')).statusCode, 200)
    const refused = await ask('192.0.2.1')
    t.equal(refused.statusCode, 429)
    t.match(problem(t, refused), { title: 'Too Many Requests' })
    t.match(refused.headers['retry-after'], /^\d+$/)
    t.equal((await ask('192.0.2.1', '/healthz')).statusCode, 200, 'probes are not counted')
    t.equal((await ask('192.0.2.2')).statusCode, 200, 'other clients have their own limit')
  },
)

for (const [what, method, url, status] of [
  ['an unknown path', 'GET', '/nowhere', 404],
  ['an unsupported method', 'PUT', '/', 405],
  ['the contract', 'GET', '/openapi.json', 200],
  ['a path that the router refuses', 'GET', '/%ff', 400],
  ['an invalid body', 'POST', '/api/v1/tasks', 422],
] as const) {
  const request = { method, url, ...(method === 'POST' && { payload: {} }) }

  t.test(`the rate limit applies to ${what}`, async (t) => {
    const { app } = await build(t, { RATE_LIMIT_PER_MINUTE: '1' })
    t.equal((await app.inject(request)).statusCode, status)
    const refused = await app.inject(request)
    t.equal(refused.statusCode, 429)
    t.match(refused.headers, { 'retry-after': /^\d+$/, 'x-content-type-options': 'nosniff' })
  })

  t.test(`under pressure, ${what} is answered with 503`, async (t) => {
    const { app } = await build(t, { PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '1' })
    await underPressure(app)
    const refused = await app.inject(request)
    t.equal(refused.statusCode, 503)
    t.match(problem(t, refused), { title: 'Service Unavailable' })
    t.match(refused.headers, { 'retry-after': /^\d+$/, 'x-content-type-options': 'nosniff' })
  })
}

/** Blocks the event loop for far longer than the limit, until the service notices. */
async function underPressure(app: FastifyInstance): Promise<void> {
  while (!app.isUnderPressure()) {
    const until = performance.now() + 300
    while (performance.now() < until);
    await setImmediate()
  }
}

t.test("behind an untrusted proxy, the proxy's address counts as the client's", async (t) => {
  const { app } = await build(t, { RATE_LIMIT_PER_MINUTE: '1' })
  const ask = (client: string) => app.inject({ url: '/', headers: { 'x-forwarded-for': client } })
  t.equal((await ask('192.0.2.1')).statusCode, 200)
  t.equal((await ask('192.0.2.2')).statusCode, 429)
})

t.test('under pressure, requests are refused with Retry-After, but probes are answered', async (t) => {
  const { app, lines } = await build(t, { PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '1' })
  await underPressure(app)
  const refused = await app.inject('/api/v1/work')
  t.equal(refused.statusCode, 503)
  t.match(refused.headers['retry-after'], /^\d+$/)
  t.match(problem(t, refused), { title: 'Service Unavailable' })
  t.match(lines.at(-1), { level: 'warn', msg: 'request refused' })
  t.equal((await app.inject('/healthz')).statusCode, 200)
  const refusals = 'http_request_duration_seconds_count{method="GET",route="/api/v1/work",status_code="503"}'
  t.equal(await metric(app, refusals), 1, 'the refusal is counted')
})

t.test('a delayed event loop is pressure if a limit is set', async (t) => {
  const { app } = await build(t, {
    PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: '50',
    PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '0',
  })
  let { statusCode } = await app.inject('/api/v1/work?ms=300')
  for (let tries = 0; statusCode === 200 && tries < 30; tries++) {
    statusCode = (await app.inject('/api/v1/work?ms=300')).statusCode
  }
  t.equal(statusCode, 503)
})

t.test('a delay below the limit is not pressure', async (t) => {
  const { app } = await build(t, { PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '60000' })
  // Each takes longer than the plugin's sampling interval, so some samples have no value.
  for (const _ of [1, 2, 3]) {
    t.equal((await app.inject('/api/v1/work?ms=1000')).statusCode, 200)
    await setTimeout(1)
  }
})
