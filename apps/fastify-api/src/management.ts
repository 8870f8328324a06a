import Fastify, { type FastifyInstance } from 'fastify'
import { Connections } from './http/connections.ts'
import { exposeMetrics } from './plugins/external/metrics.ts'

/** Far more than Prometheus opens. */
const MOST_CONNECTIONS = 100

/**
 * Builds the server for the metrics. It has its own port, which no Ingress exposes.
 *
 * @param app - the service that has the metrics; the management server closes with it
 */
export function buildManagement(app: FastifyInstance): FastifyInstance {
  const management = Fastify()
  new Connections(management, MOST_CONNECTIONS)
  exposeMetrics(management, app)
  app.addHook('onClose', () => management.close())
  return management
}
