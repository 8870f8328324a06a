import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
// It declares `request.failure`.
import type {} from '../problems/answer.ts'
import { LineLimit } from './line-limit.ts'

/** Each message has its own limit, so that none suppresses the others. */
const COMPLETED = 'request completed'
const REFUSED = 'request refused'
const FAILED = 'request failed'

/**
 * Writes one line for each request, when it has been answered. Fastify's own lines (on arrival, answer and error) cost
 * throughput without more information. A busy process leaves lines out and logs how many.
 */
export class RequestLog extends LogController {
  readonly #completed: LineLimit
  readonly #trouble: LineLimit

  /**
   * @param linesPerSecond - most lines about successful requests
   * @param trouble - the log's limit on warnings and errors; lines over the limit are not formatted
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

/** The requested path without the query, which may contain secrets. */
export function pathOf({ originalUrl }: Pick<FastifyRequest, 'originalUrl'>): string {
  const query = originalUrl.indexOf('?')
  return query === -1 ? originalUrl : originalUrl.slice(0, query)
}

function line(request: FastifyRequest, reply: FastifyReply) {
  return {
    method: request.method,
    path: pathOf(request),
    // As in the metrics, to find the lines of a spike.
    route: request.routeOptions.url,
    statusCode: reply.statusCode,
    responseTimeMs: Math.round(reply.elapsedTime * 1000) / 1000,
  }
}
