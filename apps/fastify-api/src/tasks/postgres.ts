import { randomUUID } from 'node:crypto'
import { type ConnectionOptions, Connections, type PoolState, type Query } from '../postgres/connections.ts'
import { checkRepetition, IDEMPOTENCY_HOURS, type Idempotency } from './idempotency.ts'
import type { TaskQuery, TaskRepository } from './repository.ts'
import { type NewTask, TASK_DEFAULTS, type Task, type TaskSummary } from './task.ts'

/**
 * Together shorter than a client or its load balancer waits. Retries bridge a lost connection or the restart of a
 * pooler. A failover takes longer; then the client decides whether to wait.
 */
const DEFAULTS = {
  connectTimeoutMs: 2_000,
  statementTimeoutMs: 5_000,
  retryBudgetMs: 1_500,
}

export type PostgresOptions = Omit<ConnectionOptions, keyof typeof DEFAULTS> & Partial<typeof DEFAULTS>

export interface PostgresTaskRepository extends TaskRepository {
  /** For metrics. */
  pool(): PoolState
}

interface Row {
  id: string
  title: string
  notes: string
  status: Task['status']
  version: number
  created_at: Date
  updated_at: Date
}

/** Named, so that a new column does not change an answer. */
const COLUMNS = 'id, title, notes, status, version, created_at, updated_at'

/** Each creation with a key removes up to this many expired keys, so that no clean-up job is needed. */
const EXPIRED_PER_CREATE = 2

/**
 * Stores tasks in PostgreSQL 13 or later, with the schema that `migrate.ts` creates.
 *
 * Every statement is its own transaction and every call is idempotent, so a call that loses its connection is retried
 * even after the statement was sent: the service chooses the id of a new task, idempotency keys are unique, and a
 * change stores its own id in the row. One case remains: if another client removes a new task between two attempts,
 * the retry creates it again.
 *
 * Throws `StoreUnavailable` when there is no connection, or when the server is out of resources, exceeds the statement
 * timeout (57014) or waits too long for a lock (55P03).
 */
export function postgresTaskRepository(options: PostgresOptions): PostgresTaskRepository {
  const connections = new Connections({ ...DEFAULTS, ...options })

  return {
    create(newTask, idempotency) {
      const id = randomUUID()
      return connections.run((query) =>
        idempotency === undefined ? create(query, id, newTask) : createOnce(query, id, newTask, idempotency),
      )
    },

    get: (id) => connections.run((query) => get(query, id)),

    list: (taskQuery) => connections.run((query) => list(query, taskQuery)),

    update(id, version, { title, notes, status }) {
      const changeId = randomUUID()
      return connections.run(async (query) => {
        const [updated] = await query<Row>({
          text: `
            UPDATE tasks
            SET title = coalesce($4, title), notes = coalesce($5, notes), status = coalesce($6, status),
              version = version + 1, updated_at = now(), change_id = $3
            WHERE id = $1 AND version = coalesce($2, version) AND change_id IS DISTINCT FROM $3
            RETURNING ${COLUMNS}`,
          values: [id, version, changeId, title, notes, status],
        })
        if (updated !== undefined) return toTask(updated)
        const [current] = await query<Row & { mine: boolean | null }>({
          text: `SELECT ${COLUMNS}, change_id = $2 AS mine FROM tasks WHERE id = $1`,
          values: [id, changeId],
        })
        if (current === undefined) return 'missing'
        return current.mine === true ? toTask(current) : 'changed'
      })
    },

    remove(id, version) {
      return connections.run(async (query, repeated) => {
        const removed = await query({
          text: 'DELETE FROM tasks WHERE id = $1 AND version = coalesce($2, version) RETURNING id',
          values: [id, version],
        })
        if (removed.length > 0) return 'removed'
        if ((await get(query, id)) !== undefined) return 'changed'
        // The earlier attempt may have removed it; either way it is gone, as requested.
        return repeated ? 'removed' : 'missing'
      })
    },

    async summarize() {
      const rows = await connections.run((query) =>
        query<{ status: Task['status']; tasks: string }>({
          text: 'SELECT status, count(*) AS tasks FROM tasks GROUP BY status',
        }),
      )
      const summary: TaskSummary = { total: 0, open: 0, doing: 0, done: 0 }
      for (const { status, tasks } of rows) {
        summary[status] = Number(tasks)
        summary.total += Number(tasks)
      }
      return summary
    },

    // Names the table, because a database without the schema cannot serve either.
    check: () => connections.check((query) => query({ text: 'SELECT FROM tasks LIMIT 0' })),

    close: () => connections.close(),

    pool: () => connections.state(),
  }
}

