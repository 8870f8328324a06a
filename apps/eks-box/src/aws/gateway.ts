import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { type AwsResponse, type Emulator, signedService, unavailable } from './emulator.ts'

/** The largest request the gateway takes, in bytes: the emulator is no place for data. */
const largestBody = 64 * 2 ** 20

/**
 * The one address of all of AWS: requests signed for EKS are answered by the box's own EKS API, all others by
 * the emulator.
 */
export function createGateway(emulator: Pick<Emulator, 'forward'>, eks: RequestListener): Server {
  return createServer((request, response) => {
    if (signedService(request.headers) === 'eks') eks(request, response)
    else pass(emulator, request, response)
  })
}

async function pass(
  emulator: Pick<Emulator, 'forward'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let answer: AwsResponse
  try {
    const body = await readBody(request)
    const { method = 'GET', url = '/', headers } = request
    answer = await emulator.forward({ method, url, headers, body })
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error)
    console.error(`${request.method} ${request.url}: ${cause}`)
    answer = unavailable(`the AWS emulator did not answer: ${cause}`)
  }
  const { connection: _connection, 'transfer-encoding': _encoding, ...headers } = answer.headers
  // A HEAD has no body, but tells the length of what it leaves out.
  const length = request.method === 'HEAD' ? {} : { 'content-length': answer.body.length }
  response.writeHead(answer.status, { ...headers, ...length })
  response.end(request.method === 'HEAD' ? undefined : answer.body)
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
