import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { LineLimit } from './log.ts'

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

/** One kind of line each: no kind can use up the room of another. */
const COMPLETED = 'request completed'
const REFUSED = 'request refused'
const FAILED = 'request failed'

/**
 * Writes one line a request, when it has been answered: what Fastify logs by itself (a line on arrival, one
 * on the answer, one on the error) costs throughput and says no more. A busy process leaves lines out and says how
 * many.
 */
export class RequestLog extends LogController {
  readonly #completed: LineLimit
  readonly #trouble: LineLimit

  /**
   * @param linesPerSecond - about requests that went well
   * @param trouble - the log's limit on warnings and errors: a line without room is not even made
   */
  constructor(linesPerSecond: number, trouble: LineLimit) {
    super()
    this.#completed = new LineLimit(linesPerSecond)
    this.#trouble = trouble
  }

  override incomingRequest(): void {}

  override requestCompleted(
    error: Error | null | undefined,
    request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    const failure = request.failure ?? error
    const { log } = request
    if (failure) {
      if (this.#trouble.hasRoom(FAILED)) log.error({ ...line(request, reply), err: failure }, FAILED)
    } else if (reply.statusCode >= 500) {
      if (this.#trouble.hasRoom(REFUSED)) log.warn(line(request, reply), REFUSED)
    } else if (log.isLevelEnabled('info') && this.#completed.hasRoom(COMPLETED)) {
      const leftOut = this.#completed.take(COMPLETED)
      log.info({ ...line(request, reply), ...(leftOut ? { leftOut } : {}) }, COMPLETED)
    }
  }
}

/** The path that the client asked for, without the query: it may hold secrets, which do not belong in a log. */
export function pathOf({ originalUrl }: Pick<FastifyRequest, 'originalUrl'>): string {
  const query = originalUrl.indexOf('?')
  return query === -1 ? originalUrl : originalUrl.slice(0, query)
}

function line(request: FastifyRequest, reply: FastifyReply) {
  return {
    method: request.method,
    path: pathOf(request),
    statusCode: reply.statusCode,
    responseTimeMs: Math.round(reply.elapsedTime * 1000) / 1000,
  }
}
