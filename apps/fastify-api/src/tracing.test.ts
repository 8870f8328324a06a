import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import t from 'tap'
import { build } from './testing/app.ts'

interface Export {
  resourceSpans: { scopeSpans: { spans: { traceId: string; parentSpanId?: string; name: string }[] }[] }[]
}

t.test('requests become spans of the caller’s trace at the collector, probes do not', async (t) => {
  const exported: Export[] = []
  const paths = new Set<string | undefined>()
  const collector = createServer(async (request, response) => {
    paths.add(request.url)
    exported.push((await json(request)) as Export)
    response.setHeader('content-type', 'application/json').end('{}')
  }).listen(0, '127.0.0.1')
  t.teardown(() => collector.close())
  await new Promise((resolve) => collector.once('listening', resolve))
  const { port } = collector.address() as AddressInfo

  const { app } = await build(t, { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}/` })
  const service = await app.listen({ port: 0, host: '127.0.0.1' })
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const headers = { traceparent: `00-${trace}-b7ad6b7169203331-01` }
  t.equal((await fetch(`${service}/api/v1/delay/1`, { headers })).status, 200)
  t.equal((await fetch(`${service}/healthz`)).status, 200)
  await app.close()

  t.strictSame([...paths], ['/v1/traces'])
  const spans = exported
    .flatMap(({ resourceSpans }) => resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans)
  t.ok(spans.length > 0)
  t.strictSame([...new Set(spans.map(({ traceId }) => traceId))], [trace])
  t.ok(
    spans.some(({ parentSpanId }) => parentSpanId === 'b7ad6b7169203331'),
    'the request’s span is a child of the caller’s',
  )
})
