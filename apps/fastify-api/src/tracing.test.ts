import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { buildManagement } from './management.ts'
import { build } from './testing/app.ts'

interface Attribute {
  key: string
  value: { stringValue?: string }
}

interface Span {
  traceId: string
  parentSpanId?: string
  name: string
  attributes: Attribute[]
}

interface Export {
  resourceSpans: { resource: { attributes: Attribute[] }; scopeSpans: { spans: Span[] }[] }[]
}

const attribute = (attributes: Attribute[], name: string) =>
  attributes.find(({ key }) => key === name)?.value.stringValue

async function collector(t: Test) {
  const exported: Export[] = []
  const paths = new Set<string | undefined>()
  const server = createServer(async (request, response) => {
    paths.add(request.url)
    exported.push((await json(request)) as Export)
    response.setHeader('content-type', 'application/json').end('{}')
  })
  const resources = () => exported.flatMap(({ resourceSpans }) => resourceSpans)
  return {
    endpoint: await address(t, server),
    paths,
    resource: () => resources()[0]?.resource.attributes ?? [],
    spans: () => resources().flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
  }
}

async function address(t: Test, server: Server) {
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const PARENT = 'b7ad6b7169203331'
const TRACE = '0af7651916cd43dd8448eb211c80319c'

t.test('requests are exported as spans, probes are not', async (t) => {
  process.env['OTEL_RESOURCE_ATTRIBUTES'] = 'deployment.environment.name=test'
  process.env['OTEL_BSP_SCHEDULE_DELAY'] = '10'
  t.teardown(() => {
    delete process.env['OTEL_RESOURCE_ATTRIBUTES']
    delete process.env['OTEL_BSP_SCHEDULE_DELAY']
  })
  const { endpoint, paths, resource, spans } = await collector(t)
  const { app, lines } = await build(t, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
  app.get('/talkative', async ({ log }) => {
    log.info('said by the route')
    return {}
  })
  const headers = { traceparent: `00-${TRACE}-${PARENT}-01` }
  t.equal((await app.inject({ url: '/?token=secret', headers })).statusCode, 200)
  t.equal((await app.inject('/talkative')).statusCode, 200)
  t.equal((await app.inject('/nowhere?token=secret')).statusCode, 404)
  for (const probe of ['/healthz', '/healthz?verbose', '/readyz?a=b']) await app.inject(probe)
  // Do not rely on the shutdown, which waits for the collector only for a limited time.
  while (spans().length < 5) await sleep(10)
  await app.close()

  t.strictSame([...paths], ['/v1/traces'])
  t.equal(attribute(resource(), 'deployment.environment.name'), 'test')
  t.equal(attribute(resource(), 'service.name'), 'fastify-api')

  const requests = spans().filter(({ attributes }) => attribute(attributes, 'url.path') !== undefined)
  t.strictSame(
    requests.map(({ name, attributes }) => [name, attribute(attributes, 'url.path')]),
    [
      ['GET /', '/'],
      ['GET /talkative', '/talkative'],
      ['GET', '/nowhere'],
    ],
  )
  t.notMatch(JSON.stringify(spans()), /secret|healthz|readyz/)
  const [called, talkative] = requests
  t.match(called, { traceId: TRACE, parentSpanId: PARENT }, 'a child of the client’s span')
  const logged = (url: string) => lines.filter(({ path }) => path === url).map(({ traceId }) => traceId)
  t.strictSame(logged('/'), [TRACE])
  t.strictSame(logged('/talkative'), [talkative?.traceId], 'also without a traceparent')
  t.equal(lines.find(({ msg }) => msg === 'said by the route')?.traceId, talkative?.traceId)
  t.equal(lines.find(({ path }) => path === '/talkative')?.route, '/talkative', 'as in the metrics')
})

t.test('a bucket of the durations names the trace of a request, if it is sampled', async (t) => {
  const { endpoint } = await collector(t)
  const { app } = await build(t, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
  app.get('/untraced', { config: { otel: false } }, async () => ({}))
  const management = buildManagement(app)
  const parent = (flags: string) => ({ headers: { traceparent: `00-${TRACE}-${PARENT}-${flags}` } })
  const durations = async () => {
    const { body, headers } = await management.inject('/metrics')
    t.match(headers['content-type'], /^application\/openmetrics-text/)
    t.match(body, /\n# EOF\n$/)
    return body.split('\n').filter((line) => line.startsWith('http_request_duration_seconds_bucket'))
  }
  await app.inject({ url: '/', ...parent('00') })
  await app.inject({ url: '/untraced', ...parent('01') })
  t.notMatch((await durations()).join('\n'), /trace_id/)
  await app.inject({ url: '/', ...parent('01') })
  const exemplars = (await durations()).filter((line) => line.includes('trace_id'))
  t.equal(exemplars.length, 1)
  t.match(exemplars[0], new RegExp(`route="/".* # \\{trace_id="${TRACE}"\\} [0-9.e-]+ [0-9.]+$`))
  await app.close()
})

t.test('an unreachable collector does not delay the shutdown, and the log names it', async (t) => {
  const gone = createTcpServer()
  const endpoint = await address(t, gone)
  gone.close()
  await once(gone, 'close')
  const { app, lines } = await build(t, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
  await app.inject('/')
  await t.resolves(app.close())
  t.match(lines.at(-1), { level: 'warn', msg: /trace/ })
})

t.test('a collector that never answers does not delay the shutdown', async (t) => {
  const sockets = new Set<{ destroy(): void }>()
  const endpoint = await address(
    t,
    createTcpServer((socket) => sockets.add(socket)),
  )
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const { app, lines } = await build(t, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
  await app.inject('/')
  await t.resolves(app.close())
  t.match(lines.at(-1), { level: 'warn', msg: 'the last traces were not sent', reason: 'no answer' })
})
