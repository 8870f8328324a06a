import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { HttpProblem } from './http-problem.ts'
import { PROBLEM_MEDIA_TYPE, problem } from './problem.ts'

/** The errors of requests that the router refused. */
const refusals = new WeakMap<IncomingMessage, FastifyError>()

/** A path without a route. */
const UNROUTED = '/refused'

/**
 * Answers requests that the router refuses, such as a path that cannot be decoded. No hook runs for them, so they are
 * routed again to a path without a route. Then they are limited, counted, logged and answered like all others.
 */
export function refuseRoute(error: FastifyError, { raw, server }: FastifyRequest, reply: FastifyReply): void {
  refusals.set(raw, error)
  Object.assign(raw, { url: UNROUTED, originalUrl: raw.url })
  server.routing(raw, reply.raw)
}

/** Why a request reached no route: the router refused it, or there is no such route. */
export function whyUnrouted(request: FastifyRequest): FastifyError {
  return refusals.get(request.raw) ?? new HttpProblem(404, `There is no ${request.method} ${request.url}`)
}

/** Answers input that never became a request (not HTTP, too slow, headers too large) and closes the connection. */
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
