import { createHash } from 'node:crypto'
import type { NewTask } from './task.ts'

/** A repeated idempotency key is recognised for at least this many hours. */
export const IDEMPOTENCY_HOURS = 24

/** The client's key for a request to create a task. */
export interface Idempotency {
  key: string
  /** Identifies the task that was requested. */
  fingerprint: string
}

/** The key was used before, for a different task. */
export class IdempotencyKeyReused extends Error {
  override readonly name = 'IdempotencyKeyReused'
}

/** The key with the fingerprint of the requested task; the order of the fields does not matter. */
export function idempotencyOf(key: string, { title, notes, status }: NewTask): Idempotency {
  const fingerprint = createHash('sha256').update(JSON.stringify({ title, notes, status })).digest('hex')
  return { key, fingerprint }
}

/**
 * Checks that a request repeats the one that used its key first.
 *
 * @throws {@link IdempotencyKeyReused} when the key was used for a different task
 */
export function checkRepetition(first: { fingerprint: string }, repeated: { fingerprint: string }): void {
  if (first.fingerprint !== repeated.fingerprint) {
    throw new IdempotencyKeyReused('the idempotency key was used for a different task')
  }
}
