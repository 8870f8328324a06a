import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type FastifyBaseLogger, type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import type { Bindings, ChildLoggerOptions } from 'pino'

export const REQUEST_ID_HEADER = 'x-request-id'

/** What is taken over as a request id: a token that cannot break a log line, a header or a search. */
const SANE_REQUEST_ID = /^[\w.:/+=-]{1,128}$/

/** W3C Trace Context: version, trace id (not all zeros), parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/

/** The caller's request id where it is sane, else the id of the trace it belongs to, else a new one. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers[REQUEST_ID_HEADER]
  if (typeof given === 'string' && SANE_REQUEST_ID.test(given)) return given
  return traceId(headers['traceparent']) ?? newRequestId()
}

/** Of this process: what follows it in an id is only counted, as a random number for each request would cost more. */
const PROCESS_ID = randomBytes(9).toString('base64url')
let requests = 0

function newRequestId(): string {
  requests++
  return `${PROCESS_ID}-${requests}`
}

function traceId(traceparent: string | string[] | undefined): string | undefined {
  return typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent)?.[1] : undefined
}

/**
 * Writes one line a request, when it has been answered: what Fastify logs by itself (a line on arrival, one
 * on the answer, one on the error) costs throughput and says no more. A busy process leaves lines out, never
 * those of failures, and says how many.
 */
export class RequestLog extends LogController {
  readonly #linesPerSecond: number
  #second = 0
  #written = 0
  #leftOut = 0

  constructor(linesPerSecond: number) {
    super()
    this.#linesPerSecond = linesPerSecond
  }

  override incomingRequest(): void {}

  override requestCompleted(
    error: Error | null | undefined,
    request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    const failure = request.failure ?? error
    if (!failure && reply.statusCode < 500 && !this.#hasRoom()) return
    const { method, url, headers, log } = request
    const query = url.indexOf('?')
    const trace = traceId(headers['traceparent'])
    const line = {
      method,
      // Without the query: people put into it what nobody should read in a log.
      path: query === -1 ? url : url.slice(0, query),
      statusCode: reply.statusCode,
      responseTimeMs: Math.round(reply.elapsedTime * 1000) / 1000,
      ...(trace !== undefined && { traceId: trace }),
      ...(this.#leftOut > 0 && { leftOut: this.#leftOut }),
    }
    this.#leftOut = 0
    if (failure) log.error({ ...line, err: failure }, 'request failed')
    else if (reply.statusCode >= 500) log.warn(line, 'request refused')
    else log.info(line, 'request completed')
  }

  #hasRoom(): boolean {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#written = 0
    }
    if (this.#written >= this.#linesPerSecond) {
      this.#leftOut++
      return false
    }
    this.#written++
    return true
  }
}

/** For what the router itself refuses: such a request meets no hook. */
export function logRefusal(request: FastifyRequest, reply: FastifyReply): void {
  reply.header(REQUEST_ID_HEADER, request.id)
  request.log.info({ method: request.method, path: request.raw.url }, 'request refused by the router')
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/**
 * The logger of one request, made when it is first used: most requests of a busy service log nothing, and making
 * one costs more than all hooks together.
 */
export function requestLogger(
  parent: FastifyBaseLogger,
  bindings: Bindings,
  options: ChildLoggerOptions,
): FastifyBaseLogger {
  return new PendingLogger(parent, bindings, options) as unknown as FastifyBaseLogger
}

class PendingLogger {
  readonly #parent: FastifyBaseLogger
  readonly #bindings: Bindings
  readonly #options: ChildLoggerOptions
  #made: FastifyBaseLogger | undefined

  constructor(parent: FastifyBaseLogger, bindings: Bindings, options: ChildLoggerOptions) {
    this.#parent = parent
    this.#bindings = bindings
    this.#options = options
  }

  static {
    for (const name of [...LEVELS, 'child'] as const) {
      Object.defineProperty(PendingLogger.prototype, name, {
        value(this: PendingLogger, ...args: [object]) {
          return this.#logger[name](...args)
        },
      })
    }
  }

  get #logger(): FastifyBaseLogger {
    this.#made ??= this.#parent.child(this.#bindings, this.#options)
    return this.#made
  }

  get level() {
    return this.#logger.level
  }
}
