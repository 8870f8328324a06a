import Fastify, { type FastifyInstance } from 'fastify'
import { Connections } from './http/connections.ts'
import { exposeMetrics } from './plugins/external/metrics.ts'

/** Far more than scrapers open. */
const MOST_CONNECTIONS = 100

/**
 * What operators ask of a process and nobody outside the cluster may: its metrics. On a port of its own, which no
 * Ingress leads to.
 *
 * @param app - the service whose metrics it serves; it closes with it
 */
export function buildManagement(app: FastifyInstance): FastifyInstance {
  const management = Fastify()
  new Connections(management, MOST_CONNECTIONS)
  exposeMetrics(management, app)
  app.addHook('onClose', () => management.close())
  return management
}
