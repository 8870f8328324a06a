import { randomUUID } from 'node:crypto'
import { ErrorReply } from '@redis/client'
import { LRUCache } from 'lru-cache'
import type { Cache, CacheEvents } from './cache.ts'
import { memoryStore } from './memory.ts'
import { readThrough, type Slot, type Store } from './read-through.ts'
import { type RedisClient, redisConnection } from './redis-connection.ts'

export interface RedisCacheOptions {
  /** `redis://` or, for TLS, `rediss://`, with credentials and database where needed; Valkey is asked alike. */
  url: string
  /** Certificates, as PEM, that the server's must come from, in place of the public authorities. */
  ca?: string | undefined
  /** Most memory that cached values take here while Redis is down, in bytes. */
  maxBytes: number
  /** Milliseconds to wait for an answer of Redis; 200 by default: many times what it takes in the same region. */
  commandTimeoutMs?: number
  /** The clock, in milliseconds since the epoch; `Date.now` by default. */
  now?: () => number
}

/**
 * A cache that all pods share. While Redis is down each of them caches in its own memory, so that the database
 * is asked by every pod, not by every request; what a pod deletes then, others may serve until it expires.
 *
 * @throws Error when the URL cannot be used, without saying what it is: it may hold a password.
 */
export function redisCache(options: RedisCacheOptions, events: CacheEvents): Cache {
  return readThrough(redisStore(options, events), events, options.now ?? Date.now)
}

/**
 * Stands before every key. Raise the version with the shape of any cached value: pods of two releases then do
 * not read each other's values while one replaces the other.
 */
const KEY_PREFIX = 'fastify-api:v1:'

/** Milliseconds for which a deletion is remembered in Redis: longer than any load takes. */
const DELETION_MS = 60_000

/**
 * Keys deleted while Redis was down that are deleted once it is back: as many as it takes at once without being
 * late. Of more, the oldest are dropped: their values stay until they expire.
 */
const MAX_MISSED_DELETIONS = 1_000

/**
 * Replaces a text unless it has changed since it was read: a process that loaded a value before another one
 * deleted it would else bring it back. What is not a text reads as an empty one, as in {@link readText}.
 */
const REPLACE_SCRIPT = `
local found = redis.pcall('GET', KEYS[1])
if type(found) ~= 'string' then found = '' end
if found == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
`

function redisStore(options: RedisCacheOptions, { onStoreDown, onStoreUp }: CacheEvents): Store {
  const fallback = memoryStore(options.maxBytes)
  const missed = new LRUCache<string, true>({ max: MAX_MISSED_DELETIONS })

  const connection = redisConnection({
    url: options.url,
    ca: options.ca,
    commandTimeoutMs: options.commandTimeoutMs ?? 200,
    // A Redis that is full, or a replica, answers but keeps nothing.
    probe: (client) => replaceText(client, `probe:${randomUUID()}`, '', '', 1),
    onDown(error) {
      // What it has of an earlier outage may have been deleted by others since.
      fallback.clear()
      onStoreDown(error)
    },
    onUp() {
      const keys = [...missed.keys()]
      missed.clear()
      // Before anything is read: commands are answered in the order in which they are given.
      for (const key of keys) deleteShared(key)
      onStoreUp()
    },
  })

  const deleteShared = (key: string) =>
    connection.ask(
      (client) => deleteText(client, key),
      async () => {
        missed.set(key, true)
      },
    )

  return {
    read: (key) =>
      connection.ask<Slot>(
        async (client) => {
          const found = await readText(client, key)
          return {
            text: found,
            replace: (text, keepMs) =>
              connection.ask(
                (client) => replaceText(client, key, found, text, keepMs),
                async () => (await fallback.read(key)).replace(text, keepMs),
              ),
          }
        },
        () => fallback.read(key),
      ),
    async delete(key) {
      await fallback.delete(key)
      await deleteShared(key)
    },
    async close() {
      connection.close()
      await fallback.close()
    },
  }
}

/** The text under the key; empty where there is none, or something else than a text. */
async function readText(client: RedisClient, key: string): Promise<string> {
  try {
    return (await client.get(KEY_PREFIX + key)) ?? ''
  } catch (error) {
    if (error instanceof ErrorReply && error.message.startsWith('WRONGTYPE')) return ''
    throw error
  }
}

async function replaceText(
  client: RedisClient,
  key: string,
  found: string,
  text: string,
  keepMs: number,
): Promise<void> {
  await client.eval(REPLACE_SCRIPT, {
    keys: [KEY_PREFIX + key],
    arguments: [found, text, String(Math.ceil(keepMs))],
  })
}

/** Leaves something that is no value and never twice the same, so that loads under way find the slot changed. */
async function deleteText(client: RedisClient, key: string): Promise<void> {
  await client.set(KEY_PREFIX + key, randomUUID(), { expiration: { type: 'PX', value: DELETION_MS } })
}
