import { createSecureContext } from 'node:tls'
import { createClient, createCluster } from '@redis/client'

/** Milliseconds that connecting may take, and that an idle connection may stay silent. */
const CONNECTION_TIMEOUT_MS = 5_000

/**
 * Milliseconds between pings, which keep a connection from being silent for too long. The client's own pings
 * (`pingInterval`) never end for a node that was still connecting when its cluster was destroyed: such a node
 * connects all the same, and nothing refers to it any more. Without pings its silence closes it.
 */
const PING_MS = CONNECTION_TIMEOUT_MS / 2

/** Milliseconds between a failure and the next attempt to connect: from half of it to one and a half. */
const RETRY_MS = 1_000

export interface RedisConnectionOptions {
  /** `redis://` or, for TLS, `rediss://`, with credentials and database where needed; of a cluster, any node. */
  url: string
  /** Certificates, as PEM, that the server's must come from, in place of the public authorities. */
  ca?: string | undefined
  /** Milliseconds to wait for an answer, after which Redis counts as down. */
  commandTimeoutMs: number
  /** Proves that a new connection is of use; it is not used before, and not at all when this fails or is late. */
  probe(client: RedisClient): Promise<unknown>
  /** Redis is unavailable. Called once per outage, before any operation continues without it. */
  onDown(error: Error): void
  /** Redis is available. Called after the start and after each outage. */
  onUp(): void
}

/** What is asked of a server and of a cluster alike. Each command has one key, so each has one node of a cluster. */
export type RedisClient = Pick<Server, 'get' | 'set' | 'eval'>

type Server = ReturnType<typeof serverOf>
type Cluster = ReturnType<typeof clusterOf>

export interface RedisConnection {
  /** What Redis answers to the command; what `otherwise` gives while it is down or when the command fails. */
  ask<T>(command: (client: RedisClient) => Promise<T>, otherwise: () => Promise<T>): Promise<T>
  close(): void
}

/**
 * A connection that may be down. It is made in the background and replaced when anything fails: an error, an
 * answer that does not come in time, an answer that is an error. Until there is a new one nobody waits for it,
 * and no command is kept for later. A cluster that moves a key, or fails over, is followed without that; a node
 * that is lost counts as a failure.
 *
 * @throws Error when the URL cannot be used, without saying what it is: it may hold a password.
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
    // Not all at the same instant: a Redis that is back has all pods to receive.
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
      // What a cluster throws does not say why none of its nodes could be used.
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

/** Settings of every connection, those to the nodes of a cluster included. */
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

/** The client writes to the settings it is given: each has its own. */
const serverOf = (url: string, settings: Settings) =>
  createClient({ ...settings, url, socket: { ...settings.socket } })

const clusterOf = (url: string, settings: Settings) =>
  createCluster({ rootNodes: [{ url }], defaults: { ...settings, socket: { ...settings.socket } } })

/** Asks the server, or every master: fails while a part of the keys has none that answers. */
async function ping(client: Server | Cluster): Promise<void> {
  const servers = 'masters' in client ? client.masters.map((master) => client.nodeClient(master)) : [client]
  await Promise.all(servers.map(async (server) => (await server).ping()))
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
    serverOf(url, settingsOf(url, undefined)).destroy()
    return new URL(url)
  } catch {
    // The cause holds the URL.
    throw new Error(
      'the Redis URL cannot be used: redis[s]://[[user]:password@]host[:port][/database] is expected',
    )
  }
}
