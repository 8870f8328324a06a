import { randomUUID } from 'node:crypto'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyError, type FastifyInstance, type HTTPMethods } from 'fastify'
import type { Caller } from '../aws/caller.ts'
import type { AwsRequest, AwsResponse } from '../aws/request.ts'
import { access } from './access.ts'
import { addons } from './addons.ts'
import { CALLER_HEADER, callerOf, type EksApiOptions } from './api.ts'
import { clusters } from './clusters.ts'
import { EksException } from './exception.ts'
import { nodeGroups } from './node-groups.ts'
import { podIdentity } from './pod-identity.ts'
import type { Store } from './store.ts'
import { tags } from './tags.ts'
import { updates } from './updates.ts'

/** Paths contain ARNs, which are longer than Fastify's default limit. */
const longestParameter = 2048

/**
 * The EKS API for the box's only cluster: paths, JSON, states and errors follow the published service model of EKS. It
 * has the operations that Terraform's AWS provider, the EKS modules, the AWS CLI and the SDKs use, and refuses all
 * others.
 */
export async function buildEksApi(store: Store, options: EksApiOptions): Promise<FastifyInstance> {
  const app = fastify({
    routerOptions: { maxParamLength: longestParameter },
    genReqId: () => randomUUID(),
  })
    .setValidatorCompiler(TypeBoxValidatorCompiler)
    .withTypeProvider<TypeBoxTypeProvider>()

  // Clients send JSON with various content types, and some send an empty body with a content type.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? {} : JSON.parse(String(body)))
    } catch {
      done(new EksException('InvalidParameterException', 'the body is not valid JSON'))
    }
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-amzn-requestid', request.id)
    callerOf(request)
  })
  app.setNotFoundHandler(async ({ method, url }) => {
    throw new EksException(
      'UnknownOperationException',
      `The box does not support the EKS operation ${method} ${url}`,
    )
  })
  app.setErrorHandler<FastifyError | EksException>(async (error, request, reply) => {
    const exception = toException(error)
    if (exception.status >= 500) console.error(`${request.method} ${request.url}:`, error)
    return reply
      .code(exception.status)
      .header('x-amzn-errortype', exception.type)
      .send({ __type: exception.type, message: exception.message, ...exception.details })
  })

  for (const operations of [clusters, updates, access, addons, podIdentity, nodeGroups, tags]) {
    operations({ app, store, options })
  }
  await app.ready()
  return app as unknown as FastifyInstance
}

/** Passes a request that `caller` signed to the API. */
export async function callEksApi(
  api: FastifyInstance,
  { method, url, headers: { 'transfer-encoding': _encoding, ...headers }, body }: AwsRequest,
  caller: Caller,
): Promise<AwsResponse> {
  const response = await api.inject({
    // A safe cast: the API has no route for an unknown method.
    method: method as HTTPMethods,
    url,
    headers: { ...headers, [CALLER_HEADER]: JSON.stringify(caller) },
    payload: body,
  })
  return { status: response.statusCode, headers: response.headers, body: response.rawPayload }
}

function toException(error: FastifyError | EksException): EksException {
  if (error instanceof EksException) return error
  if ('validation' in error && error.validation !== undefined) {
    const [first] = error.validation
    // The keyword of the error for a property that a schema with `additionalProperties: false` does not have.
    const isUnknown = first?.keyword === 'boolean'
    return new EksException(
      'InvalidParameterException',
      isUnknown
        ? `The box does not support the parameter ${first.instancePath.slice(1).replaceAll('/', '.')}`
        : error.message,
    )
  }
  return new EksException('ServerException', error.message)
}
