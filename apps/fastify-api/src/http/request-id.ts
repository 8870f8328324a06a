import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

export const REQUEST_ID_HEADER = 'x-request-id'

/** What is taken over as a request id: a token that cannot break a log line, a header or a search. */
const SANE_REQUEST_ID = /^[\w.:/+=-]{1,128}$/

/** W3C Trace Context: version, trace id (not all zeros), parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/

/** What an AWS load balancer adds to every request and writes to its access log. */
const AMAZON_TRACE = /\bRoot=(1-[0-9a-f]{8}-[0-9a-f]{24})/

/**
 * The caller's request id where it is sane, else the id of the trace that the request belongs to, else the load
 * balancer's id, else a new one.
 */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers[REQUEST_ID_HEADER]
  if (typeof given === 'string' && SANE_REQUEST_ID.test(given)) return given
  return traceIdOf(headers) ?? match(AMAZON_TRACE, headers['x-amzn-trace-id']) ?? newRequestId()
}

/** The trace that the caller says the request belongs to. */
export function traceIdOf(headers: IncomingHttpHeaders): string | undefined {
  return match(TRACEPARENT, headers['traceparent'])
}

/** Of this process: what follows it in an id is only counted, as a random number for each request would cost more. */
const PROCESS_ID = randomBytes(9).toString('base64url')
let requests = 0

function newRequestId(): string {
  requests++
  return `${PROCESS_ID}-${requests}`
}

function match(pattern: RegExp, header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? pattern.exec(header)?.[1] : undefined
}
