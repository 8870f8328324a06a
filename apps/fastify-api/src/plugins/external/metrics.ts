// It declares `request.opentelemetry`.
import type {} from '@fastify/otel'
import { TraceFlags, trace } from '@opentelemetry/api'
import * as client from '@prometheus-io/client'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import metricsModule, { type IMetricsPluginOptions } from 'fastify-metrics'
import fp from 'fastify-plugin'
import packageJson from '../../../package.json' with { type: 'json' }
import type { Config } from '../../config.ts'

// Compiled to CommonJS without an export for ES modules: its default is one level deeper.
const fastifyMetrics = metricsModule.default

const TIMERS = Symbol('timers')

declare module 'fastify' {
  interface FastifyInstance {
    /** The registry of all metrics; the management server exposes it. */
    metricsRegistry: client.Registry
  }
  interface FastifyRequest {
    [TIMERS]: Timers | null
  }
}

/**
 * Upper bounds of the duration histogram, in seconds. Below 100 ms: the service itself. 100 to 300 ms: one to three
 * periods of the kernel's CPU quota (100 ms), because throttling at a CPU limit delays requests in such steps. 500 ms and 1 s: delays
 * that users notice. 10 s: the longest wait of /api/v1/delay.
 */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10]

/** The route label of requests without a route; their paths would make the number of series unbounded. */
const UNMATCHED = 'unmatched'

/** Times requests with less CPU time than the library's timer, which makes two arrays and copies the labels. */
class DurationHistogram<Label extends string = never> extends client.Histogram<Label> {
  override startTimer() {
    const start = performance.now()
    return (labels?: client.LabelValues<Label>) => {
      const seconds = (performance.now() - start) / 1_000
      if (labels === undefined) this.observe(seconds)
      else this.observe(labels, seconds)
      return seconds
    }
  }
}

/** The same for a service that sends traces: each bucket also names the trace of its last request. */
class TracedHistogram<Label extends string = never> extends client.Histogram<Label> {
  constructor(configuration: client.HistogramConfiguration<Label>) {
    super({ ...configuration, enableExemplars: true })
  }

  override startTimer() {
    const start = performance.now()
    return (labels?: client.LabelValues<Label>, exemplarLabels?: client.LabelValues<Label>) => {
      const value = (performance.now() - start) / 1_000
      this.observe({ value, ...(labels && { labels }), ...(exemplarLabels && { exemplarLabels }) })
      return value
    }
  }
}

/** fastify-metrics uses the client's global registry, but two apps in one process (tests) need separate ones. */
const withRegistry = (
  register: client.Registry,
  Histogram: typeof client.Histogram = DurationHistogram,
): IMetricsPluginOptions['promClient'] => ({ ...client, register, Histogram })

/** The end of a request's timer, which fastify-metrics calls with the labels. */
interface Timers {
  hist: (labels: object, exemplarLabels?: object) => number
}

/** Gives the timer's end the id of the request's trace, if the trace is sampled: the backend has no others. */
function withTrace(request: FastifyRequest, { hist }: Timers): Timers {
  return {
    hist: (labels) => {
      // Not its span, which the plugin has already ended and removed. Requests that are not traced have no context.
      const { context } = request.opentelemetry()
      const span = context === null ? undefined : trace.getSpanContext(context)
      const isSampled = span !== undefined && (span.traceFlags & TraceFlags.SAMPLED) !== 0
      return hist(labels, isSampled ? { trace_id: span.traceId } : undefined)
    },
  }
}

/**
 * Lets fastify-metrics keep the timers of a request on the request. It keeps them in a WeakMap, which costs 0.9 µs a
 * request, half of it for the garbage collector. The field is private to the library; a test notices if it changes.
 */
function keepTimersOnRequest(app: FastifyInstance, isTraced: boolean): void {
  app.decorateRequest(TIMERS, null)
  Reflect.set(app.metrics, 'metricStorage', {
    get: (request: FastifyRequest) => request[TIMERS],
    set: (request: FastifyRequest, timers: Timers) => {
      request[TIMERS] = isTraced ? withTrace(request, timers) : timers
    },
  })
}

/**
 * Collects Prometheus metrics: Node's default metrics, the build, and the duration of requests by method, route
 * template and status. There is no summary, because quantiles of several pods cannot be aggregated; histograms can. With
 * tracing, the durations have exemplars.
 */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    const isTraced = config.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined
    // Only OpenMetrics has exemplars.
    const registry: client.Registry = isTraced
      ? new client.Registry(client.Registry.OPENMETRICS_CONTENT_TYPE)
      : new client.Registry()
    app.decorate('metricsRegistry', registry)
    new client.Gauge({
      name: 'build_info',
      help: 'The running build; the value is always 1.',
      labelNames: ['version', 'commit'],
      registers: [registry],
    }).set({ version: packageJson.version, commit: config.BUILD_COMMIT }, 1)

    await app.register(fastifyMetrics, {
      promClient: withRegistry(registry, isTraced ? TracedHistogram : DurationHistogram),
      endpoint: null,
      defaultMetrics: { enabled: true, register: registry },
      routeMetrics: {
        enabled: { histogram: true, summary: false },
        registeredRoutesOnly: false,
        methodBlacklist: [],
        overrides: {
          labels: { getRouteLabel: ({ routeOptions }) => routeOptions.url ?? UNMATCHED },
          histogram: {
            help: 'Time from the arrival of a request until its response has been sent.',
            buckets: DURATION_BUCKETS,
            registers: [registry],
          },
          // The library creates it even if it is disabled.
          summary: { registers: [] },
        },
      },
    })
    keepTimersOnRequest(app, isTraced)
  },
  { name: 'metrics' },
)

/** Serves the metrics of `app` on `management` at /metrics. */
export function exposeMetrics(management: FastifyInstance, app: FastifyInstance): void {
  management.register(fastifyMetrics, {
    promClient: withRegistry(app.metricsRegistry),
    endpoint: '/metrics',
    defaultMetrics: { enabled: false },
    routeMetrics: { enabled: false },
  })
}
