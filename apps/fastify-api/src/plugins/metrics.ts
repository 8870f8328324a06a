import client from '@prometheus-io/client'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { serveUnderPressure } from './pressure.ts'

/**
 * Upper bounds of the duration histogram, in seconds. Below 100 ms: the service itself. 100 to 300 ms: one to
 * three periods of the kernel's CPU quota (100 ms), the steps in which a throttled pod gets slower. 500 ms
 * and 1 s: where users notice. 10 s: the longest that /api/v1/delay waits.
 */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10]

/**
 * Prometheus metrics: Node's own, and rate, errors and duration of all requests in one histogram.
 *
 * Label values are bounded: the route's template, never the path asked for. Quantiles are left to Prometheus,
 * which can add up histograms of many pods; a summary in the process cannot be added up and costs more than
 * the rest together. Probes and scrapes are not counted: nobody's experience, they would dilute the rates.
 */
export default fp(
  async (app) => {
    // A registry per app, not the library's global one: two apps in one process (tests) stay apart.
    const registry = new client.Registry()

    await app.register(fastifyMetrics.default, {
      promClient: client,
      endpoint: null,
      defaultMetrics: { enabled: true, register: registry },
      routeMetrics: {
        enabled: { histogram: true, summary: false },
        registeredRoutesOnly: false,
        methodBlacklist: [],
        overrides: {
          histogram: { buckets: DURATION_BUCKETS, registers: [registry] },
          // Switched off, a summary is still created: in no registry it leaves no empty metric behind.
          summary: { registers: [] },
        },
      },
    })

    app.get(
      '/metrics',
      {
        logLevel: 'warn',
        config: { disableMetrics: true, pressureHandler: serveUnderPressure },
        schema: { response: { 200: Type.String() } },
      },
      async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()),
    )
  },
  { name: 'metrics' },
)
