import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Authenticated } from './authentication.ts'
import { unavailable } from './emulator.ts'
import { Refusal, refuse } from './refusal.ts'
import { type AwsRequest, type AwsResponse, operation } from './request.ts'

/** The largest request the gateway takes, in bytes: the emulator is no place for data. */
const largestBody = 64 * 2 ** 20

export interface GatewayOptions {
  /** @throws Refusal when no principal of the account signed the request. */
  authenticate: (request: AwsRequest) => Promise<Authenticated>
  /** Answers the requests that are signed for EKS. */
  eks: (request: AwsRequest, by: Authenticated) => Promise<AwsResponse>
  /** Answers all others. */
  emulator: (request: AwsRequest, by: Authenticated) => Promise<AwsResponse>
}

/**
 * The one address of all of AWS: verifies who signed a request, then has it answered by the box's own EKS API or
 * by the emulator. Nothing else reaches them.
 */
export function createGateway(options: GatewayOptions): Server {
  return createServer(async (request, response) => {
    const { method = 'GET', url = '/', headers } = request
    try {
      const foreign = foreignness(url, headers)
      if (foreign !== undefined) return refuseForeign(response, foreign)
      respond(
        method,
        response,
        await answer({ method, url, headers, body: await readBody(request) }, options),
      )
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error)
      console.error(`${method} ${url.split('?')[0]}: ${cause}`)
      respond(method, response, unavailable(`the emulated AWS did not answer: ${cause}`))
    }
  })
}

async function answer(request: AwsRequest, options: GatewayOptions): Promise<AwsResponse> {
  let service: string | undefined
  try {
    // The two operations that AWS takes unsigned: what identifies their caller is a token of another issuer, and
    // the box cannot fetch the keys of one.
    if (/^AssumeRoleWith(WebIdentity|SAML)$/.test(operation(request) ?? '')) {
      throw new Refusal(
        'identity',
        "Couldn't retrieve verification key from your identity provider: the box reaches none",
      )
    }
    const by = await options.authenticate(request)
    service = by.signature.service
    return await (service === 'eks' ? options.eks(request, by) : options.emulator(request, by))
  } catch (error) {
    if (error instanceof Refusal) return refuse(request, service ?? signedService(request.headers), error)
    throw error
  }
}

/**
 * Why a request cannot come from a client of AWS on this machine; undefined for one that can. A page in a browser
 * sends its origin, or, when its own name was made to lead here, that name. The emulator's own controls are
 * for the box alone: what it would take for them is no path of AWS.
 */
function foreignness(url: string, headers: IncomingHttpHeaders): string | undefined {
  if (headers.origin !== undefined) return 'the emulated AWS takes no requests from web pages'
  const host = headers.host?.replace(/:\d+$/, '') ?? ''
  if (!/^(127\.0\.0\.1|\[::1\]|([a-z0-9.-]+\.)?(localhost|amazonaws\.com))$/i.test(host)) {
    return `the emulated AWS has no host ${host}`
  }
  if (/^\/*(moto-api|latest\/(meta-data|api|dynamic))(\/|$)/i.test(plainPath(url))) {
    return 'AWS has no such path'
  }
  return undefined
}

/** The path of a request as the emulator may come to understand it, however it is written. */
function plainPath(url: string): string {
  const [path = ''] = url.replace(/^[a-z]+:\/\/[^/]*/i, '').split('?')
  try {
    return decodeURIComponent(path).replaceAll(/\/(\.?\/)+/g, '/')
  } catch {
    // What cannot be decoded names nothing.
    return path
  }
}

function refuseForeign(response: ServerResponse, message: string): void {
  response.writeHead(403, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify({ message }))
}

function respond(method: string, response: ServerResponse, answer: AwsResponse): void {
  const { connection: _connection, 'transfer-encoding': _encoding, ...headers } = answer.headers
  // A HEAD has no body, but tells the length of what it leaves out.
  const length = method === 'HEAD' ? {} : { 'content-length': answer.body.length }
  response.writeHead(answer.status, { ...headers, ...length })
  response.end(method === 'HEAD' ? undefined : answer.body)
}

/** The service a request is signed for: the fourth part of its credential's scope (AWS Signature Version 4). */
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
