import fastify, { type FastifyInstance } from 'fastify'
import type { Controller } from './controller.ts'

/** The internal endpoints of the component `load-balancers`, for the component `aws`. */
export function buildServer(controller: Pick<Controller, 'refresh' | 'healthOf'>): FastifyInstance {
  // A target group's ARN is longer than the default limit.
  const app = fastify({ routerOptions: { maxParamLength: 500 } })
  app.get('/healthz', () => 'ok')
  app.post('/changes', async (_request, reply) => {
    // The change is applied after the response, as on AWS.
    controller.refresh()
    return reply.code(202).send()
  })
  app.get<{ Params: { arn: string } }>('/target-groups/:arn/health', async ({ params }) => ({
    targets: (await controller.healthOf(params.arn)) ?? [],
  }))
  return app
}
