import { setTimeout as sleep } from 'node:timers/promises'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { DiagLogLevel, diag } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import type { FastifyBaseLogger } from 'fastify'
import packageJson from '../package.json' with { type: 'json' }
import { traceIdOf } from './http/request-id.ts'
import { pathOf } from './logging/request-log.ts'

/** Milliseconds for the last spans to reach the collector when the service stops. */
const LAST_SPANS_MS = 3_000

/**
 * Sends OpenTelemetry traces over OTLP/HTTP: one span for each request, within the client's trace if it sent a
 * traceparent, and one for each handler. Standard variables such as OTEL_TRACES_SAMPLER and OTEL_RESOURCE_ATTRIBUTES apply.
 *
 * @param endpoint - base URL of the collector
 * @param log - for errors of sending
 */
export function startTracing(endpoint: string, log: FastifyBaseLogger) {
  const report = (reason: string) => log.warn({ reason }, 'traces could not be sent')
  // The log level below passes errors only.
  const logger = { error: report, warn: report, info: report, debug: report, verbose: report }
  diag.setLogger(logger, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true })
  const exporter = new OTLPTraceExporter({
    url: new URL('v1/traces', `${endpoint.replace(/\/+$/, '')}/`).href,
  })
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': packageJson.name,
      'service.version': packageJson.version,
    }).merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  })
  provider.register()
  const instrumentation = new FastifyOtelInstrumentation({
    instrumentHooks: false,
    requestHook: (span, { method, originalUrl, routeOptions, headers, log }) => {
      span.updateName(routeOptions.url === undefined ? method : `${method} ${routeOptions.url}`)
      span.setAttribute('url.path', pathOf({ originalUrl }))
      const { traceId } = span.spanContext()
      if (traceIdOf(headers) !== traceId) log.setBindings({ traceId })
    },
  })
  instrumentation.setTracerProvider(provider)
  return {
    plugin: instrumentation.plugin(),
    /** Sends the remaining spans with a timeout, because an unavailable collector must not block the shutdown. */
    stop: async () => {
      const late = sleep(LAST_SPANS_MS, 'no answer', { ref: false })
      const failure = await Promise.race([provider.shutdown().catch(String), late])
      if (failure !== undefined) log.warn({ reason: failure }, 'the last traces were not sent')
    },
  }
}
