import { type Static, Type } from 'typebox'

/** Longest title and notes, in characters: what fits a line and a page. */
const LONGEST = { title: 200, notes: 4_000 } as const

/** What a client decides of a task. Control characters, NUL above all, are no text: PostgreSQL cannot store it. */
const taskFields = {
  title: Type.String({
    minLength: 1,
    maxLength: LONGEST.title,
    pattern: '^[^\\u0000-\\u001f\\u007f]+$',
    description: 'What is to be done, in one line.',
  }),
  notes: Type.String({
    maxLength: LONGEST.notes,
    pattern: '^[^\\u0000]*$',
    description: 'Whatever else there is to say.',
  }),
  status: Type.Enum(['open', 'doing', 'done'], { description: 'How far it is.' }),
}

export const NewTask = Type.Object(
  {
    title: taskFields.title,
    notes: Type.Optional(taskFields.notes),
    status: Type.Optional(taskFields.status),
  },
  {
    $id: 'NewTask',
    additionalProperties: false,
    examples: [{ title: 'Water the plants', notes: 'Not the cactus' }],
  },
)
export type NewTask = Static<typeof NewTask>

/** What a new task is where the client does not say. */
export const TASK_DEFAULTS = { notes: '', status: 'open' } as const

/** A change to a task: what is absent stays as it is. */
export const TaskChange = Type.Partial(Type.Object(taskFields), {
  $id: 'TaskChange',
  examples: [{ status: 'done' }],
  additionalProperties: false,
  minProperties: 1,
})
export type TaskChange = Static<typeof TaskChange>

/** A UUID in lower case, so that one task has one URL: the source of a regular expression. */
export const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'

export const TaskId = Type.String({
  // Not `format: uuid`, which allows a prefix.
  pattern: `^${UUID}$`,
  description: 'A UUID in lower case.',
})

export const Task = Type.Object(
  {
    id: TaskId,
    ...taskFields,
    version: Type.Integer({ minimum: 1, description: 'Grows with every change; the ETag carries it.' }),
    createdAt: Type.String({ format: 'date-time' }),
    updatedAt: Type.String({ format: 'date-time' }),
  },
  {
    $id: 'Task',
    examples: [
      {
        id: '2f1f1c9e-6f5b-4c59-9d5b-0d3c8a4a8f10',
        title: 'Water the plants',
        notes: 'Not the cactus',
        status: 'open',
        version: 1,
        createdAt: '2026-11-21T10:00:00.000Z',
        updatedAt: '2026-11-21T10:00:00.000Z',
      },
    ],
  },
)
export type Task = Static<typeof Task>

export const TaskSummary = Type.Object(
  {
    total: Type.Integer({ minimum: 0 }),
    open: Type.Integer({ minimum: 0 }),
    doing: Type.Integer({ minimum: 0 }),
    done: Type.Integer({ minimum: 0 }),
  },
  { $id: 'TaskSummary', examples: [{ total: 3, open: 2, doing: 0, done: 1 }] },
)
export type TaskSummary = Static<typeof TaskSummary>

/** Which tasks, newest first. */
export interface TaskQuery {
  status?: Task['status'] | undefined
  /** Text that the title contains, without regard to case; every character stands for itself. */
  title?: string | undefined
  /** At most so many. */
  limit: number
  /** Only tasks older than this one, which the caller got from a former page. */
  after?: Position | undefined
}

/** Where a task stands in the list: creation time (ISO 8601, milliseconds), and the id where times are equal. */
export type Position = Pick<Task, 'createdAt' | 'id'>

/** A request to create, told apart from its repetitions. */
export interface Idempotency {
  key: string
  /** Of what is asked for: the same key with another fingerprint is a mistake of the client. */
  fingerprint: string
}

/** Where tasks are kept. Implementations agree to the letter: one test suite runs against all of them. */
export interface TaskRepository {
  /**
   * Keeps a new task. With `idempotency`, as often and as concurrently as the same key arrives, there is one task
   * and all get it; `replayed` tells those from the one that made it. Keys are kept for
   * {@link IDEMPOTENCY_HOURS} at least.
   *
   * @throws {@link IdempotencyKeyReused} when the key came with another fingerprint before.
   */
  create(task: NewTask, idempotency?: Idempotency): Promise<{ task: Task; replayed: boolean }>
  get(id: string): Promise<Task | undefined>
  /** One page, newest first; `more` tells whether older ones match. */
  list(query: TaskQuery): Promise<{ tasks: Task[]; more: boolean }>
  /**
   * Changes the task if it still has `version`; of several that race with the same version exactly one wins.
   * `undefined` changes it whatever its version.
   */
  update(id: string, version: number | undefined, change: TaskChange): Promise<Task | 'missing' | 'changed'>
  /** Removes the task if it still has `version`; `undefined` removes it whatever its version. */
  remove(id: string, version: number | undefined): Promise<'removed' | 'missing' | 'changed'>
  /** Counts all tasks: reads them all, so it is worth caching. */
  summarize(): Promise<TaskSummary>
  /**
   * Asks whether the store answers, within a second or two.
   *
   * @throws {@link StoreUnavailable} when it does not.
   */
  check(): Promise<void>
  /** Lets go of connections; calls in progress end first. */
  close(): Promise<void>
}

/** For so many hours a repeated idempotency key is recognised. */
export const IDEMPOTENCY_HOURS = 24

/** The key of this creation stands for another one. */
export class IdempotencyKeyReused extends Error {
  override readonly name = 'IdempotencyKeyReused'
}

/** The store cannot be reached or cannot answer now, after retries; the same call may succeed later. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}
