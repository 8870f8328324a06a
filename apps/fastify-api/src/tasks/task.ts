/** A task as clients and stores know it. What HTTP accepts and returns is in http-schemas.ts. */
export interface Task {
  id: string
  title: string
  notes: string
  status: TaskStatus
  /** Grows by one with every change. */
  version: number
  /** ISO 8601 with milliseconds. */
  createdAt: string
  updatedAt: string
}

export type TaskStatus = 'open' | 'doing' | 'done'

export interface NewTask {
  title: string
  notes?: string
  status?: TaskStatus
}

/** Values of a new task that the client omits. */
export const TASK_DEFAULTS = { notes: '', status: 'open' } as const

/** A change to a task; absent fields keep their value. */
export type TaskChange = Partial<Pick<Task, 'title' | 'notes' | 'status'>>

/** Numbers of tasks: all of them, and by status. */
export interface TaskSummary extends Record<TaskStatus, number> {
  total: number
}

/** Position of a task in the list: creation time, and the id where times are equal. */
export type Position = Pick<Task, 'createdAt' | 'id'>
