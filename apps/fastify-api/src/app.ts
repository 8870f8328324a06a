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
 * Builds the service, which does not listen yet and logs to `logDestination`. It loads the plugins (cross-cutting
 * concerns) and routes (features) from the folders of these names.
 */
export async function buildApp(config: Config, logDestination: DestinationStream): Promise<FastifyInstance> {
  const { logger, trouble } = createLog(config, logDestination)
  const app = Fastify({
    loggerInstance: logger,
    logController: new RequestLog(config.LOG_REQUESTS_PER_SECOND, trouble),
    genReqId: requestId,
    trustProxy: (_address: string, hop: number) => hop < config.TRUSTED_PROXY_HOPS,

    // Unknown parameters are refused instead of removed, so that a misspelt one is noticed. Schemas are not checked
    // against the meta-schema at each start, which would take a fifth of it; strict mode still refuses unknown keywords.
    ajv: { customOptions: { removeAdditional: false, meta: false, validateSchema: false } },
    schemaController: { compilersFactory: { buildSerializer, buildValidator } },
    bodyLimit: 64 * 1024,
    // Schemas limit the length of parameters. The router's own limit of 100 characters would answer 414.
    routerOptions: { maxParamLength: 16 * 1024 },
    frameworkErrors: refuseRoute,
    clientErrorHandler: refuseConnection,

    // Longer than the idle timeout of the load balancer (ALB: 60 s by default), so that the service never closes a
    // connection on which the load balancer is sending a request.
    keepAliveTimeout: 65_000,
    // Requests are small and come from a load balancer. A slower one only occupies a connection.
    requestTimeout: 30_000,
    http: {
      headersTimeout: 15_000,
      connectionsCheckingInterval: 5_000,
      // Requests without a body need no stream for it.
      optimizeEmptyRequests: true,
    },
    // Requests that arrive on open connections while the server closes are served.
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
