import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { serveUnderPressure } from '../plugins/external/pressure.ts'
import { HttpProblem } from '../problems/http-problem.ts'
import { problems } from '../problems/problem.ts'

/** The probes. They are not logged while they succeed, not counted, and answered under pressure. */
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
        summary: 'Check that the process is alive',
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
        summary: 'Check that the process is ready for requests',
        response: {
          200: Type.Object({ status: Type.Literal('ready') }),
          ...problems(400, 503),
        },
      },
    },
    async () => {
      const unready = app.unready()
      if (unready.length > 0) throw new HttpProblem(503, `Not ready: ${unready.join(', ')}`)
      return { status: 'ready' as const }
    },
  )
}

export default health
