import t from 'tap'
import { build, problem } from '../testing/app.ts'

t.test('work uses the requested CPU time', async (t) => {
  const { app } = await build(t)
  const { cpuMs, wallMs } = (await app.inject('/api/v1/work?ms=20')).json()
  t.ok(cpuMs >= 20, `${cpuMs} ms of CPU`)
  t.ok(wallMs > 0)
  t.ok((await app.inject('/api/v1/work')).json().cpuMs >= 10, '10 ms by default')
})

t.test('delay waits for the requested time', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/api/v1/delay/15')
  // Timers run on whole milliseconds and may fire within the last one.
  t.ok(response.json().waitedMs >= 14, response.body)
})

t.test('jitter makes a delay longer', async (t) => {
  const { app } = await build(t)
  t.intercept(Math, 'random', { value: () => 1 })
  const response = await app.inject('/api/v1/delay/0?jitter=15')
  t.ok(response.json().waitedMs >= 14, response.body)
})

t.test('the maximum delay is a setting, and the maximum work is a tenth of it', async (t) => {
  const { app } = await build(t, { LOAD_MAX_MS: '20' })
  t.equal((await app.inject('/api/v1/delay/20')).statusCode, 200)
  t.equal((await app.inject('/api/v1/delay/21')).statusCode, 400)
  t.equal((await app.inject('/api/v1/work?ms=3')).statusCode, 400)
})

t.test('payload has the requested size', async (t) => {
  const { app } = await build(t)
  const response = await app.inject('/api/v1/payload/100000')
  t.equal(response.headers['content-type'], 'application/octet-stream')
  t.equal(response.headers['content-length'], '100000')
  t.equal(response.rawPayload.length, 100_000)
})

t.test('status answers with the requested status', async (t) => {
  const { app } = await build(t)
  for (const code of [200, 204, 404, 503]) {
    t.equal((await app.inject(`/api/v1/status/${code}`)).statusCode, code)
  }
})

t.test('a response that must not have a body has neither a body nor a length', async (t) => {
  const { app } = await build(t)
  for (const [code, length] of [
    [204, undefined],
    [205, '0'],
    [304, undefined],
  ] as const) {
    const response = await app.inject(`/api/v1/status/${code}`)
    t.equal(response.statusCode, code)
    t.equal(response.body, '')
    t.equal(response.headers['content-length'], length)
  }
})

t.test("echo returns the request's body", async (t) => {
  const { app } = await build(t)
  for (const payload of ['{"a":[1,null,"é"]}', '"text"', '0', 'null']) {
    const headers = { 'content-type': 'application/json' }
    const response = await app.inject({ method: 'POST', url: '/api/v1/echo', headers, payload })
    t.equal(response.statusCode, 200)
    t.equal(response.body, payload)
  }
})

t.test('echo refuses a body that it could not serialise', async (t) => {
  const { app } = await build(t)
  const payload = '['.repeat(30_000) + ']'.repeat(30_000)
  const headers = { 'content-type': 'application/json' }
  t.match(problem(t, await app.inject({ method: 'POST', url: '/api/v1/echo', headers, payload })), {
    status: 422,
    detail: /too deeply/,
  })
})

t.test('echo requires a body', async (t) => {
  const { app } = await build(t)
  t.match(problem(t, await app.inject({ method: 'POST', url: '/api/v1/echo' })), { status: 400 })
})

for (const url of [
  '/api/v1/work?ms=1001',
  '/api/v1/work?ms=-1',
  '/api/v1/work?ms=ten',
  '/api/v1/work?milliseconds=1',
  '/api/v1/delay/10001',
  '/api/v1/delay/soon',
  '/api/v1/payload/1048577',
  '/api/v1/status/99',
  '/api/v1/payload/0x10',
  '/api/v1/work?ms=%2B1.0',
]) {
  t.test(`${url} is refused as a problem`, async (t) => {
    const { app } = await build(t)
    const response = await app.inject(url)
    t.equal(response.statusCode, 400)
    t.match(problem(t, response), {
      type: /:invalid-parameters$/,
      status: 400,
      detail: /\w/,
      requestId: /\w/,
    })
  })
}

t.test('the load routes can be disabled', async (t) => {
  const { app } = await build(t, { LOAD_ENDPOINTS_ENABLED: 'false' })
  t.equal((await app.inject('/api/v1/work')).statusCode, 404)
  t.equal((await app.inject('/')).statusCode, 200)
})
