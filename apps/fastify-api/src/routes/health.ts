import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { problems } from '../plugins/errors.ts'
import { serveUnderPressure } from '../plugins/pressure.ts'

/** The probes: no line in the log while they are well, no place in the metrics, an answer under pressure. */
const health: FastifyPluginAsyncTypebox = async (app) => {
  const probe = {
    logLevel: 'warn',
    config: { disableMetrics: true, pressureHandler: serveUnderPressure },
  } as const

  app.get(
    '/healthz',
    {
      ...probe,
      schema: {
        tags: ['service'],
        operationId: 'isAlive',
        summary: 'Whether the process works',
        response: { 200: Type.Object({ status: Type.Literal('alive') }), ...problems(400) },
      },
    },
    async () => ({ status: 'alive' as const }),
  )

  app.get(
    '/readyz',
    {
      ...probe,
      schema: {
        tags: ['service'],
        operationId: 'isReady',
        summary: 'Whether requests should be sent here',
        response: {
          200: Type.Object({ status: Type.Literal('ready') }),
          503: Type.Object({ status: Type.Literal('not ready') }),
          ...problems(400),
        },
      },
    },
    async (_request, reply) =>
      app.isReady() ? reply.send({ status: 'ready' }) : reply.code(503).send({ status: 'not ready' }),
  )
}

export default health
