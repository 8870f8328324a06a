import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { serveUnderPressure } from '../plugins/pressure.ts'

/** The probes: no line in the log while they are well, no place in the metrics, an answer under pressure. */
const health: FastifyPluginAsyncTypebox = async (app) => {
  const probe = {
    logLevel: 'warn',
    config: { disableMetrics: true, pressureHandler: serveUnderPressure },
  } as const

  app.get(
    '/healthz',
    { ...probe, schema: { response: { 200: Type.Object({ status: Type.Literal('alive') }) } } },
    async () => ({ status: 'alive' as const }),
  )

  app.get(
    '/readyz',
    {
      ...probe,
      schema: {
        response: {
          200: Type.Object({ status: Type.Literal('ready') }),
          503: Type.Object({ status: Type.Literal('not ready') }),
        },
      },
    },
    async (_request, reply) =>
      app.isReady() ? reply.send({ status: 'ready' }) : reply.code(503).send({ status: 'not ready' }),
  )
}

export default health
