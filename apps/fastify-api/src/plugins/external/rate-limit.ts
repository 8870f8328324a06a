import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'
import { HttpProblem } from '../../problems/http-problem.ts'

/** A limit on what one client may ask of this process, where wanted: answers of every kind count. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.RATE_LIMIT_PER_MINUTE === 0) return
    const { default: rateLimit } = await import('@fastify/rate-limit')
    await app.register(rateLimit, {
      // By a hook for all requests: the plugin's own are those of routes, which a 404 does not have.
      global: false,
      max: config.RATE_LIMIT_PER_MINUTE,
      timeWindow: 60_000,
      // Probes.
      allowList: (request) => request.routeOptions.config.disableMetrics === true,
      errorResponseBuilder: (_request, { after }) => new HttpProblem(429, `Too many requests: wait ${after}`),
    })
    app.addHook('onRequest', app.rateLimit())
  },
  { name: 'rate-limit', dependencies: ['errors', 'headers', 'metrics', 'pressure'] },
)
