import { STATUS_CODES } from 'node:http'
import { type Static, type TSchema, Type } from 'typebox'
import { PROBLEMS, type ProblemName } from './catalogue.ts'

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

/** A URN instead of a URL, so that it does not depend on the service's address. */
const TYPE_PREFIX = 'urn:problem-type:fastify-api:'

/** The problem that a status stands for when nothing more is known: the first in the catalogue that has it. */
const NAME_OF_STATUS = new Map<number, ProblemName>(
  Object.entries(PROBLEMS)
    .toReversed()
    .map(([name, { status }]) => [status, name as ProblemName]),
)

export const Problem = Type.Object(
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
          pointer: Type.String({
            description: 'JSON pointer to the invalid value; empty for the whole input.',
          }),
          detail: Type.String(),
        }),
        { description: 'Errors in the input.' },
      ),
    ),
    requestId: Type.Optional(Type.String()),
  },
  {
    $id: 'Problem',
    description: 'RFC 9457 problem details. `type` is `about:blank` if the status is the only information.',
  },
)

/** A reference to a schema by its `$id`, so that it is one component of the OpenAPI document. */
export function reference<Schema extends TSchema>(schema: Schema & { $id?: string }) {
  return Type.Unsafe<Static<Schema>>({ $ref: `${schema.$id}#` })
}

const RETRY_AFTER = {
  'retry-after': Type.Integer({ description: 'Seconds to wait before a retry.', examples: [2] }),
}

/** Headers of temporary refusals. */
const HEADERS: Record<number, Record<string, TSchema>> = {
  429: {
    ...RETRY_AFTER,
    'x-ratelimit-limit': Type.Integer({ description: 'Requests a minute that a client may send.' }),
    'x-ratelimit-remaining': Type.Integer({ description: 'Requests that remain in this minute.' }),
    'x-ratelimit-reset': Type.Integer({ description: 'Seconds until the limit is reset.' }),
  },
  503: RETRY_AFTER,
}

/** Response schemas that declare a problem for each status. */
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

export type ProblemDetails = Static<typeof Problem>

/** The body of a problem; by default of the problem that the status stands for. */
export function problem(
  status: number,
  more: Partial<ProblemDetails> = {},
  name = NAME_OF_STATUS.get(status),
): ProblemDetails {
  return name === undefined
    ? { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, ...more }
    : { type: TYPE_PREFIX + name, title: PROBLEMS[name].title, status, ...more }
}
