import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import {
  type ClientConfig,
  DatabaseError,
  Pool,
  type PoolClient,
  type QueryConfig,
  type QueryResultRow,
} from 'pg'
import { StoreUnavailable } from './repository.ts'

/**
 * Pauses between attempts: the first, and the longest; each is three times as long as the one before, less up to
 * half of it at random. With the retry budget of 1.5 s a call makes seven attempts at most.
 */
const RETRY_PAUSE_MS = { first: 50, longest: 800 } as const

/** After the server has refused a connection as one too many, no further one is asked for so long. */
const FULL_SERVER_PAUSE_MS = 10_000

/** What pg-pool says when all connections are in use for as long as a caller waits. */
const POOL_BUSY = 'timeout exceeded when trying to connect'

/** A check that takes longer has failed. Probes wait for it. */
const CHECK_TIMEOUT_MS = 1_500

/** `too_many_connections` */
const SERVER_FULL = '53300'

/**
 * What the server says when the same call may succeed on another connection, soon. In each case the statement
 * had no effect, or a repetition is told apart by the statements themselves.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const TRANSIENT = new Set([
  '08P01', // protocol_violation: so PgBouncer reports that its server went away
  '25006', // read_only_sql_transaction: the former primary, after a failover
  '40001', // serialization_failure
  '40P01', // deadlock_detected
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
  /** `postgres://user:password@host:port/database`, of a server or of a pooler such as PgBouncer. */
  url: string
  /**
   * Certificates, as PEM, of the authorities that may vouch for the server. With them, connections are encrypted and
   * the server's certificate and name are verified, as with `sslmode=verify-full`.
   */
  ca?: string | undefined
  /** Most connections at a time. */
  poolSize: number
  /** How long to wait for a connection, a new one or one of the pool, in milliseconds. */
  connectTimeoutMs: number
  /** How long a statement may take, waiting for locks included, in milliseconds. */
  statementTimeoutMs: number
  /** After so long no further attempt of a call begins, in milliseconds. */
  retryBudgetMs: number
  /** The database fails to do what it is asked for: called once per outage, not once per attempt. */
  onDown: (error: Error) => void
  /** The outage is over: a check has succeeded, and nothing has failed since the check before. */
  onUp: (failures: number) => void
}

/**
 * What `pg` needs to connect to the URL.
 *
 * @throws TypeError when the URL cannot be parsed
 */
export function connectionConfig(url: string, ca: string | undefined): ClientConfig {
  if (ca === undefined) return { connectionString: url }
  // What the URL says about TLS would replace `ssl`.
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

/**
 * A pool of connections to PostgreSQL that survives restarts and failovers of the server.
 *
 * It asks for nothing that PgBouncer's transaction mode does not have: a statement and its timeout travel together
 * as one transaction, no statement is prepared under a name, and no setting outlives its transaction.
 */
export class Connections {
  readonly #pool: Pool
  readonly #options: ConnectionOptions
  readonly #calls = new Set<Promise<unknown>>()
  /** The attempt to connect that all calls wait for while the server cannot be reached. */
  #reconnection: Promise<void> | undefined
  /** Since when the server cannot be reached; `undefined` while it can. */
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
      // The server's own limit needs a server that answers; this one is for when it, or the network, is gone.
      query_timeout: statementTimeoutMs + 1_000,
      // A transaction's statements are sent at once: one round trip, as if there were one statement.
      pipeline: true,
      keepAlive: true,
      application_name: 'fastify-api',
    })
    this.#pool.on('error', (error) => this.#failed(error))
    // A connection lost between two statements of a call: the next statement fails and reports it.
    this.#pool.on('connect', (client) => client.on('error', () => {}))
  }

  state(): PoolState {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { total: totalCount, idle: idleCount, waiting: waitingCount }
  }

  /**
   * Does the work, again if need be, for as long as the retry budget lasts. In an outage that has already lasted
   * that long, it joins one attempt to connect and fails with it.
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
      this.#passed()
    } catch (error) {
      if (error instanceof AttemptFailed) throw unavailable(error.cause)
      // No answer in time, no schema, connections that are closed.
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
        // While the server cannot be reached, the attempt that all wait for has its own pause.
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
      // After a failure a new connection is cheaper than to find out what state this one is in.
      client.release(failed)
    }
  }

  /** Sends the statement as a transaction of its own; it has been committed when the promise resolves. */
  async #transaction<Row extends QueryResultRow>(client: PoolClient, statement: QueryConfig): Promise<Row[]> {
    const timeout = `SET LOCAL statement_timeout = ${this.#options.statementTimeoutMs}`
    const results = [
      client.query(`BEGIN; ${timeout}`),
      client.query<Row>(statement),
      // Of a transaction that has failed, the end is a rollback.
      client.query('COMMIT'),
    ] as const
    // Not before the last has been answered: until then the connection is in use.
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
      // Whoever has waited for so long need not queue again.
      if (message === POOL_BUSY) throw new AttemptFailed(error as Error, false)
      if (code === SERVER_FULL && this.#pool.totalCount > 0) this.#makeDoWith(this.#pool.totalCount)
      else this.#unreachableSince ??= performance.now()
      throw new AttemptFailed(error as Error, true)
    }
  }

  /** One attempt to connect, after a pause, for all calls that wait for the server. */
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

  /** Calls wait for the connections that there are: the server, which others use too, has no more. */
  #makeDoWith(connections: number): void {
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

/** At least half of it. */
const jitter = (longestMs: number) => (longestMs * (1 + Math.random())) / 2

const longer = (pauseMs: number) => Math.min(pauseMs * 3, RETRY_PAUSE_MS.longest)

/** An error that the server has not reported is a lost connection. */
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
