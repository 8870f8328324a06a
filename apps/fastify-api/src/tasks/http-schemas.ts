/** The JSON Schemas of tasks in requests and answers. */
import { Type } from 'typebox'

/** Longest title and notes, in characters: a line and a page. */
const LONGEST = { title: 200, notes: 4_000 } as const

/** Fields that clients set. Control characters are refused; PostgreSQL cannot store NUL at all. */
const taskFields = {
  title: Type.String({
    minLength: 1,
    maxLength: LONGEST.title,
    pattern: '^[^\\u0000-\\u001f\\u007f]+$',
    description: 'What to do, in one line.',
  }),
  notes: Type.String({
    maxLength: LONGEST.notes,
    pattern: '^[^\\u0000]*$',
    description: 'Further details.',
  }),
  status: Type.Enum(['open', 'doing', 'done'], { description: 'Progress of the task.' }),
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

/** A change to a task; absent fields keep their value. */
export const TaskChange = Type.Partial(Type.Object(taskFields), {
  $id: 'TaskChange',
  examples: [{ status: 'done' }],
  additionalProperties: false,
  minProperties: 1,
})

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
    version: Type.Integer({
      minimum: 1,
      description: 'Grows by one with every change; the ETag contains it.',
    }),
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

export const TaskSummary = Type.Object(
  {
    total: Type.Integer({ minimum: 0 }),
    open: Type.Integer({ minimum: 0 }),
    doing: Type.Integer({ minimum: 0 }),
    done: Type.Integer({ minimum: 0 }),
  },
  { $id: 'TaskSummary', examples: [{ total: 3, open: 2, doing: 0, done: 1 }] },
)
