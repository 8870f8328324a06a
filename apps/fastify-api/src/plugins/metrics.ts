import { collectDefaultMetrics, Registry } from '@prometheus-io/client'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Where every plugin keeps its metrics; the management server shows them. */
    metricsRegistry: Registry
  }
  interface FastifyContextConfig {
    /** Leaves this route's requests out of the metrics: they are nobody's experience. */
    disableMetrics?: boolean
  }
}

/**
 * Upper bounds of the duration histogram, in seconds. Below 100 ms: the service itself. 100 to 300 ms: one to
 * three periods of the kernel's CPU quota (100 ms), the steps in which a throttled pod gets slower. 500 ms
 * and 1 s: where users notice. 10 s: the longest that /api/v1/delay waits.
 */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10]

/** Requests of one route, method and status. */
interface Series {
  labels: { method: string; route: string; status_code: number }
  /** Requests in each bucket and, last, above all of them; a bucket that had none may be absent. */
  counts: number[]
  sum: number
}

/**
 * Rate, errors and duration of all requests, in one histogram with a registry's interface. Counted here and not by
 * the library's own histogram, which hashes and checks the labels of each request anew: that alone takes a fifth of
 * the time that a request has (docs/performance.md).
 *
 * Label values are bounded: the route's template, never the path asked for. Quantiles are left to Prometheus,
 * which can add up histograms of many pods.
 */
class RequestDurations {
  readonly name = 'http_request_duration_seconds'
  readonly help = 'Time from the first byte of a request to the last of its answer.'
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  /** By the route's configuration, which is one object for all of its requests, and status. */
  readonly #routes = new Map<object, Map<number, Series>>()

  observe(request: FastifyRequest, reply: FastifyReply): void {
    const { config, url: route = 'unmatched' } = request.routeOptions
    if (config.disableMetrics === true) return
    const status = reply.statusCode
    const statuses = this.#routes.get(config) ?? new Map<number, Series>()
    let series = statuses.get(status)
    if (series === undefined) {
      const labels = { method: request.method, route, status_code: status }
      series = { labels, counts: [], sum: 0 }
      this.#routes.set(config, statuses.set(status, series))
    }
    const seconds = reply.elapsedTime / 1000
    let bucket = 0
    for (const bound of DURATION_BUCKETS) {
      if (seconds <= bound) break
      bucket++
    }
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1
    series.sum += seconds
  }

  async get() {
    const series = [...this.#routes.values()].flatMap((statuses) => [...statuses.values()])
    return { ...this, values: series.flatMap((one) => samples(this.name, one)) }
  }
}

function samples(name: string, { labels, counts, sum }: Series) {
  let count = 0
  const buckets = [...DURATION_BUCKETS, '+Inf'].map((le, bucket) => {
    count += counts[bucket] ?? 0
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ]
}

/** Prometheus metrics: Node's own, and those of all requests. */
export default fp(
  async (app) => {
    // A registry per app, not the library's global one: two apps in one process (tests) stay apart.
    const registry = new Registry()
    app.decorate('metricsRegistry', registry)
    collectDefaultMetrics({ register: registry })

    const durations = new RequestDurations()
    registry.registerMetric(durations as unknown as Parameters<Registry['registerMetric']>[0])
    app.addHook('onResponse', (request, reply, done) => {
      durations.observe(request, reply)
      done()
    })
  },
  { name: 'metrics' },
)
