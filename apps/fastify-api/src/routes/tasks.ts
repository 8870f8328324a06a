import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { containsTag, matchesAny } from '../http/entity-tags.ts'
import { HttpProblem } from '../problems/http-problem.ts'
import { problems, reference } from '../problems/problem.ts'
import { fromCursor, toCursor } from '../tasks/cursor.ts'
import { NewTask, Task, TaskChange, TaskId, TaskSummary } from '../tasks/http-schemas.ts'
import { IdempotencyKeyReused, idempotencyOf } from '../tasks/idempotency.ts'
import { StoreUnavailable } from '../tasks/repository.ts'
import type { Task as StoredTask } from '../tasks/task.ts'

/** Seconds after which a client may retry; a restarting database is usually back by then. */
const RETRY_AFTER_SECONDS = '2'

/** How long a summary is fresh, and how much longer it is served while a new one is counted, in milliseconds. */
const SUMMARY_FRESHNESS = { freshMs: 2_000, staleMs: 30_000 }
const SUMMARY_KEY = 'tasks-summary'

const ETag = Type.String({ description: 'Version of the task, for If-Match and If-None-Match.' })
const IfMatch = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      maxLength: 1_000,
      description:
        'ETags, one of which must be that of the task, or *. Requests without it are refused with 428.',
    }),
  ),
})
const IdParams = Type.Object({ id: TaskId })

const etag = ({ version }: StoredTask) => `"${version}"`

/** The task list. */
const tasks: FastifyPluginAsyncTypebox = async (app) => {
  for (const schema of [Task, NewTask, TaskChange, TaskSummary]) app.addSchema(schema)

  app.setErrorHandler((error) => {
    if (error instanceof IdempotencyKeyReused) {
      throw new HttpProblem(422, 'This Idempotency-Key was used for a different task: use a new key', {
        type: 'idempotency-key-reused',
        cause: error,
      })
    }
    if (error instanceof StoreUnavailable) {
      throw new HttpProblem(503, 'The task store is unavailable: try again later', {
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
        summary: 'Create a task',
        headers: Type.Object({
          'idempotency-key': Type.Optional(
            Type.String({
              pattern: '^[\\x21-\\x7e]{1,255}$',
              description:
                'Requests with the same key create one task, however often they are sent within a day.',
            }),
          ),
        }),
        body: reference(NewTask),
        response: {
          201: {
            description: 'The task.',
            headers: {
              etag: ETag,
              location: Type.String({ description: 'URL of the task.' }),
              'idempotency-replayed': Type.String({ description: 'Present when the task already existed.' }),
            },
            content: { 'application/json': { schema: reference(Task) } },
          },
          ...problems(400, 413, 415, 422, 429, 503),
        },
      },
    },
    async ({ body, headers }, reply) => {
      const key = headers['idempotency-key']
      const { task, replayed } = await app.tasks.create(
        body,
        key === undefined ? undefined : idempotencyOf(key, body),
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
        summary: 'List tasks, newest first',
        querystring: Type.Object(
          {
            status: Type.Optional(Task.properties.status),
            title: Type.Optional(
              Type.String({
                minLength: 1,
                maxLength: 200,
                pattern: '^[^\\u0000]+$',
                description: 'Text that the title contains, ignoring case.',
              }),
            ),
            limit: Type.Integer({ default: 20, minimum: 1, maximum: 100, description: 'Page size.' }),
            cursor: Type.Optional(
              Type.String({ maxLength: 200, description: 'nextCursor of the previous page.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            items: Type.Array(reference(Task)),
            nextCursor: Type.Optional(
              Type.String({ description: 'Cursor of the next page; absent on the last one.' }),
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
        summary: 'Count tasks',
        description: 'Counted every few seconds at most. Cache-Status (RFC 9211) and Age show how old it is.',
        response: {
          200: {
            description: 'Number of tasks, by status.',
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
        summary: 'Get a task',
        params: IdParams,
        headers: Type.Object({
          'if-none-match': Type.Optional(
            Type.String({ maxLength: 1_000, description: 'ETags of the versions that the client has.' }),
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
            description: 'The client has the current version.',
            headers: { etag: ETag },
          }),
          ...problems(400, 404, 429, 503),
        },
      },
    },
    async ({ params, headers }, reply) => {
      const task = found(await app.tasks.get(params.id), params.id)
      const tag = etag(task)
      // Clients may store it, but must revalidate it each time.
      reply.headers({ etag: tag, 'cache-control': 'private, no-cache' })
      const known = headers['if-none-match']
      if (known === undefined || !(matchesAny(known) || containsTag(known, tag, { weak: true })))
        return reply.send(task)
      // Not `null`: it would be serialised, and the 304 would have the content-length of that text.
      return reply.code(304).send(undefined)
    },
  )

  /** Calls `write` if the task has a version that If-Match lists, or any version if it is `*`. */
  async function onMatch<Result>(
    id: string,
    ifMatch: string | undefined,
    write: (version: number | undefined) => Promise<Result | 'missing' | 'changed'>,
  ): Promise<Result> {
    if (ifMatch === undefined) {
      throw new HttpProblem(428, 'If-Match is missing: send the ETag of the version that you have read')
    }
    const writeIfListed = async () => {
      const task = found(await app.tasks.get(id), id)
      // A weak tag never matches here (RFC 9110, 13.1.1).
      return containsTag(ifMatch, etag(task), { weak: false }) ? write(task.version) : 'changed'
    }
    const result = matchesAny(ifMatch) ? await write(undefined) : await writeIfListed()
    if (result === 'missing') throw notFound(id)
    if (result === 'changed') {
      throw new HttpProblem(412, 'The task has changed: read it again, then retry')
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
        description: 'Of concurrent changes to one version, one succeeds; the others are refused with 412.',
        params: IdParams,
        headers: IfMatch,
        body: reference(TaskChange),
        response: {
          200: {
            description: 'The changed task.',
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
        summary: 'Delete a task',
        params: IdParams,
        headers: IfMatch,
        response: {
          204: Type.Null({ description: 'The task is deleted.' }),
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

function found(task: StoredTask | undefined, id: string): StoredTask {
  if (task === undefined) throw notFound(id)
  return task
}

export default tasks
