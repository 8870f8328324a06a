import Fastify, { type FastifyInstance } from 'fastify'

/**
 * What operators ask of a process and nobody outside the cluster may: its metrics. On a port of its own, which no
 * Ingress leads to.
 *
 * @param app - the service whose metrics it serves; it closes with it
 */
export function buildManagement(app: FastifyInstance): FastifyInstance {
  const management = Fastify()
  management.get('/metrics', async (_request, reply) =>
    reply.type(app.metricsRegistry.contentType).send(await app.metricsRegistry.metrics()),
  )
  app.addHook('onClose', () => management.close())
  return management
}
