import type { Idempotency } from './idempotency.ts'
import type { NewTask, Position, Task, TaskChange, TaskStatus, TaskSummary } from './task.ts'

/** Selects tasks, newest first. */
export interface TaskQuery {
  status?: TaskStatus | undefined
  /** Text that the title contains, ignoring case; there are no wildcards. */
  title?: string | undefined
  /** Most tasks to return. */
  limit: number
  /** Only tasks after this position, which is the last one of the previous page. */
  after?: Position | undefined
}

/** Stores tasks. All implementations behave the same: one test suite runs against each of them. */
export interface TaskRepository {
  /**
   * Stores a new task. Requests with the same idempotency key create one task, however often and concurrently they
   * arrive, and all return it; `replayed` is false only for the one that created it.
   *
   * @throws {@link IdempotencyKeyReused} when the key was used for a different task
   */
  create(task: NewTask, idempotency?: Idempotency): Promise<{ task: Task; replayed: boolean }>
  get(id: string): Promise<Task | undefined>
  /** One page, newest first; `more` is true when older tasks match as well. */
  list(query: TaskQuery): Promise<{ tasks: Task[]; more: boolean }>
  /**
   * Changes the task if it still has `version`; of concurrent changes to one version exactly one succeeds.
   * With `undefined`, changes any version.
   */
  update(id: string, version: number | undefined, change: TaskChange): Promise<Task | 'missing' | 'changed'>
  /** Removes the task if it still has `version`; with `undefined`, removes any version. */
  remove(id: string, version: number | undefined): Promise<'removed' | 'missing' | 'changed'>
  /** Counts all tasks. It reads all of them, so callers should cache the result. */
  summarize(): Promise<TaskSummary>
  /**
   * Checks within two seconds that the store answers.
   *
   * @throws {@link StoreUnavailable} when it does not
   */
  check(): Promise<void>
  /** Closes connections after the calls in progress have ended. */
  close(): Promise<void>
}

/** The store could not be reached or did not answer, after retries. The same call may succeed later. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}
