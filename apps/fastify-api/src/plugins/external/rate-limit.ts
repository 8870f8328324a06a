import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'
import { HttpProblem } from '../../problems/http-problem.ts'

/** Limits the requests of a client to this process, if configured. Requests without a route count as well. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.RATE_LIMIT_PER_MINUTE === 0) return
    const { default: rateLimit } = await import('@fastify/rate-limit')
    await app.register(rateLimit, {
      // The hook below covers all requests. The plugin's own hooks cover routes only, so not 404s.
      global: false,
      max: config.RATE_LIMIT_PER_MINUTE,
      timeWindow: 60_000,
      // Probes are not limited.
      allowList: (request) => request.routeOptions.config.disableMetrics === true,
      errorResponseBuilder: (_request, { after }) => new HttpProblem(429, `Too many requests: wait ${after}`),
    })
    app.addHook('onRequest', app.rateLimit())
  },
  { name: 'rate-limit', dependencies: ['errors', 'headers', 'metrics', 'pressure'] },
)
