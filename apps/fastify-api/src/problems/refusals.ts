import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { HttpProblem } from './http-problem.ts'
import { PROBLEM_MEDIA_TYPE, problem } from './problem.ts'

/** Requests that the router refused, and why. */
const refusals = new WeakMap<IncomingMessage, FastifyError>()

/** A path that no route has. */
const UNROUTED = '/refused'

/**
 * Answers what the router refuses, such as a path that cannot be decoded. Such a request meets no hook, so it is
 * routed again as one that matches no route: it is limited, counted, logged and answered like every other.
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
