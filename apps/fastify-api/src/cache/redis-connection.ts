import { createClient } from '@redis/client'

/** Milliseconds that connecting may take, and that an idle connection may stay silent. */
const CONNECTION_TIMEOUT_MS = 5_000

/** Milliseconds between a failure and the next attempt to connect: from half of it to one and a half. */
const RETRY_MS = 1_000

export interface RedisConnectionOptions {
  /** `redis://` or, for TLS, `rediss://`, with credentials and database where needed. */
  url: string
  /** Milliseconds to wait for an answer, after which Redis counts as down. */
  commandTimeoutMs: number
  /** Proves that a new connection is of use; it is not used before, and not at all when this fails or is late. */
  probe(client: RedisClient): Promise<unknown>
  /** Redis cannot be used: told once per outage, before anything is asked to go on without it. */
  onDown(error: Error): void
  /** Redis can be used: told after the start, and after every outage. */
  onUp(): void
}

export type RedisClient = ReturnType<typeof clientOf>

export interface RedisConnection {
  /** What Redis answers to the command; what `otherwise` gives while it is down or when the command fails. */
  ask<T>(command: (client: RedisClient) => Promise<T>, otherwise: () => Promise<T>): Promise<T>
  close(): void
}

/**
 * A connection that may be down. It is made in the background and replaced when anything fails: an error, an
 * answer that does not come in time, an answer that is an error. Until there is a new one nobody waits for it,
 * and no command is kept for later.
 *
 * @throws Error when the URL cannot be used, without saying what it is: it may hold a password.
 */
export function redisConnection(options: RedisConnectionOptions): RedisConnection {
  const { url, commandTimeoutMs, probe, onDown, onUp } = options
  const describe = describer(url)
  let client: RedisClient | undefined
  let down = false
  let closed = false
  let retry: NodeJS.Timeout | undefined

  function fail(failed: RedisClient, error: unknown): void {
    failed.destroy()
    if (closed) return
    client = undefined
    // Not all at the same instant: a Redis that is back has all pods to receive.
    retry = setTimeout(connect, RETRY_MS * (0.5 + Math.random()))
    if (down) return
    down = true
    onDown(describe(error))
  }

  async function connect(): Promise<void> {
    const candidate = clientOf(url)
    candidate.on('error', (error) => {
      if (candidate === client) fail(candidate, error)
    })
    try {
      await candidate.connect()
      await within(commandTimeoutMs, probe(candidate))
    } catch (error) {
      return fail(candidate, error)
    }
    if (closed) return candidate.destroy()
    client = candidate
    down = false
    onUp()
  }

  connect()

  return {
    async ask(command, otherwise) {
      const asked = client
      if (asked === undefined) return otherwise()
      try {
        return await within(commandTimeoutMs, command(asked))
      } catch (error) {
        if (asked === client) fail(asked, error)
        return otherwise()
      }
    },

    close() {
      closed = true
      clearTimeout(retry)
      client?.destroy()
      client = undefined
    },
  }
}

function clientOf(url: string) {
  return createClient({
    url,
    socket: {
      connectTimeout: CONNECTION_TIMEOUT_MS,
      socketTimeout: CONNECTION_TIMEOUT_MS,
      reconnectStrategy: false,
    },
    // Keeps the socket from being silent for too long while the service has nothing to ask.
    pingInterval: CONNECTION_TIMEOUT_MS / 2,
    disableOfflineQueue: true,
    maintNotifications: 'disabled',
  })
}

/**
 * What the promise gives, unless it takes longer. A process that was stalled runs its timers before it reads
 * what has arrived meanwhile: the verdict waits for that.
 */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${ms} ms`))
    const timer = setTimeout(() => setImmediate(late), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/**
 * Makes errors that can be logged: with the server's address, without the password, which some servers and
 * proxies repeat when they do not understand a command.
 */
function describer(url: string): (error: unknown) => Error {
  const { host, password } = parse(url)
  const secrets = [password, decodeURIComponent(password)].filter((secret) => secret !== '')
  return (error) => {
    const { message, code } = error as NodeJS.ErrnoException
    // A host with several addresses, all of which refuse, makes an error with a code and no message.
    const text = secrets.reduce((text, secret) => text.replaceAll(secret, '***'), message || `${code}`)
    return new Error(`Redis at ${host}: ${text}`)
  }
}

function parse(url: string): URL {
  try {
    clientOf(url).destroy()
    return new URL(url)
  } catch {
    // The cause holds the URL.
    throw new Error(
      'the Redis URL cannot be used: redis[s]://[[user]:password@]host[:port][/database] is expected',
    )
  }
}
