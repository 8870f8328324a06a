import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { LineLimit } from './line-limit.ts'

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
