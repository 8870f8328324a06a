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

/** How long the last spans have to reach the collector when the service stops, in milliseconds. */
const LAST_SPANS_MS = 3_000

/**
 * OpenTelemetry traces over OTLP/HTTP: one span a request, part of the caller's trace where it sent a traceparent,
 * and one a handler. The standard variables (OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and so on) hold.
 *
 * @param endpoint - base URL of the collector
 * @param log - gets what goes wrong with sending
 */
export function startTracing(endpoint: string, log: FastifyBaseLogger) {
  const report = (reason: string) => log.warn({ reason }, 'traces could not be sent')
  // The level lets errors through alone.
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
    /** Sends what is left, if that can be done soon: the service's end does not depend on a collector. */
    stop: async () => {
      const late = sleep(LAST_SPANS_MS, 'no answer', { ref: false })
      const failure = await Promise.race([provider.shutdown().catch(String), late])
      if (failure !== undefined) log.warn({ reason: failure }, 'the last traces were not sent')
    },
  }
}
