import { FastifyOtelInstrumentation } from '@fastify/otel'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import packageJson from '../package.json' with { type: 'json' }

/**
 * OpenTelemetry traces over OTLP/HTTP: one span a request, part of the caller's trace where it sent a traceparent,
 * and one a handler. The standard variables (OTEL_TRACES_SAMPLER and so on) hold.
 *
 * @param endpoint - base URL of the collector
 */
export function startTracing(endpoint: string) {
  const exporter = new OTLPTraceExporter({
    url: new URL('v1/traces', `${endpoint.replace(/\/+$/, '')}/`).href,
  })
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': process.env['OTEL_SERVICE_NAME'] ?? packageJson.name,
      'service.version': packageJson.version,
    }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  })
  provider.register()
  const instrumentation = new FastifyOtelInstrumentation({
    // Probes come every few seconds and are nobody's experience.
    ignorePaths: ({ url }) => ['/healthz', '/readyz'].includes(url),
    instrumentHooks: false,
  })
  instrumentation.setTracerProvider(provider)
  return {
    plugin: instrumentation.plugin(),
    /** Sends what is left. */
    stop: () => provider.shutdown(),
  }
}
