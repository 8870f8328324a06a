import { createSecureContext } from 'node:tls'
import { createClient, createCluster } from '@redis/client'

/** How long connecting may take, and how long a connection may be silent, in milliseconds. */
const CONNECTION_TIMEOUT_MS = 5_000

/**
 * Milliseconds between pings, which keep idle connections open. The client's own pings (`pingInterval`) never stop for
 * a node that was still connecting when its cluster client was destroyed: it connects anyway, and nothing refers to it.
 * Without pings, the timeout closes it.
 */
const PING_MS = CONNECTION_TIMEOUT_MS / 2

/** Mean time between a failure and the next connection attempt, in milliseconds; it varies by up to a half. */
const RETRY_MS = 1_000

export interface RedisConnectionOptions {
  /** `redis://`, or `rediss://` for TLS, with credentials and database if needed. Any node of a cluster works. */
  url: string
  /** PEM certificates of the authorities that sign the server's certificate, instead of the public ones. */
  ca?: string | undefined
  /** Milliseconds to wait for an answer before Redis counts as down. */
  commandTimeoutMs: number
  /** Checks a new connection. It is used only after this has succeeded in time. */
  probe(client: RedisClient): Promise<unknown>
  /** Redis is unavailable. Called once per outage, before any operation continues without it. */
  onDown(error: Error): void
  /** Redis is available. Called after the start and after each outage. */
  onUp(): void
}

/** The commands that a server and a cluster have in common. Each has a single key, so a single node executes it. */
export type RedisClient = Pick<Server, 'get' | 'set' | 'eval'>

type Server = ReturnType<typeof serverOf>
type Cluster = ReturnType<typeof clusterOf>

export interface RedisConnection {
  /** Returns Redis's answer to the command, or the result of `otherwise` if Redis is down or the command fails. */
  ask<T>(command: (client: RedisClient) => Promise<T>, otherwise: () => Promise<T>): Promise<T>
  close(): void
}

/**
 * A connection that may be down. It is opened in the background, and replaced after any failure: an error, a late
 * answer, or an error as the answer. Until then, no call waits for it and no command is queued. It follows keys that a
 * cluster moves, and failovers, without a new connection; the loss of a node is a failure.
 *
 * @throws Error when the URL is invalid; the message omits the URL, which may contain a password
 */
export function redisConnection(options: RedisConnectionOptions): RedisConnection {
  const { url, commandTimeoutMs, probe, onDown, onUp } = options
  const describe = describer(url)
  const settings = settingsOf(url, options.ca)
  let client: Server | Cluster | undefined
  let down = false
  let closed = false
  let retry: NodeJS.Timeout | undefined

  function fail(failed: Server | Cluster, error: unknown): void {
    failed.destroy()
    if (closed) return
    client = undefined
    // At random, so that the pods do not all reconnect at the same time.
    retry = setTimeout(connect, RETRY_MS * (0.5 + Math.random()))
    if (down) return
    down = true
    onDown(describe(error))
  }

  async function connect(): Promise<void> {
    const reported: unknown[] = []
    const watched = <Watched extends Server | Cluster>(candidate: Watched): Watched => {
      candidate.on('error', (error) => {
        reported.push(error)
        if (candidate === client) fail(candidate, error)
      })
      return candidate
    }
    let candidate: Server | Cluster = watched(serverOf(url, settings))
    try {
      await candidate.connect()
      const { mode } = await within(commandTimeoutMs, candidate.hello())
      if (mode === 'cluster') {
        candidate.destroy()
        candidate = watched(clusterOf(url, settings))
        await candidate.connect()
        await within(commandTimeoutMs, ping(candidate))
      }
      await within(commandTimeoutMs, probe(candidate))
    } catch (error) {
      // A cluster client's own error does not say why it could use none of the nodes.
      return fail(candidate, reported.at(-1) ?? error)
    }
    if (closed) return candidate.destroy()
    client = candidate
    down = false
    onUp()
  }

  async function ask<T>(
    command: (client: Server | Cluster) => Promise<T>,
    otherwise: () => Promise<T>,
  ): Promise<T> {
    const asked = client
    if (asked === undefined) return otherwise()
    try {
      return await within(commandTimeoutMs, command(asked))
    } catch (error) {
      if (asked === client) fail(asked, error)
      return otherwise()
    }
  }

  connect()
  const pings = setInterval(() => ask<unknown>(ping, async () => {}), PING_MS)

  return {
    ask,

    close() {
      closed = true
      clearInterval(pings)
      clearTimeout(retry)
      client?.destroy()
      client = undefined
    },
  }
}

/** The settings of all connections, including those to the nodes of a cluster. */
function settingsOf(url: string, ca: string | undefined) {
  const { protocol, username, password } = new URL(url)
  const socket = {
    connectTimeout: CONNECTION_TIMEOUT_MS,
    socketTimeout: CONNECTION_TIMEOUT_MS,
    reconnectStrategy: false,
  } as const
  const trust = ca === undefined ? {} : { secureContext: createSecureContext({ ca }) }
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    socket: protocol === 'rediss:' ? { ...socket, tls: true as const, ...trust } : socket,
    disableOfflineQueue: true,
    maintNotifications: 'disabled' as const,
  }
}

type Settings = ReturnType<typeof settingsOf>

/** The client modifies its settings, so each client gets its own copy. */
const serverOf = (url: string, settings: Settings) =>
  createClient({ ...settings, url, socket: { ...settings.socket } })

const clusterOf = (url: string, settings: Settings) =>
  createCluster({ rootNodes: [{ url }], defaults: { ...settings, socket: { ...settings.socket } } })

/** Pings the server, or every primary of a cluster, so that it fails if some keys are unavailable. */
async function ping(client: Server | Cluster): Promise<void> {
  const servers = 'masters' in client ? client.masters.map((master) => client.nodeClient(master)) : [client]
  await Promise.all(servers.map(async (server) => (await server).ping()))
}

/**
 * Returns the promise's result, or fails if it takes longer. After a stall, Node runs timers before it reads the data
 * that has arrived meanwhile, so the error waits for one more turn of the event loop.
 */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${ms} ms`))
    const timer = setTimeout(() => setImmediate(late), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/**
 * Creates errors that can be logged: with the server's address, but without the password, which some servers and
 * proxies echo when they do not know a command.
 */
function describer(url: string): (error: unknown) => Error {
  const { host, password } = parse(url)
  const secrets = [password, decodeURIComponent(password)].filter((secret) => secret !== '')
  return (error) => {
    const { message, code } = error as NodeJS.ErrnoException
    // If every address of a host refuses connections, the error has a code but no message.
    const text = secrets.reduce((text, secret) => text.replaceAll(secret, '***'), message || `${code}`)
    return new Error(`Redis at ${host}: ${text}`)
  }
}

function parse(url: string): URL {
  try {
    serverOf(url, settingsOf(url, undefined)).destroy()
    return new URL(url)
  } catch {
    // The cause contains the URL.
    throw new Error('the Redis URL is invalid: use redis[s]://[[user]:password@]host[:port][/database]')
  }
}
