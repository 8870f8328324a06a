import { setTimeout as sleep } from 'node:timers/promises'
import { DatabaseError, Pool, type QueryConfig, type QueryResultRow } from 'pg'
import { StoreUnavailable } from './repository.ts'

/** Full jitter: a pause between nothing and this, doubled with every attempt up to the longest. */
const RETRY_PAUSE_MS = { first: 20, longest: 400 } as const

/** A check that takes longer has failed. Probes wait for it. */
const CHECK_TIMEOUT_MS = 1_500

/**
 * What the server says when the same call may succeed on another connection, soon. In each case the statement
 * had no effect, or a repetition is told apart by the statements themselves.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const TRANSIENT = new Set([
  '25006', // read_only_sql_transaction: the former primary, after a failover
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '53300', // too_many_connections
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now: it starts or recovers
])

/**
 * What the server says when it cannot answer now, and a repetition would only add to its load: out of resources
 * (class 53), a fault below it (58), a statement that took too long (57014) or waited too long for a lock (55P03).
 */
const UNAVAILABLE = /^(?:53|58|57014|55P03)/

export interface ConnectionOptions {
  /** `postgres://user:password@host:port/database`; TLS by `?sslmode=verify-full&sslrootcert=<file>`. */
  url: string
  /** Most connections at a time. */
  poolSize: number
  /** How long to wait for a connection, a new one or one of the pool, in milliseconds. */
  connectTimeoutMs: number
  /** How long a statement may take, waiting for locks included, in milliseconds. */
  statementTimeoutMs: number
  /** After so long no further attempt of a call begins, in milliseconds. */
  retryBudgetMs: number
  /** Told when a connection is lost while it is idle, and when an attempt fails that is then repeated. */
  onError: (error: Error) => void
}

/** Connections of the pool, and calls that wait for one. */
export interface PoolState {
  total: number
  idle: number
  waiting: number
}

/** Sends one statement. */
export type Query = <Row extends QueryResultRow>(statement: QueryConfig) => Promise<Row[]>

/**
 * Work on one connection; it must bear repetition. `repeated` tells that an earlier attempt got as far as the
 * server, which may have done everything and only failed to say so.
 */
export type Work<T> = (query: Query, repeated: boolean) => Promise<T>

/** An attempt that failed for want of a working connection or server. */
class AttemptFailed extends Error {
  override readonly name = 'AttemptFailed'
  override readonly cause: Error
  readonly transient: boolean

  constructor(cause: Error, transient: boolean) {
    super(cause.message)
    this.cause = cause
    this.transient = transient
  }
}

/** A pool of connections to PostgreSQL that outlives restarts and failovers of the server. */
export class Connections {
  readonly #pool: Pool
  readonly #retryBudgetMs: number
  readonly #onError: (error: Error) => void
  readonly #calls = new Set<Promise<unknown>>()
  #closed: Promise<void> | undefined

  constructor(options: ConnectionOptions) {
    const { url, poolSize, connectTimeoutMs, statementTimeoutMs, retryBudgetMs, onError } = options
    this.#retryBudgetMs = retryBudgetMs
    this.#onError = onError
    this.#pool = new Pool({
      connectionString: url,
      max: poolSize,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      // The server's own limit needs a server that answers; this one is for when it, or the network, is gone.
      query_timeout: statementTimeoutMs + 1_000,
      keepAlive: true,
      application_name: 'fastify-api',
    })
    this.#pool.on('error', onError)
    // A connection lost between two statements of a call: the next statement fails and tells.
    this.#pool.on('connect', (client) => client.on('error', () => {}))
  }

  state(): PoolState {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { total: totalCount, idle: idleCount, waiting: waitingCount }
  }

  /**
   * Does the work, again if need be, for as long as the retry budget lasts.
   *
   * @throws {@link StoreUnavailable} with its cause; any other error of the work as it is.
   */
  run<T>(work: Work<T>): Promise<T> {
    return this.#track(this.#repeat(work))
  }

  /**
   * Does the work once, within {@link CHECK_TIMEOUT_MS}.
   *
   * @throws {@link StoreUnavailable} with its cause, whatever goes wrong.
   */
  async check(work: Work<unknown>): Promise<void> {
    const { promise: timeout, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_TIMEOUT_MS)
    try {
      await Promise.race([this.#track(this.#attempt((query) => work(query, false))), timeout])
    } catch (error) {
      throw unavailable(error instanceof AttemptFailed ? error.cause : error)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Waits for the calls in progress, then disconnects. */
  close(): Promise<void> {
    this.#closed ??= Promise.allSettled(this.#calls).then(() => this.#pool.end())
    return this.#closed
  }

  #track<T>(call: Promise<T>): Promise<T> {
    this.#calls.add(call)
    const done = () => this.#calls.delete(call)
    call.then(done, done)
    return call
  }

  async #repeat<T>(work: Work<T>): Promise<T> {
    if (this.#closed !== undefined) throw new StoreUnavailable('the connections to PostgreSQL are closed')
    const deadline = performance.now() + this.#retryBudgetMs
    let reachedServer = false
    for (let longestPause: number = RETRY_PAUSE_MS.first; ; longestPause *= 2) {
      try {
        return await this.#attempt((query) => {
          const repeated = reachedServer
          reachedServer = true
          return work(query, repeated)
        })
      } catch (error) {
        if (!(error instanceof AttemptFailed)) throw error
        const pause = Math.random() * Math.min(longestPause, RETRY_PAUSE_MS.longest)
        if (!error.transient || performance.now() + pause > deadline) throw unavailable(error.cause)
        this.#onError(error.cause)
        await sleep(pause)
      }
    }
  }

  async #attempt<T>(work: (query: Query) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: Error) => {
      throw new AttemptFailed(error, true)
    })
    let failed = false
    try {
      return await work(async (statement) => {
        try {
          return (await client.query(statement)).rows
        } catch (error) {
          failed = true
          throw judge(error as Error)
        }
      })
    } finally {
      // After an error a new connection is cheaper than to find out what state this one is in.
      client.release(failed)
    }
  }
}

/** What is no word of the server is a lost connection. */
function judge(error: Error): Error {
  if (!(error instanceof DatabaseError)) return new AttemptFailed(error, true)
  const code = String(error.code)
  if (TRANSIENT.has(code)) return new AttemptFailed(error, true)
  if (UNAVAILABLE.test(code)) return new AttemptFailed(error, false)
  return error
}

function unavailable(cause: unknown): StoreUnavailable {
  return new StoreUnavailable('PostgreSQL does not answer', { cause })
}
