import { DatabaseError } from 'pg'
import { StoreUnavailable } from '../tasks/repository.ts'

/**
 * Longest pauses before the first and before any later retry. Each pause is three times as long as the one before,
 * minus up to half of it at random. With the retry budget of 1.5 s a call makes at most seven attempts.
 */
export const RETRY_PAUSE_MS = { first: 50, longest: 800 } as const

/**
 * SQLSTATEs after which the call may succeed soon on another connection. In each case the statement either had no
 * effect or detects its own repetition.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const TRANSIENT = new Set([
  '08P01', // protocol_violation: PgBouncer reports a lost server this way
  '25006', // read_only_sql_transaction: the former primary after a failover
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now: the server is starting or recovering
])

/**
 * SQLSTATEs after which a retry would only add to the load: out of resources (class 53), system error (58), statement
 * timeout (57014), lock timeout (55P03).
 */
const UNAVAILABLE = /^(?:53|58|57014|55P03)/

/** An attempt failed because the connection or the server did not work. `transient`: a retry may help. */
export class AttemptFailed extends Error {
  override readonly name = 'AttemptFailed'
  override readonly cause: Error
  readonly transient: boolean

  constructor(cause: Error, transient: boolean) {
    super(cause.message)
    this.cause = cause
    this.transient = transient
  }
}

/** Decides whether a failed statement is retried. An error that the server did not report is a lost connection. */
export function judge(error: Error): Error {
  if (!(error instanceof DatabaseError)) return new AttemptFailed(error, true)
  const code = String(error.code)
  if (TRANSIENT.has(code)) return new AttemptFailed(error, true)
  if (UNAVAILABLE.test(code)) return new AttemptFailed(error, false)
  return error
}

export function unavailable(cause: unknown): StoreUnavailable {
  return new StoreUnavailable('PostgreSQL does not answer', { cause })
}

/** A random pause of at least half of `longestMs`. */
export const jitter = (longestMs: number) => (longestMs * (1 + Math.random())) / 2

/** The longest pause after one of at most `pauseMs`. */
export const longer = (pauseMs: number) => Math.min(pauseMs * 3, RETRY_PAUSE_MS.longest)
