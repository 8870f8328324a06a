import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type Static, Type } from 'typebox'

declare module 'fastify' {
  interface FastifyRequest {
    /** The unexpected error that this request ended in; it is logged, never shown to the client. */
    failure: FastifyError | null
  }
}

const PROBLEM_MEDIA_TYPE = 'application/problem+json'

const Problem = Type.Object(
  {
    type: Type.Literal('about:blank'),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.Optional(Type.String()),
    requestId: Type.Optional(Type.String()),
  },
  { description: 'RFC 9457 problem details; the title says all that the status says.' },
)

/** The error half of a route's response schema: every error has the same shape. */
export const problemResponses = { '4xx': Problem, '5xx': Problem }

function problem(status: number, detail?: string, requestId?: string): Static<typeof Problem> {
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    ...(detail !== undefined && { detail }),
    ...(requestId !== undefined && { requestId }),
  }
}

/**
 * Answers an error as problem details. A client's mistake is explained; what went wrong inside is kept for
 * the log, and the client gets the request id to ask with.
 */
export function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500
  // Shedding load is the pressure plugin at work, not a fault: its stack trace would only add to the load.
  if (status >= 500 && error.code !== 'FST_UNDER_PRESSURE') request.failure = error
  return reply
    .code(status)
    .type(PROBLEM_MEDIA_TYPE)
    .send(problem(status, status < 500 ? error.message : undefined, request.id))
}

/** Answers what never became a request (not HTTP, too slow, headers too large) and drops the connection. */
export function refuseConnection(error: ConnectionError, socket: Socket): void {
  if (socket.writable) {
    const status = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 }[error.code] ?? 400
    const body = JSON.stringify(problem(status))
    socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n` +
        `Content-Type: ${PROBLEM_MEDIA_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
  }
  socket.destroy(error)
}

/** One shape for every error that a client can get. */
export default fp(
  async (app) => {
    app.decorateRequest('failure', null)
    app.setErrorHandler(sendProblem)
    app.setNotFoundHandler((request, reply) =>
      reply
        .code(404)
        .type(PROBLEM_MEDIA_TYPE)
        .send(problem(404, `There is no ${request.method} ${request.url}`, request.id)),
    )
  },
  { name: 'errors' },
)
