import { randomUUID } from 'node:crypto'
import { checkRepetition, type Idempotency } from './idempotency.ts'
import type { TaskQuery, TaskRepository } from './repository.ts'
import { type NewTask, type Position, TASK_DEFAULTS, type Task } from './task.ts'

/**
 * Most tasks, and most idempotency keys, that are kept, so that clients cannot fill the pod's memory. A typical task
 * takes about 0.5 kB, the longest one 8.5 kB: at most 85 MB in all.
 */
const CAPACITY = 10_000

/**
 * Stores tasks in this process: they are lost when it ends, and other replicas do not see them. For a first try and
 * for load tests without a database. At `capacity`, a new task replaces the oldest task, and a new idempotency key
 * replaces the oldest key.
 */
export function memoryTaskRepository(capacity = CAPACITY): TaskRepository {
  const byId = new Map<string, Task>()
  /** The same tasks, oldest first. */
  const sorted: Task[] = []
  const creations = new Map<string, { fingerprint: string; task: Task }>()

  function add({ title, notes, status }: NewTask): Task {
    const now = new Date().toISOString()
    const task: Task = Object.freeze({
      id: randomUUID(),
      title: title.toWellFormed(),
      notes: (notes ?? TASK_DEFAULTS.notes).toWellFormed(),
      status: status ?? TASK_DEFAULTS.status,
      version: 1,
      createdAt: now,
      updatedAt: now,
    })
    byId.set(task.id, task)
    sorted.splice(countBefore(sorted, task), 0, task)
    if (sorted.length > capacity) {
      for (const { id } of sorted.splice(0, 1)) byId.delete(id)
    }
    return task
  }

  function remember({ key, fingerprint }: Idempotency, task: Task): void {
    creations.set(key, { fingerprint, task })
    const oldest = creations.keys().next()
    if (creations.size > capacity && !oldest.done) creations.delete(oldest.value)
  }

  return {
    async create(newTask, idempotency) {
      const first = idempotency && creations.get(idempotency.key)
      if (idempotency === undefined || first === undefined) {
        const task = add(newTask)
        if (idempotency !== undefined) remember(idempotency, task)
        return { task, replayed: false }
      }
      checkRepetition(first, idempotency)
      return { task: first.task, replayed: true }
    },

    async get(id) {
      return byId.get(id)
    },

    async list(query) {
      const tasks: Task[] = []
      const matches = matcher(query)
      const end = query.after === undefined ? sorted.length : countBefore(sorted, query.after)
      for (let index = end - 1; index >= 0; index--) {
        const task = sorted[index]
        if (task === undefined || !matches(task)) continue
        if (tasks.length === query.limit) return { tasks, more: true }
        tasks.push(task)
      }
      return { tasks, more: false }
    },

    async update(id, version, change) {
      const task = byId.get(id)
      if (task === undefined) return 'missing'
      if (version !== undefined && task.version !== version) return 'changed'
      const { title, notes, status } = change
      const changed: Task = Object.freeze({
        ...task,
        title: title?.toWellFormed() ?? task.title,
        notes: notes?.toWellFormed() ?? task.notes,
        status: status ?? task.status,
        version: task.version + 1,
        updatedAt: new Date().toISOString(),
      })
      byId.set(id, changed)
      sorted[countBefore(sorted, task)] = changed
      return changed
    },

    async remove(id, version) {
      const task = byId.get(id)
      if (task === undefined) return 'missing'
      if (version !== undefined && task.version !== version) return 'changed'
      byId.delete(id)
      sorted.splice(countBefore(sorted, task), 1)
      return 'removed'
    },

    async summarize() {
      const summary = { total: sorted.length, open: 0, doing: 0, done: 0 }
      for (const { status } of sorted) summary[status]++
      return summary
    },

    async check() {},

    async close() {},
  }
}

/** How many of `sorted` are older than `position`, by binary search. */
function countBefore(sorted: readonly Position[], position: Position): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const task = sorted[middle]
    if (task !== undefined && isBefore(task, position)) low = middle + 1
    else high = middle
  }
  return low
}

/** ISO 8601 times of one format and lower-case ids sort as text. */
function isBefore(a: Position, b: Position): boolean {
  return a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id)
}

function matcher({ status, title }: TaskQuery): (task: Task) => boolean {
  const text = title?.toWellFormed().toLowerCase() ?? ''
  return (task) => (status === undefined || task.status === status) && task.title.toLowerCase().includes(text)
}
