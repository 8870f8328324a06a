import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import { type DestinationStream, stdTimeFunctions } from 'pino'
import type { Config } from './config.ts'
import draining from './plugins/draining.ts'
import errors, { refuseConnection, sendProblem } from './plugins/errors.ts'
import metrics from './plugins/metrics.ts'
import pressure from './plugins/pressure.ts'
import requestLog, { RequestLog, requestId } from './plugins/request-log.ts'
import health from './routes/health.ts'
import load from './routes/load.ts'
import root from './routes/root.ts'

/** Builds the service, not yet listening, with its log going to `logDestination`. */
export async function buildApp(config: Config, logDestination: DestinationStream): Promise<FastifyInstance> {
  const app = Fastify({
    logger: {
      level: config.LOG_LEVEL,
      stream: logDestination,
      base: null, // Process id and host name: the container's are 1 and the pod, which the collector knows.
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    logController: new RequestLog(),
    genReqId: requestId,

    // A misspelt parameter is refused; dropped in silence it would be a default that nobody asked for.
    ajv: { customOptions: { removeAdditional: false } },
    bodyLimit: 64 * 1024,
    frameworkErrors: sendProblem,
    clientErrorHandler: refuseConnection,

    // Longer than the balancer keeps its side idle (ALB: 60 s by default), so that it is never this side that
    // closes a connection on which a request is already under way.
    keepAliveTimeout: 65_000,
    // A request is small here and comes from a balancer at once; what takes longer only holds a connection.
    requestTimeout: 30_000,
    http: { headersTimeout: 15_000 },
    // Behind a balancer of connections (kube-proxy) a client that never reconnects never meets a new pod.
    maxRequestsPerSocket: 100,
    // Until its listener is closed and its connections are done, a closing server serves.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()

  await app.register(errors)
  await app.register(requestLog)
  await app.register(draining)
  await app.register(metrics)
  await app.register(pressure, { config })

  await app.register(root)
  await app.register(health)
  if (config.LOAD_ENDPOINTS_ENABLED) await app.register(load, { prefix: '/api/v1' })

  return app
}
