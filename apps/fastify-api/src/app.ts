import { join } from 'node:path'
import autoload from '@fastify/autoload'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import type { DestinationStream } from 'pino'
import type { Config } from './config.ts'
import { requestId } from './http/request-id.ts'
import { buildSerializer, buildValidator } from './http/schema-compilers.ts'
import { createLog } from './logging/log.ts'
import { RequestLog } from './logging/request-log.ts'
import { refuseConnection, refuseRoute } from './problems/refusals.ts'

/**
 * Builds the service, not yet listening, with its log going to `logDestination`: all plugins (what every request
 * meets) and all routes (what it is for) of the folders of these names.
 */
export async function buildApp(config: Config, logDestination: DestinationStream): Promise<FastifyInstance> {
  const { logger, trouble } = createLog(config, logDestination)
  const app = Fastify({
    loggerInstance: logger,
    logController: new RequestLog(config.LOG_REQUESTS_PER_SECOND, trouble),
    genReqId: requestId,
    trustProxy: (_address: string, hop: number) => hop < config.TRUSTED_PROXY_HOPS,

    // A misspelt parameter is refused; dropped in silence it would be a default that nobody asked for.
    // Schemas are not held against JSON Schema's own at each start: that takes a fifth of it. Strict mode still refuses
    // keywords that it does not know.
    ajv: { customOptions: { removeAdditional: false, meta: false, validateSchema: false } },
    schemaController: { compilersFactory: { buildSerializer, buildValidator } },
    bodyLimit: 64 * 1024,
    // What is too long for a parameter, its schema says: the router would answer 414 for 100 characters.
    routerOptions: { maxParamLength: 16 * 1024 },
    frameworkErrors: refuseRoute,
    clientErrorHandler: refuseConnection,

    // Longer than the balancer keeps its side idle (ALB: 60 s by default), so that it is never this side that
    // closes a connection on which a request is already under way.
    keepAliveTimeout: 65_000,
    // A request is small here and comes from a balancer at once; what takes longer only holds a connection.
    requestTimeout: 30_000,
    http: {
      headersTimeout: 15_000,
      connectionsCheckingInterval: 5_000,
      // No stream is set up for the body of a request that has none.
      optimizeEmptyRequests: true,
    },
    // Until its listener is closed and its connections are done, a closing server serves.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()

  for (const folder of ['plugins', 'routes']) {
    await app.register(autoload, {
      dir: join(import.meta.dirname, folder),
      ignorePattern: /\.test\.[jt]s$/,
      forceESM: true,
      dirNameRoutePrefix: false,
      options: { config },
    })
  }
  app.refuseOtherMethods()
  return app
}
