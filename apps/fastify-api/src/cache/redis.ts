import { randomUUID } from 'node:crypto'
import { ErrorReply } from '@redis/client'
import { LRUCache } from 'lru-cache'
import type { Cache, CacheEvents } from './cache.ts'
import { memoryStore } from './memory.ts'
import { readThrough, type Slot, type Store } from './read-through.ts'
import { type RedisClient, redisConnection } from './redis-connection.ts'

export interface RedisCacheOptions {
  /** `redis://`, or `rediss://` for TLS, with credentials and database if needed. Valkey works too. */
  url: string
  /** PEM certificates of the authorities that sign the server's certificate, instead of the public ones. */
  ca?: string | undefined
  /** Most memory for the values that this process caches while Redis is down, in bytes. */
  maxBytes: number
  /** Milliseconds to wait for an answer; the default of 200 is many times what Redis takes in the same region. */
  commandTimeoutMs?: number
  /** The clock, in milliseconds since the epoch; `Date.now` by default. */
  now?: () => number
}

/**
 * A cache that all pods share. While Redis is down, each pod caches in its own memory, so that every pod queries the
 * database, but not every request. Other pods may then serve a deleted value until it expires.
 *
 * @throws Error when the URL is invalid; the message omits the URL, which may contain a password
 */
export function redisCache(options: RedisCacheOptions, events: CacheEvents): Cache {
  return readThrough(redisStore(options, events), events, options.now ?? Date.now)
}

/**
 * Prefix of every key. Increment the version when the shape of any cached value changes: then the pods of two releases
 * do not read each other's values during a rollout.
 */
const KEY_PREFIX = 'fastify-api:v1:'

/** How long Redis remembers a deletion, in milliseconds: longer than any load takes. */
const DELETION_MS = 60_000

/**
 * Most keys that are remembered while Redis is down, to delete them once it is back: as many as Redis deletes within
 * the command timeout. Beyond that, the oldest are forgotten, and their values stay until they expire.
 */
const MAX_MISSED_DELETIONS = 1_000

/**
 * Replaces a text unless it has changed since it was read. Otherwise, a process could restore a value that another one
 * deleted during the load. A value that is not a text reads as an empty one, as in {@link readText}.
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
    // A full Redis, or a replica, answers but stores nothing.
    probe: (client) => replaceText(client, `probe:${randomUUID()}`, '', '', 1),
    onDown(error) {
      // Other pods may have deleted values that it kept from an earlier outage.
      fallback.clear()
      onStoreDown(error)
    },
    onUp() {
      const keys = [...missed.keys()]
      missed.clear()
      // Redis executes commands in order, so these deletions come before any read.
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

/** The text of the key; empty if there is none, or if the value is not a text. */
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

/** Stores a unique text that is not an entry, so that loads in progress see that the slot has changed. */
async function deleteText(client: RedisClient, key: string): Promise<void> {
  await client.set(KEY_PREFIX + key, randomUUID(), { expiration: { type: 'PX', value: DELETION_MS } })
}
