import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import {
  type ClientConfig,
  type DatabaseError,
  Pool,
  type PoolClient,
  type QueryConfig,
  type QueryResultRow,
} from 'pg'
import { StoreUnavailable } from '../tasks/repository.ts'
import { AttemptFailed, jitter, judge, longer, RETRY_PAUSE_MS, unavailable } from './retry.ts'

/** Pause before opening more connections after the server has refused one with "too many connections". */
const FULL_SERVER_PAUSE_MS = 10_000

/** pg-pool's message when no connection became free while the caller waited. */
const POOL_BUSY = 'timeout exceeded when trying to connect'

/** Longest time for a check. Probes wait for it. */
const CHECK_TIMEOUT_MS = 1_500

/** `too_many_connections` */
const SERVER_FULL = '53300'

export interface ConnectionOptions {
  /** `postgres://user:password@host:port/database`, of a server or of a pooler such as PgBouncer. */
  url: string
  /**
   * PEM certificates of the authorities that sign the server's certificate. With them, connections are encrypted and
   * the server's certificate and name are verified, as with `sslmode=verify-full`.
   */
  ca?: string | undefined
  /** Most open connections. */
  poolSize: number
  /** How long to wait for a new or pooled connection, in milliseconds. */
  connectTimeoutMs: number
  /** How long a statement may take, including waits for locks, in milliseconds. */
  statementTimeoutMs: number
  /** Milliseconds after which a call starts no further attempt. */
  retryBudgetMs: number
  /** Called once per outage, not once per attempt. */
  onDown: (error: Error) => void
  /** Called when an outage is over: a check succeeded, and no call has failed since the previous check. */
  onUp: (failures: number) => void
}

/**
 * What `pg` needs to connect to the URL.
 *
 * @throws TypeError when the URL cannot be parsed
 */
