import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { CONTROL_PLANE_IP } from '../cluster.ts'
import type { Authenticated } from './authentication.ts'
import { AwsError, errorResponse } from './aws-error.ts'
import { unavailable } from './emulator.ts'
import { type AwsRequest, type AwsResponse, operation } from './request.ts'

/** Limit of a request's body, in bytes: the emulator keeps everything in memory. */
const largestBody = 64 * 2 ** 20

export interface GatewayOptions {
  /** @throws AwsError unless a principal of the account signed the request. */
  authenticate: (request: AwsRequest) => Promise<Authenticated>
  /** Handles requests that are signed for EKS. */
  eks: (request: AwsRequest, by: Authenticated) => Promise<AwsResponse>
  /** Handles requests that are signed for EKS Auth. */
  eksAuth: (request: AwsRequest) => Promise<AwsResponse>
  /** Handles AssumeRoleWithWebIdentity, which is not signed: a token of an identity provider authenticates its caller. */
  webIdentity: (request: AwsRequest) => Promise<AwsResponse>
  /** Handles all other requests. */
  emulator: (request: AwsRequest, by: Authenticated) => Promise<AwsResponse>
}

/**
 * The only endpoint of the emulated AWS: verifies the signature of each request, then passes it to the box's EKS API or
 * to the emulator.
 */
export function createGateway(options: GatewayOptions): Server {
  return createServer(async (request, response) => {
    const { method = 'GET', url = '/', headers } = request
    try {
      const reason = rejectionReason(url, headers)
      if (reason !== undefined) return reject(response, reason)
      respond(
        method,
        response,
        await dispatch({ method, url, headers, body: await readBody(request) }, options),
      )
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error)
      console.error(`${method} ${url.split('?')[0]}: ${cause}`)
      respond(method, response, unavailable(`the emulated AWS is unavailable: ${cause}`))
    }
  })
}

async function dispatch(request: AwsRequest, options: GatewayOptions): Promise<AwsResponse> {
  let service: string | undefined
  try {
    // AWS accepts these two operations unsigned.
    if (operation(request) === 'AssumeRoleWithWebIdentity') return await options.webIdentity(request)
    if (operation(request) === 'AssumeRoleWithSAML') {
      throw new AwsError('identity', 'The box does not support SAML: use AssumeRoleWithWebIdentity')
    }
    const by = await options.authenticate(request)
    service = by.signature.service
    if (service === 'eks') return await options.eks(request, by)
    if (service === 'eks-auth') return await options.eksAuth(request)
    return await options.emulator(request, by)
  } catch (error) {
    if (error instanceof AwsError) {
      return errorResponse(request, service ?? signedService(request.headers), error)
    }
    throw error
  }
}

/**
 * Why a request is rejected before its signature is checked; undefined when it is not. Rejects requests of web pages,
 * which send an Origin header or, with DNS rebinding, a foreign Host. Also rejects the emulator's control paths, which
 * only the box may use.
 */
function rejectionReason(url: string, headers: IncomingHttpHeaders): string | undefined {
  if (headers.origin !== undefined) return 'the emulated AWS does not accept requests from web pages'
  const host = headers.host?.replace(/:\d+$/, '') ?? ''
  const isOwn =
    host === CONTROL_PLANE_IP ||
    /^(127\.0\.0\.1|\[::1\]|([a-z0-9.-]+\.)?(localhost|amazonaws\.com))$/i.test(host)
  if (!isOwn) {
    return `the host ${host} does not belong to the emulated AWS`
  }
  if (/^\/*(moto-api|latest\/(meta-data|api|dynamic))(\/|$)/i.test(plainPath(url))) {
    return 'this path does not exist on AWS'
  }
  return undefined
}

/** The path as the emulator may interpret it: decoded and without empty or dot segments. */
function plainPath(url: string): string {
  const [path = ''] = url.replace(/^[a-z]+:\/\/[^/]*/i, '').split('?')
  try {
    return decodeURIComponent(path).replaceAll(/\/(\.?\/)+/g, '/')
  } catch {
    // A path that cannot be decoded matches no control path.
    return path
  }
}

function reject(response: ServerResponse, message: string): void {
  response.writeHead(403, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify({ message }))
}

function respond(method: string, response: ServerResponse, result: AwsResponse): void {
  const { connection: _connection, 'transfer-encoding': _encoding, ...headers } = result.headers
  // The response to HEAD has no body, but the emulator's Content-Length.
  const length = method === 'HEAD' ? {} : { 'content-length': result.body.length }
  response.writeHead(result.status, { ...headers, ...length })
  response.end(method === 'HEAD' ? undefined : result.body)
}

/** The service that a request is signed for, from its credential scope (AWS Signature Version 4). */
function signedService({ authorization = '' }: IncomingHttpHeaders): string | undefined {
  return /Credential=[^/]+\/\d{8}\/[^/]+\/([^/]+)\/aws4_request/.exec(authorization)?.[1]
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > largestBody) throw new Error(`the request is larger than ${largestBody} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
