import { createHash } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { HttpProblem, problems, reference } from '../plugins/errors.ts'
import {
  IdempotencyKeyReused,
  NewTask,
  type Position,
  StoreUnavailable,
  Task,
  TaskChange,
  TaskId,
  TaskSummary,
  UUID,
} from '../tasks/repository.ts'

/** Seconds after which a client may try again: a database that restarts is back by then. */
const RETRY_AFTER_SECONDS = '2'

/** How long a summary is served as it is, and how long then while a new one is counted, in milliseconds. */
const SUMMARY_FRESHNESS = { freshMs: 2_000, staleMs: 30_000 }
const SUMMARY_KEY = 'tasks-summary'

const ETag = Type.String({ description: 'Version of the task, for If-Match and If-None-Match.' })
const IfMatch = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      maxLength: 1_000,
      description: 'ETags of which the task must have one, or *. Without it the request is refused with 428.',
    }),
  ),
})
const IdParams = Type.Object({ id: TaskId })

const etag = ({ version }: Task) => `"${version}"`

/** Whether `header` (If-Match, If-None-Match) is `*`: any version will do. It is not a member of a list of tags. */
const isAny = (header: string) => header.trim() === '*'

/** An entity tag, with the mark of a weak one apart. A comma or `W/` may also be part of its quoted text. */
const ENTITY_TAG = /(W\/)?("[^"]*")/g

/** Whether the list names this entity tag; with `weak`, a tag that is marked as weak counts too (RFC 9110, 8.8.3.2). */
function names(list: string, tag: string, { weak }: { weak: boolean }): boolean {
  return [...list.matchAll(ENTITY_TAG)].some(([, mark, text]) => text === tag && (weak || mark === undefined))
}

/** The place behind which the next page begins, as a text that clients hand back as they got it. */
const toCursor = ({ createdAt, id }: Position) => Buffer.from(`${createdAt} ${id}`).toString('base64url')

const CURSOR = new RegExp(`^(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z) (${UUID})$`)

function fromCursor(cursor: string): Position {
  const [, createdAt, id] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (createdAt === undefined || id === undefined || !isTime(createdAt)) {
    throw new HttpProblem(400, 'cursor is none that this service has given: begin without one', {
      type: 'invalid-cursor',
    })
  }
  return { createdAt, id }
}

/** Whether the day exists: JavaScript reads 31 February as 3 March, and PostgreSQL has no year 0. */
function isTime(text: string): boolean {
  const time = new Date(text)
  return !Number.isNaN(time.valueOf()) && time.toISOString() === text && !text.startsWith('0000')
}

