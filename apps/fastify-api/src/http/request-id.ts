import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

export const REQUEST_ID_HEADER = 'x-request-id'

/** Request ids that are accepted from clients: safe in log lines, headers and searches. */
const VALID_REQUEST_ID = /^[\w.:/+=-]{1,128}$/

/** W3C Trace Context: version, trace id (not all zeros), parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/

/** The header that an AWS load balancer adds to every request and writes to its access log. */
const AMAZON_TRACE = /\bRoot=(1-[0-9a-f]{8}-[0-9a-f]{24})/

/**
 * The client's request id if it is valid, else the trace id, else the load balancer's id, else a new one.
 */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers[REQUEST_ID_HEADER]
  if (typeof given === 'string' && VALID_REQUEST_ID.test(given)) return given
  return traceIdOf(headers) ?? match(AMAZON_TRACE, headers['x-amzn-trace-id']) ?? newRequestId()
}

/** The trace id of the client's `traceparent` header. */
export function traceIdOf(headers: IncomingHttpHeaders): string | undefined {
  return match(TRACEPARENT, headers['traceparent'])
}

/** Random per process. Request ids add a counter, because a random number for each request costs more. */
const PROCESS_ID = randomBytes(9).toString('base64url')
let requests = 0

function newRequestId(): string {
  requests++
  return `${PROCESS_ID}-${requests}`
}

function match(pattern: RegExp, header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? pattern.exec(header)?.[1] : undefined
}