export function connectionConfig(url: string, ca: string | undefined): ClientConfig {
  if (ca === undefined) return { connectionString: url }
  // TLS parameters in the URL would override `ssl`.
  const withoutTls = new URL(url)
  for (const name of ['ssl', 'sslmode', 'sslrootcert']) withoutTls.searchParams.delete(name)
  // One context for all connections: the certificates are parsed once.
  return { connectionString: withoutTls.href, ssl: { secureContext: createSecureContext({ ca }) } }
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
 * Work on one connection; it must be idempotent. `repeated` is true when an earlier attempt reached the server, which
 * may have executed it without being able to confirm it.
 */
export type Work<T> = (query: Query, repeated: boolean) => Promise<T>

/**
 * A pool of connections to PostgreSQL that survives restarts and failovers of the server.
 *
 * It works with PgBouncer in transaction mode: a statement and its timeout are one transaction, no statement is
 * prepared under a name, and no setting outlives its transaction.
 */
export class Connections {
  readonly #pool: Pool
  readonly #options: ConnectionOptions
  readonly #calls = new Set<Promise<unknown>>()
  /** The one attempt to connect, which all calls wait for while the server is unreachable. */
  #reconnection: Promise<void> | undefined
  /** When the server became unreachable; `undefined` while it is reachable. */
  #unreachableSince: number | undefined
  #restoring: NodeJS.Timeout | undefined
  #longestPauseMs: number = RETRY_PAUSE_MS.first
  #down = false
  #failures = 0
  #failuresAtLastCheck = 0
  #closed: Promise<void> | undefined

  constructor(options: ConnectionOptions) {
    const { url, ca, poolSize, connectTimeoutMs, statementTimeoutMs } = options
    this.#options = options
    this.#pool = new Pool({
      ...connectionConfig(url, ca),
      max: poolSize,
      connectionTimeoutMillis: connectTimeoutMs,
      // The server enforces its own timeout only while it answers. This one covers a lost server or network.
      query_timeout: statementTimeoutMs + 1_000,
      // The statements of a transaction are sent together, in one round trip.
      pipeline: true,
      keepAlive: true,
      application_name: 'fastify-api',
    })
    this.#pool.on('error', (error) => this.#failed(error))
    // When a connection is lost between two statements of a call, the next statement fails and reports it.
    this.#pool.on('connect', (client) => client.on('error', () => {}))
  }

  state(): PoolState {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { total: totalCount, idle: idleCount, waiting: waitingCount }
  }

  /**
   * Does the work and retries it while the retry budget lasts. In an outage that has lasted longer than that, it waits
   * for the one shared attempt to connect and fails with it.
   *
   * @throws {@link StoreUnavailable} with its cause; other errors of the work are not wrapped
   */
  run<T>(work: Work<T>): Promise<T> {
    return this.#track(this.#repeat(work))
  }

  /**
   * Does the work once, within {@link CHECK_TIMEOUT_MS}.
   *
   * @throws {@link StoreUnavailable} with its cause, for any failure
   */
  async check(work: Work<unknown>): Promise<void> {
    const { promise: timeout, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_TIMEOUT_MS)
    try {
      await Promise.race([this.#track(this.#attempt((query) => work(query, false))), timeout])
      this.#passed()
    } catch (error) {
      if (error instanceof AttemptFailed) throw unavailable(error.cause)
      // The check timed out, the schema is missing, or the connections are closed.
      this.#failed(error as Error)
      throw unavailable(error)
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
    const begun = performance.now()
    let reachedServer = false
    for (let longestPauseMs: number = RETRY_PAUSE_MS.first; ; longestPauseMs = longer(longestPauseMs)) {
      try {
        return await this.#attempt((query) => {
          const repeated = reachedServer
          reachedServer = true
          return work(query, repeated)
        })
      } catch (error) {
        if (!(error instanceof AttemptFailed)) throw error
        // While the server is unreachable, the shared attempt to connect has its own pause.
        const pauseMs = this.#unreachableSince === undefined ? jitter(longestPauseMs) : 0
        const deadline = Math.min(begun, this.#unreachableSince ?? begun) + this.#options.retryBudgetMs
        if (!error.transient || performance.now() + pauseMs > deadline) throw unavailable(error.cause)
        await sleep(pauseMs)
      }
    }
  }

  async #attempt<T>(work: (query: Query) => Promise<T>): Promise<T> {
    if (this.#unreachableSince !== undefined) await this.#reconnect()
    const client = await this.#connect()
    let failed = false
    try {
      return await work(async (statement) => {
        try {
          return await this.#transaction(client, statement)
        } catch (error) {
          const judged = judge(error as Error)
          failed = judged instanceof AttemptFailed
          if (failed) this.#failed(error as Error)
          throw judged
        }
      })
    } finally {
      // After a failure, a new connection is cheaper than finding out the state of this one.
      client.release(failed)
    }
  }

  /** Sends the statement as its own transaction, which is committed when the promise resolves. */
  async #transaction<Row extends QueryResultRow>(client: PoolClient, statement: QueryConfig): Promise<Row[]> {
    const timeout = `SET LOCAL statement_timeout = ${this.#options.statementTimeoutMs}`
    const results = [
      client.query(`BEGIN; ${timeout}`),
      client.query<Row>(statement),
      // In a failed transaction, COMMIT rolls back.
      client.query('COMMIT'),
    ] as const
    // The connection is in use until the last statement has been answered.
    await Promise.allSettled(results)
    const [, { rows }] = await Promise.all(results)
    return rows
  }

  async #connect(): Promise<PoolClient> {
    try {
      const client = await this.#pool.connect()
      this.#unreachableSince = undefined
      this.#longestPauseMs = RETRY_PAUSE_MS.first
      return client
    } catch (error) {
      this.#failed(error as Error)
      const { message, code } = error as DatabaseError
      // The call has already waited its full time in the queue, so it is not retried.
      if (message === POOL_BUSY) throw new AttemptFailed(error as Error, false)
      if (code === SERVER_FULL && this.#pool.totalCount > 0) this.#limitPool(this.#pool.totalCount)
      else this.#unreachableSince ??= performance.now()
      throw new AttemptFailed(error as Error, true)
    }
  }

  /** Tries to connect once, after a pause, on behalf of all waiting calls. */
  #reconnect(): Promise<void> {
    this.#reconnection ??= this.#connectAfterPause().finally(() => {
      this.#reconnection = undefined
    })
    return this.#reconnection
  }

  async #connectAfterPause(): Promise<void> {
    const pauseMs = jitter(this.#longestPauseMs)
    this.#longestPauseMs = longer(this.#longestPauseMs)
    await sleep(pauseMs)
    const client = await this.#connect()
    client.release()
  }

  /** Limits the pool to the open connections for a while, because the server has no more to give. */
  #limitPool(connections: number): void {
    const { options } = this.#pool
    options.max = connections
    clearTimeout(this.#restoring)
    this.#restoring = setTimeout(() => {
      options.max = this.#options.poolSize
    }, FULL_SERVER_PAUSE_MS).unref()
  }

  #failed(error: Error): void {
    this.#failures++
    if (this.#down) return
    this.#down = true
    this.#options.onDown(error)
  }

  #passed(): void {
    const quiet = this.#failures === this.#failuresAtLastCheck
    this.#failuresAtLastCheck = this.#failures
    if (!this.#down || !quiet) return
    this.#down = false
    this.#options.onUp(this.#failures)
    this.#failures = 0
    this.#failuresAtLastCheck = 0
  }
}
