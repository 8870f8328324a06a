import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { PROBLEMS, type ProblemName } from './catalogue.ts'
import { HttpProblem } from './http-problem.ts'
import { PROBLEM_MEDIA_TYPE, type ProblemDetails, problem } from './problem.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The unexpected error of this request. It is logged, but never sent to the client. */
    failure: FastifyError | null
  }
}

/**
 * Answers an error as problem details. Client errors are explained. Internal errors go to the log only; the client
 * gets the request id to report.
 */
export function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, details, type } = describe(error)
  // Deliberate refusals are not defects, so they are logged without a stack trace, which would add to the load.
  const decided = error instanceof HttpProblem || error.code === 'FST_UNDER_PRESSURE'
  if (status >= 500 && !decided) request.failure = error
  if (error instanceof HttpProblem) reply.headers(error.headers)
  // Serialised here, because errors also occur before a route and its schemas are known.
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
    // An invalid body is 422; invalid parameters are 400.
    const type = place === 'body' ? 'invalid-body' : 'invalid-parameters'
    return { status: PROBLEMS[type].status, details: { detail: error.message, errors }, type }
  }
  const status = error.statusCode !== undefined && error.statusCode >= 400 ? error.statusCode : 500
  const shown = status < 500 || error instanceof HttpProblem
  const type = error instanceof HttpProblem ? error.type : undefined
  return { status, details: shown ? { detail: error.message } : {}, type }
}
