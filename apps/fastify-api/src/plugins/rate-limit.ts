import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { HttpProblem } from './errors.ts'

/** A limit on what one client may ask of this process, where wanted. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.RATE_LIMIT_PER_MINUTE === 0) return
    await app.register(rateLimit, {
      max: config.RATE_LIMIT_PER_MINUTE,
      timeWindow: 60_000,
      // Probes and the like.
      allowList: (request) => request.routeOptions.config.disableMetrics === true,
      errorResponseBuilder: (_request, { after }) => new HttpProblem(429, `Too many requests: wait ${after}`),
    })
  },
  { name: 'rate-limit', dependencies: ['errors', 'headers', 'metrics'] },
)
