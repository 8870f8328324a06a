import { randomUUID } from 'node:crypto'
import { type ConnectionOptions, Connections, type PoolState, type Query } from './postgres-connections.ts'
import {
  IDEMPOTENCY_HOURS,
  type Idempotency,
  IdempotencyKeyReused,
  type NewTask,
  TASK_DEFAULTS,
  type Task,
  type TaskQuery,
  type TaskRepository,
  type TaskSummary,
} from './repository.ts'

/**
 * Together shorter than a client, or the balancer before it, waits. Retries bridge a restart of a connection or a
 * pooler; a failover takes longer, and then the client knows best whether to wait.
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

/** By name, so that a new column does not change an answer. */
const COLUMNS = 'id, title, notes, status, version, created_at, updated_at'

/** Creating once removes so many keys that are too old, if there are as many: they become fewer, job or no job. */
const EXPIRED_PER_CREATE = 2

/**
 * Keeps tasks in PostgreSQL, 13 or later, with the schema that `migrate.ts` makes.
 *
 * Every statement is a transaction of its own, and every call bears repetition, so a call whose connection is
 * lost is repeated for a second or two even when it had been sent, without doing anything twice: a new task's id
 * is chosen here, an idempotency key is unique, a change leaves its own id in the row. What is left is a task
 * that somebody else removes in between: a repeated creation makes it again.
 *
 * Throws `StoreUnavailable` when no connection can be had, the connection is lost for longer, or the server is
 * out of resources, takes longer than the statement timeout (57014) or waits too long for a lock (55P03).
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
        // It was there to be removed as far as anyone can tell, and it is gone as was asked for.
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

    // Names the table: a server without the schema cannot serve either.
    check: () => connections.check((query) => query({ text: 'SELECT FROM tasks LIMIT 0' })),

    close: () => connections.close(),

    pool: () => connections.state(),
  }
}

async function create(query: Query, id: string, task: NewTask): Promise<{ task: Task; replayed: boolean }> {
  // A conflict is with the same call's earlier attempt; the update changes nothing, it makes the row return. So
  // there always is one.
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
  // One statement: key and task are kept together or not at all. Who comes second with a key waits in the first
  // INSERT for the first to commit. Expired keys go after that, and none that another statement holds, so that
  // no two statements wait for each other.
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

  const [former] = await query<Row & { fingerprint: string }>({
    text: `
      SELECT fingerprint, task_id AS id, title, notes, status, 1 AS version, created_at, created_at AS updated_at
      FROM idempotency_keys WHERE key = $1`,
    values: [key],
  })
  // It expired between the two statements: now it is a new key.
  if (former === undefined) return createOnce(query, id, task, { key, fingerprint })
  if (former.fingerprint !== fingerprint) {
    throw new IdempotencyKeyReused('the idempotency key came with another request before')
  }
  return { task: toTask(former), replayed: former.id !== id }
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
  // PostgreSQL's text cannot hold NUL, so no title contains it.
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

  // One row more than requested shows that there is a next page.
  const rows = await query<Row>({
    text: `
      SELECT ${COLUMNS} FROM tasks ${where}
      ORDER BY created_at DESC, id DESC LIMIT ${parameter(limit + 1)}`,
    values,
  })
  return { tasks: rows.slice(0, limit).map(toTask), more: rows.length > limit }
}

/** A LIKE pattern for titles with this text, in which no character has a meaning of its own. */
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
