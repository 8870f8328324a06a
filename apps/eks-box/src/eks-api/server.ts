import { randomUUID } from 'node:crypto'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyError, type FastifyInstance, type HTTPMethods } from 'fastify'
import type { AwsRequest, AwsResponse } from '../aws/request.ts'
import { access } from './access.ts'
import { addons } from './addons.ts'
import { CALLER_HEADER, type Caller, callerOf, type EksApiOptions } from './api.ts'
import { clusters } from './clusters.ts'
import { EksFailure } from './failure.ts'
import { nodeGroups } from './node-groups.ts'
import { podIdentity } from './pod-identity.ts'
import type { Store } from './store.ts'
import { tags } from './tags.ts'
import { updates } from './updates.ts'

/** Longer than any ARN, which paths carry. */
const longestParameter = 2048

/**
 * The EKS API for the box's one cluster: paths, JSON, states and errors as in EKS's published service model,
 * for the operations that Terraform's provider, the EKS modules, the AWS CLI and SDKs use. Another operation is
 * refused, never answered with an invention.
 */
export async function buildEksApi(store: Store, options: EksApiOptions): Promise<FastifyInstance> {
  const app = fastify({
    routerOptions: { maxParamLength: longestParameter },
    genReqId: () => randomUUID(),
  })
    .setValidatorCompiler(TypeBoxValidatorCompiler)
    .withTypeProvider<TypeBoxTypeProvider>()

  // Clients send JSON under several content types, or a body that is empty under one.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? {} : JSON.parse(String(body)))
    } catch {
      done(new EksFailure('InvalidParameterException', 'the body is not JSON'))
    }
  })
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-amzn-requestid', request.id)
    callerOf(request)
  })
  app.setNotFoundHandler(async ({ method, url }) => {
    throw new EksFailure('UnknownOperationException', `The box has no EKS operation ${method} ${url}`)
  })
  app.setErrorHandler<FastifyError | EksFailure>(async (error, request, reply) => {
    const failure = asFailure(error)
    if (failure.status >= 500) console.error(`${request.method} ${request.url}:`, error)
    return reply
      .code(failure.status)
      .header('x-amzn-errortype', failure.type)
      .send({ __type: failure.type, message: failure.message, ...failure.details })
  })

  for (const operations of [clusters, updates, access, addons, podIdentity, nodeGroups, tags]) {
    operations({ app, store, options })
  }
  await app.ready()
  return app as unknown as FastifyInstance
}

/** Has the API answer a request that `caller` signed. */
export async function askEks(
  api: FastifyInstance,
  { method, url, headers: { 'transfer-encoding': _encoding, ...headers }, body }: AwsRequest,
  caller: Caller,
): Promise<AwsResponse> {
  const response = await api.inject({
    // Of another method than HTTP's, the API has no route.
    method: method as HTTPMethods,
    url,
    headers: { ...headers, [CALLER_HEADER]: JSON.stringify(caller) },
    payload: body,
  })
  return { status: response.statusCode, headers: response.headers, body: response.rawPayload }
}

function asFailure(error: FastifyError | EksFailure): EksFailure {
  if (error instanceof EksFailure) return error
  if ('validation' in error && error.validation !== undefined) {
    const [first] = error.validation
    // So a schema without additional members refuses one.
    const isUnknown = first?.keyword === 'boolean'
    return new EksFailure(
      'InvalidParameterException',
      isUnknown
        ? `The box does not support the parameter ${first.instancePath.slice(1).replaceAll('/', '.')}`
        : error.message,
    )
  }
  return new EksFailure('ServerException', error.message)
}
