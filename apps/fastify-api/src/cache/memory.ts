import { LRUCache } from 'lru-cache'
import type { Cache, CacheEvents } from './cache.ts'
import { readThrough, type Store } from './read-through.ts'

export interface MemoryCacheOptions {
  /** Most memory for cached values, in bytes; the least recently used values are removed first. */
  maxBytes: number
  /** The clock, in milliseconds since the epoch; `Date.now` by default. */
  now?: () => number
}

/** A cache in the memory of this process. */
export function memoryCache(
  { maxBytes, now = Date.now }: MemoryCacheOptions,
  events: Pick<CacheEvents, 'onOutcome'>,
): Cache {
  return readThrough(memoryStore(maxBytes), events, now)
}

/** V8 stores a character in one or two bytes. */
const BYTES_PER_CHARACTER = 2

/** Measured overhead of an entry, in bytes: two string headers and the entry in the list. */
const BYTES_PER_ENTRY = 160

/**
 * Stores texts in memory. Expired texts are removed only when their memory is needed; readers check the age of an
 * entry, and the memory limit holds in any case.
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