/** The task list. */
const tasks: FastifyPluginAsyncTypebox = async (app) => {
  for (const schema of [Task, NewTask, TaskChange, TaskSummary]) app.addSchema(schema)

  app.setErrorHandler((error) => {
    if (error instanceof IdempotencyKeyReused) {
      throw new HttpProblem(422, 'This Idempotency-Key was used for another task: use a new one', {
        type: 'idempotency-key-reused',
        cause: error,
      })
    }
    if (error instanceof StoreUnavailable) {
      throw new HttpProblem(503, 'The tasks cannot be reached now: try again', {
        type: 'store-unavailable',
        headers: { 'retry-after': RETRY_AFTER_SECONDS },
        cause: error,
      })
    }
    throw error
  })

  const changed = () => app.cache.delete(SUMMARY_KEY)

  app.post(
    '/api/v1/tasks',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'createTask',
        summary: 'Add a task',
        headers: Type.Object({
          'idempotency-key': Type.Optional(
            Type.String({
              pattern: '^[\\x21-\\x7e]{1,255}$',
              description:
                'However often a request with the same key is sent within a day, there is one task.',
            }),
          ),
        }),
        body: reference(NewTask),
        response: {
          201: {
            description: 'The task.',
            headers: {
              etag: ETag,
              location: Type.String({ description: 'Where the task is.' }),
              'idempotency-replayed': Type.String({ description: 'Present when the task was there before.' }),
            },
            content: { 'application/json': { schema: reference(Task) } },
          },
          ...problems(400, 413, 415, 422, 429, 503),
        },
      },
    },
    async ({ body, headers }, reply) => {
      const key = headers['idempotency-key']
      // In one order, whatever order the client sent them in.
      const { title, notes, status } = body
      const fingerprint = () =>
        createHash('sha256').update(JSON.stringify({ title, notes, status })).digest('hex')
      const { task, replayed } = await app.tasks.create(
        body,
        key === undefined ? undefined : { key, fingerprint: fingerprint() },
      )
      if (replayed) reply.header('idempotency-replayed', 'true')
      else await changed()
      return reply
        .code(201)
        .headers({ etag: etag(task), location: `/api/v1/tasks/${task.id}` })
        .send(task)
    },
  )

  app.get(
    '/api/v1/tasks',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'listTasks',
        summary: 'Tasks, newest first',
        querystring: Type.Object(
          {
            status: Type.Optional(Task.properties.status),
            title: Type.Optional(
              Type.String({
                minLength: 1,
                maxLength: 200,
                pattern: '^[^\\u0000]+$',
                description: 'Text that the title contains, in upper or lower case.',
              }),
            ),
            limit: Type.Integer({ default: 20, minimum: 1, maximum: 100, description: 'Length of a page.' }),
            cursor: Type.Optional(
              Type.String({ maxLength: 200, description: 'nextCursor of the page before.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            items: Type.Array(reference(Task)),
            nextCursor: Type.Optional(
              Type.String({ description: 'For the next page; absent on the last one.' }),
            ),
          }),
          ...problems(400, 429, 503),
        },
      },
    },
    async ({ query: { status, title, limit, cursor } }) => {
      const after = cursor === undefined ? undefined : fromCursor(cursor)
      const { tasks: items, more } = await app.tasks.list({ status, title, limit, after })
      const last = items.at(-1)
      return { items, ...(more && last !== undefined && { nextCursor: toCursor(last) }) }
    },
  )

  app.get(
    '/api/v1/tasks/summary',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'summarizeTasks',
        summary: 'How many tasks there are',
        description: 'Counted every few seconds at most: Cache-Status (RFC 9211) and Age tell how old it is.',
        response: {
          200: {
            description: 'Numbers of tasks.',
            headers: {
              'cache-status': Type.String({ description: 'Whether it came from the cache.' }),
              age: Type.Integer({ description: 'Seconds since it was counted.' }),
            },
            content: { 'application/json': { schema: reference(TaskSummary) } },
          },
          ...problems(400, 429, 503),
        },
      },
    },
    async (_request, reply) => {
      const { value, outcome, age } = await app.cache.get(SUMMARY_KEY, SUMMARY_FRESHNESS, () =>
        app.tasks.summarize(),
      )
      const status = { hit: 'hit', stale: 'hit; detail=stale', miss: 'fwd=miss' }[outcome]
      return reply.headers({ 'cache-status': `fastify-api; ${status}`, age }).send(value)
    },
  )

  app.get(
    '/api/v1/tasks/:id',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'readTask',
        summary: 'One task',
        params: IdParams,
        headers: Type.Object({
          'if-none-match': Type.Optional(
            Type.String({ maxLength: 1_000, description: 'ETags of what the client has.' }),
          ),
        }),
        response: {
          200: {
            description: 'The task.',
            headers: { etag: ETag },
            content: { 'application/json': { schema: reference(Task) } },
          },
          304: Type.Unsafe<undefined>({
            type: 'null',
            description: 'The client has it.',
            headers: { etag: ETag },
          }),
          ...problems(400, 404, 429, 503),
        },
      },
    },
    async ({ params, headers }, reply) => {
      const task = found(await app.tasks.get(params.id), params.id)
      const tag = etag(task)
      // To be kept, but asked about each time.
      reply.headers({ etag: tag, 'cache-control': 'private, no-cache' })
      const known = headers['if-none-match']
      if (known === undefined || !(isAny(known) || names(known, tag, { weak: true }))) return reply.send(task)
      // Not `null`, which would be serialised, and a 304 would state the length of that text.
      return reply.code(304).send(undefined)
    },
  )

  /** Applies `write` to the version of the task that the client has seen; to any version if that is `*`. */
  async function onMatch<Result>(
    id: string,
    ifMatch: string | undefined,
    write: (version: number | undefined) => Promise<Result | 'missing' | 'changed'>,
  ): Promise<Result> {
    if (ifMatch === undefined) {
      throw new HttpProblem(428, 'If-Match is missing: send the ETag of the version that you have seen')
    }
    const writeIfNamed = async () => {
      const task = found(await app.tasks.get(id), id)
      // A weak tag never matches here (RFC 9110, 13.1.1).
      return names(ifMatch, etag(task), { weak: false }) ? write(task.version) : 'changed'
    }
    const result = isAny(ifMatch) ? await write(undefined) : await writeIfNamed()
    if (result === 'missing') throw notFound(id)
    if (result === 'changed') {
      throw new HttpProblem(412, 'The task has changed since: read it again, and decide anew')
    }
    await changed()
    return result as Result
  }

  app.patch(
    '/api/v1/tasks/:id',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'updateTask',
        summary: 'Change a task',
        description: 'Of several changes to the same version one is made, the others are refused with 412.',
        params: IdParams,
        headers: IfMatch,
        body: reference(TaskChange),
        response: {
          200: {
            description: 'The task as it is now.',
            headers: { etag: ETag },
            content: { 'application/json': { schema: reference(Task) } },
          },
          ...problems(400, 404, 412, 413, 415, 422, 428, 429, 503),
        },
      },
    },
    async ({ params: { id }, headers, body }, reply) => {
      const task = await onMatch(id, headers['if-match'], (version) => app.tasks.update(id, version, body))
      return reply.header('etag', etag(task)).send(task)
    },
  )

  app.delete(
    '/api/v1/tasks/:id',
    {
      schema: {
        tags: ['tasks'],
        operationId: 'deleteTask',
        summary: 'Remove a task',
        params: IdParams,
        headers: IfMatch,
        response: {
          204: Type.Null({ description: 'It is gone.' }),
          ...problems(400, 404, 412, 428, 429, 503),
        },
      },
    },
    async ({ params: { id }, headers }, reply) => {
      await onMatch(id, headers['if-match'], (version) => app.tasks.remove(id, version))
      return reply.code(204).send(null)
    },
  )
}

function notFound(id: string): HttpProblem {
  return new HttpProblem(404, `There is no task ${id}`, { type: 'task-not-found' })
}

function found(task: Task | undefined, id: string): Task {
  if (task === undefined) throw notFound(id)
  return task
}

export default tasks
