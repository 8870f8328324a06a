import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type Static, type TSchema, Type } from 'typebox'

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
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    detail: Type.Optional(Type.String()),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          in: Type.Enum(['body', 'querystring', 'params', 'headers']),
          pointer: Type.String({ description: 'JSON pointer to the value; empty for all of it.' }),
          detail: Type.String(),
        }),
        { description: 'What is wrong with the input.' },
      ),
    ),
    requestId: Type.Optional(Type.String()),
  },
  { $id: 'Problem', description: 'RFC 9457 problem details; the title says all that the status says.' },
)

/** A schema that is known by its `$id`: one component of the OpenAPI document, however often it is used. */
export function reference<Schema extends TSchema>(schema: Schema & { $id?: string }) {
  return Type.Unsafe<Static<Schema>>({ $ref: `${schema.$id}#` })
}

/** Answers with each of these statuses are problems. */
export function problems<Status extends number>(...statuses: Status[]) {
  const response = (status: number) => ({
    description: STATUS_CODES[status],
    content: { [PROBLEM_MEDIA_TYPE]: { schema: reference(Problem) } },
  })
  return Object.fromEntries(statuses.map((status) => [status, response(status)])) as Record<
    Status,
    ReturnType<typeof response>
  >
}

type ProblemDetails = Static<typeof Problem>

function problem(status: number, more: Partial<ProblemDetails> = {}): ProblemDetails {
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, ...more }
}

/**
 * An answer that is no success, decided by a route.
 *
 * @param detail - says to the client what to do about it
 * @param headers - go with the answer
 */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem'
  readonly code = 'HTTP_PROBLEM'
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>

  constructor(
    statusCode: number,
    detail: string,
    { headers = {}, cause }: { headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail, { cause })
    this.statusCode = statusCode
    this.headers = headers
  }
}

/**
 * Answers an error as problem details. A client's mistake is explained; what went wrong inside is kept for
 * the log, and the client gets the request id to ask with.
 */
export function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, details } = describe(error)
  // Refusing in time, by this service's own decision, is no fault: a stack trace would only add to the load.
  const decided = error instanceof HttpProblem || error.code === 'FST_UNDER_PRESSURE'
  if (status >= 500 && !decided) request.failure = error
  if (error instanceof HttpProblem) reply.headers(error.headers)
  // Serialised here: no route's schema knows the answers that come before or instead of it.
  return reply
    .code(status)
    .type(PROBLEM_MEDIA_TYPE)
    .serializer(JSON.stringify)
    .send(problem(status, { ...details, requestId: request.id }))
}

function describe(error: FastifyError): { status: number; details: Partial<ProblemDetails> } {
  const { validation, validationContext: place } = error
  if (validation !== undefined && place !== undefined) {
    const errors = validation.map(({ instancePath, message = 'is not allowed', params, keyword }) => ({
      in: place as 'body' | 'querystring' | 'params' | 'headers',
      pointer: instancePath,
      detail: keyword === 'additionalProperties' ? `has no "${params['additionalProperty']}"` : message,
    }))
    // A body that can be read and makes no sense is 422; what addresses the resource wrongly is 400.
    return { status: place === 'body' ? 422 : 400, details: { detail: error.message, errors } }
  }
  const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500
  const shown = status < 500 || error instanceof HttpProblem
  return { status, details: shown ? { detail: error.message } : {} }
}

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
    app.addSchema(Problem)
    app.decorateRequest('failure', null)
    app.setErrorHandler(sendProblem)
    app.setNotFoundHandler((request, reply) =>
      sendProblem(
        refusals.get(request.raw) ?? new HttpProblem(404, `There is no ${request.method} ${request.url}`),
        request,
        reply,
      ),
    )
  },
  { name: 'errors' },
)