async function create(query: Query, id: string, task: NewTask): Promise<{ task: Task; replayed: boolean }> {
  // A conflict can only be with an earlier attempt of this call. The update changes nothing, but returns the row, so
  // there is always one.
  const [row] = (await query<Row>({
    text: `
      INSERT INTO tasks (id, title, notes, status) VALUES ($1, $2, $3, $4)
      ON CONFLICT (id) DO UPDATE SET id = excluded.id
      RETURNING ${COLUMNS}`,
    values: [id, ...contents(task)],
  })) as [Row]
  return { task: toTask(row), replayed: false }
}

async function createOnce(
  query: Query,
  id: string,
  task: NewTask,
  { key, fingerprint }: Idempotency,
): Promise<{ task: Task; replayed: boolean }> {
  // One statement stores both key and task, or neither. A second request with the key waits in the first INSERT until
  // the first one has committed. Expired keys are deleted afterwards, skipping locked rows, so that no two statements
  // wait for each other.
  const [created] = await query<Row>({
    text: `
      WITH claimed AS (
        INSERT INTO idempotency_keys (key, fingerprint, task_id, title, notes, status)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (key) DO NOTHING
        RETURNING task_id, title, notes, status, created_at
      ), expired AS (
        DELETE FROM idempotency_keys WHERE key = ANY (ARRAY (
          SELECT key FROM idempotency_keys
          WHERE created_at < now() - make_interval(hours => ${IDEMPOTENCY_HOURS})
            AND EXISTS (SELECT FROM claimed)
          ORDER BY created_at LIMIT ${EXPIRED_PER_CREATE}
          FOR UPDATE SKIP LOCKED
        ))
      )
      INSERT INTO tasks (id, title, notes, status, created_at, updated_at)
      SELECT task_id, title, notes, status, created_at, created_at FROM claimed
      RETURNING ${COLUMNS}`,
    values: [key, fingerprint, id, ...contents(task)],
  })
  if (created !== undefined) return { task: toTask(created), replayed: false }

  const [first] = await query<Row & { fingerprint: string }>({
    text: `
      SELECT fingerprint, task_id AS id, title, notes, status, 1 AS version, created_at, created_at AS updated_at
      FROM idempotency_keys WHERE key = $1`,
    values: [key],
  })
  // The key expired between the two statements, so it is new again.
  if (first === undefined) return createOnce(query, id, task, { key, fingerprint })
  checkRepetition(first, { fingerprint })
  return { task: toTask(first), replayed: first.id !== id }
}

async function get(query: Query, id: string): Promise<Task | undefined> {
  const [row] = await query<Row>({
    text: `SELECT ${COLUMNS} FROM tasks WHERE id = $1`,
    values: [id],
  })
  return row && toTask(row)
}

async function list(
  query: Query,
  { status, title, limit, after }: TaskQuery,
): Promise<{ tasks: Task[]; more: boolean }> {
  // PostgreSQL cannot store NUL, so no title contains it.
  if (title?.includes('\0')) return { tasks: [], more: false }

  const values: unknown[] = []
  const parameter = (value: unknown) => `$${values.push(value)}`
  const conditions: string[] = []
  if (status !== undefined) conditions.push(`status = ${parameter(status)}`)
  if (title !== undefined) {
    conditions.push(`lower(title COLLATE "und-x-icu") LIKE ${parameter(containing(title.toLowerCase()))}`)
  }
  if (after !== undefined) {
    conditions.push(`(created_at, id) < (${parameter(after.createdAt)}, ${parameter(after.id)})`)
  }
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`

  // One row more than requested shows whether there is a next page.
  const rows = await query<Row>({
    text: `
      SELECT ${COLUMNS} FROM tasks ${where}
      ORDER BY created_at DESC, id DESC LIMIT ${parameter(limit + 1)}`,
    values,
  })
  return { tasks: rows.slice(0, limit).map(toTask), more: rows.length > limit }
}

/** A LIKE pattern that matches titles with this text; wildcards in the text are escaped. */
function containing(text: string): string {
  return `%${text.replace(/[\\%_]/g, '\\$&')}%`
}

function contents({ title, notes, status }: NewTask): string[] {
  return [title, notes ?? TASK_DEFAULTS.notes, status ?? TASK_DEFAULTS.status]
}

function toTask(row: Row): Task {
  return {
    id: row.id,
    title: row.title,
    notes: row.notes,
    status: row.status,
    version: row.version,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }
}
