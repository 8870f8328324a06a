import { LRUCache } from 'lru-cache'
import type { Cache, CacheEvents } from './cache.ts'
import { readThrough, type Store } from './read-through.ts'

export interface MemoryCacheOptions {
  /** Most memory that cached values take, in bytes; the values used least recently make room. */
  maxBytes: number
  /** The clock, in milliseconds since the epoch; `Date.now` unless told. */
  now?: () => number
}

/** A cache of this process alone. */
export function memoryCache(
  { maxBytes, now = Date.now }: MemoryCacheOptions,
  events: Pick<CacheEvents, 'onOutcome'>,
): Cache {
  return readThrough(memoryStore(maxBytes), events, now)
}

/** V8 keeps a character in one byte or in two; no text takes more than two. */
const BYTES_PER_CHARACTER = 2

/** What an entry takes besides its characters, in bytes: two string headers and the list's bookkeeping; measured. */
const BYTES_PER_ENTRY = 160

/**
 * Texts in memory. They are not removed when their time is over, which the reader can tell, but when room is
 * needed: the bound holds either way.
 */
export function memoryStore(maxBytes: number): Store & { clear(): void } {
  const texts = new LRUCache<string, string>({
    maxSize: maxBytes,
    sizeCalculation: (text, key) => BYTES_PER_ENTRY + BYTES_PER_CHARACTER * (key.length + text.length),
  })
  return {
    read: async (key) => ({
      text: texts.get(key) ?? '',
      replace: async (text) => {
        texts.set(key, text)
      },
    }),
    delete: async (key) => {
      texts.delete(key)
    },
    clear: () => texts.clear(),
    close: async () => texts.clear(),
  }
}
