import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import fp from 'fastify-plugin'

const REQUEST_ID_HEADER = 'x-request-id'

/** What is taken over as a request id: a token that cannot break a log line, a header or a search. */
const SANE_REQUEST_ID = /^[\w.:/+=-]{1,128}$/

/** The caller's request id where it is sane, else a new one. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers[REQUEST_ID_HEADER]
  return typeof given === 'string' && SANE_REQUEST_ID.test(given) ? given : randomUUID()
}

/**
 * Writes one line a request, when it has been answered: what Fastify logs by itself (a line on arrival, one
 * on the answer, one on the error) costs throughput and says no more.
 */
export class RequestLog extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(
    error: Error | null | undefined,
    request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    const line = {
      method: request.method,
      url: request.url,
      statusCode: reply.statusCode,
      responseTimeMs: Math.round(reply.elapsedTime * 1000) / 1000,
    }
    const err = request.failure ?? error
    if (err) request.log.error({ ...line, err }, 'request failed')
    else if (reply.statusCode >= 500) request.log.warn(line, 'request refused')
    else request.log.info(line, 'request completed')
  }
}

/** Tells the client the id under which its request is logged. */
export default fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.header(REQUEST_ID_HEADER, request.id)
      done()
    })
  },
  { name: 'request-log', dependencies: ['errors'] },
)
