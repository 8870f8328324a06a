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

/**
 * What can go wrong, by the name that clients tell it by; the names never change. `help` says what a client does
 * about it. docs/service.md lists them.
 */
export const PROBLEMS = {
  'malformed-request': {
    status: 400,
    title: 'Bad Request',
    help: 'Send valid HTTP, a URL that can be decoded and JSON.',
  },
  'invalid-parameters': { status: 400, title: 'Invalid Parameters', help: '`errors` points at them.' },
  'invalid-cursor': { status: 400, title: 'Invalid Cursor', help: 'Begin without one.' },
  'not-found': { status: 404, title: 'Not Found', help: 'The service has no such route.' },
  'task-not-found': { status: 404, title: 'Task Not Found', help: 'It never existed, or was removed.' },
  'method-not-allowed': { status: 405, title: 'Method Not Allowed', help: '`Allow` lists the methods.' },
  'request-timeout': { status: 408, title: 'Request Timeout', help: 'Send the whole request within 30 s.' },
  'task-changed': { status: 412, title: 'Task Changed', help: 'Read the task again, and decide anew.' },
  'body-too-large': { status: 413, title: 'Payload Too Large', help: 'Send at most 64 KiB.' },
  'unsupported-media-type': {
    status: 415,
    title: 'Unsupported Media Type',
    help: 'Send `application/json`.',
  },
  'invalid-body': { status: 422, title: 'Invalid Body', help: '`errors` points at what is wrong.' },
  'idempotency-key-reused': {
    status: 422,
    title: 'Idempotency Key Reused',
    help: 'The key was used for another task: use a new one.',
  },
  'if-match-missing': { status: 428, title: 'Precondition Required', help: 'Send the `ETag` as `If-Match`.' },
  'rate-limited': { status: 429, title: 'Too Many Requests', help: 'Wait as long as `Retry-After` says.' },
  'headers-too-large': {
    status: 431,
    title: 'Request Header Fields Too Large',
    help: 'Send fewer or shorter headers.',
  },
  'internal-error': { status: 500, title: 'Internal Server Error', help: 'Report it with the `requestId`.' },
  overloaded: { status: 503, title: 'Service Unavailable', help: 'Wait as long as `Retry-After` says.' },
  'store-unavailable': {
    status: 503,
    title: 'Tasks Unavailable',
    help: 'The database does not answer. Wait as long as `Retry-After` says.',
  },
} as const

export type ProblemName = keyof typeof PROBLEMS

/** A URN, not a URL: the same wherever the service is reached. */
const TYPE_PREFIX = 'urn:problem-type:fastify-api:'

/** What a status means where nothing more is known: the first problem that has it. */
const NAME_OF_STATUS = new Map<number, ProblemName>(
  Object.entries(PROBLEMS)
    .toReversed()
    .map(([name, { status }]) => [status, name as ProblemName]),
)

const Problem = Type.Object(
  {
    type: Type.String({
      format: 'uri-reference',
      description: `${TYPE_PREFIX}<name>, for machines: ${Object.keys(PROBLEMS).join(', ')}.`,
      examples: [`${TYPE_PREFIX}task-changed`],
    }),
    title: Type.String({ examples: [PROBLEMS['task-changed'].title] }),
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
  {
    $id: 'Problem',
    description: 'RFC 9457 problem details; `about:blank` where the status says everything.',
  },
)

/** A schema that is known by its `$id`: one component of the OpenAPI document, however often it is used. */
export function reference<Schema extends TSchema>(schema: Schema & { $id?: string }) {
  return Type.Unsafe<Static<Schema>>({ $ref: `${schema.$id}#` })
}

const RETRY_AFTER = { 'retry-after': Type.Integer({ description: 'Seconds to wait.', examples: [2] }) }

/** Headers of refusals that pass. */
const HEADERS: Record<number, Record<string, TSchema>> = {
  429: {
    ...RETRY_AFTER,
    'x-ratelimit-limit': Type.Integer({ description: 'Requests a minute that this client may send.' }),
    'x-ratelimit-remaining': Type.Integer({ description: 'Requests that are left of them.' }),
    'x-ratelimit-reset': Type.Integer({ description: 'Seconds until they are as many again.' }),
  },
  503: RETRY_AFTER,
}

/** Answers with each of these statuses are problems. */
export function problems<Status extends number>(...statuses: Status[]) {
  const response = (status: number) => ({
    description: STATUS_CODES[status],
    ...(status in HEADERS && { headers: HEADERS[status] }),
    content: { [PROBLEM_MEDIA_TYPE]: { schema: reference(Problem) } },
  })
  return Object.fromEntries(statuses.map((status) => [status, response(status)])) as Record<
    Status,
    ReturnType<typeof response>
  >
}

type ProblemDetails = Static<typeof Problem>

function problem(
  status: number,
  more: Partial<ProblemDetails> = {},
  name = NAME_OF_STATUS.get(status),
): ProblemDetails {
  return name === undefined
    ? { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, ...more }
    : { type: TYPE_PREFIX + name, title: PROBLEMS[name].title, status, ...more }
}

/**
 * An answer that is no success, decided by a route.
 *
 * @param detail - says to the client what to do about it
 * @param options - `type`: which of the problems of this status it is, if there are several; `headers` go with
 *   the answer
 */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem'
  readonly code = 'HTTP_PROBLEM'
  readonly statusCode: number
  readonly type: ProblemName | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    statusCode: number,
    detail: string,
    {
      type,
      headers = {},
      cause,
    }: { type?: ProblemName; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail, { cause })
    this.statusCode = statusCode
    this.type = type
    this.headers = headers
  }
}

/**
 * Answers an error as problem details. A client's mistake is explained; what went wrong inside is kept for
 * the log, and the client gets the request id to ask with.
 */
export function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, details, type } = describe(error)
  // Refusing in time, by this service's own decision, is no fault: a stack trace would only add to the load.
  const decided = error instanceof HttpProblem || error.code === 'FST_UNDER_PRESSURE'
  if (status >= 500 && !decided) request.failure = error
  if (error instanceof HttpProblem) reply.headers(error.headers)
  // Serialised here: no route's schema knows the answers that come before or instead of it.
  return reply
    .code(status)
    .type(PROBLEM_MEDIA_TYPE)
    .serializer(JSON.stringify)
    .send(problem(status, { ...details, requestId: request.id }, type))
}

interface Description {
  status: number
  details: Partial<ProblemDetails>
  type?: ProblemName | undefined
}

function describe(error: FastifyError): Description {
  const { validation, validationContext: place } = error
  if (validation !== undefined && place !== undefined) {
    const errors = validation.map(({ instancePath, message = 'is not allowed', params, keyword }) => ({
      in: place as 'body' | 'querystring' | 'params' | 'headers',
      pointer: instancePath,
      detail: keyword === 'additionalProperties' ? `has no "${params['additionalProperty']}"` : message,
    }))
    // A body that can be read and makes no sense is 422; what addresses the resource wrongly is 400.
    const type = place === 'body' ? 'invalid-body' : 'invalid-parameters'
    return { status: PROBLEMS[type].status, details: { detail: error.message, errors }, type }
  }
  const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500
  const shown = status < 500 || error instanceof HttpProblem
  const type = error instanceof HttpProblem ? error.type : undefined
  return { status, details: shown ? { detail: error.message } : {}, type }
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
