import type { Cache, Cached, CacheEvents, CacheOutcome } from './cache.ts'

/** Where texts are kept. Never fails: a store that cannot be asked has nothing. */
export interface Store {
  read(key: string): Promise<Slot>
  /** Forgets the text. Where processes share the store, slots they have read before keep nothing any more. */
  delete(key: string): Promise<void>
  close(): Promise<void>
}

/** What a store had under a key when it was read. */
export interface Slot {
  /** Empty where there was nothing. */
  text: string
  /** Puts `text` in its place, to be kept for `keepMs` milliseconds if there is room. */
  replace(text: string, keepMs: number): Promise<void>
}

/** What is kept. It says when it was loaded, so that the reader judges how fresh it is. */
interface Entry {
  /** Milliseconds since the epoch. */
  loadedAt: number
  /** Absent for `undefined`, which is a value too: that there is nothing. */
  value?: unknown
}

interface Reading {
  slot: Slot
  /** The load that ran when reading began: it may have ended since, too late for its value to be read. */
  underWay: Promise<string> | undefined
}

/**
 * What all caches have in common: one load at a time for a key, freshness, replacement in the background.
 *
 * @param now - the clock, in milliseconds since the epoch
 */
export function readThrough(
  store: Store,
  { onOutcome }: Pick<CacheEvents, 'onOutcome'>,
  now: () => number,
): Cache {
  const reads = new Map<string, Promise<Reading>>()
  const loads = new Map<string, Promise<string>>()

  async function read(key: string): Promise<Reading> {
    const underWay = loads.get(key)
    return { slot: await store.read(key), underWay }
  }

  const ageOf = ({ loadedAt }: Entry) => now() - loadedAt

  function cached<T>(entry: Entry, outcome: CacheOutcome): Cached<T> {
    // The clock of the process that loaded the value may be ahead of this one.
    return { value: entry.value as T, outcome, age: Math.max(0, Math.floor(ageOf(entry) / 1_000)) }
  }

  return {
    async get<T>(
      key: string,
      { freshMs, staleMs }: { freshMs: number; staleMs: number },
      load: () => Promise<T>,
    ): Promise<Cached<T>> {
      const { slot, underWay } = await shared(reads, key, () => read(key))
      const kept = parseEntry(slot.text)
      if (kept !== undefined && ageOf(kept) < freshMs) {
        onOutcome('hit')
        return cached(kept, 'hit')
      }
      const keepMs = freshMs + staleMs
      const loading =
        underWay ??
        shared(loads, key, async (isCurrent) => {
          const value = await load()
          const text = JSON.stringify({ loadedAt: now(), value } satisfies Entry)
          if (isCurrent() && keepMs > 0) await slot.replace(text, keepMs)
          return text
        })
      if (kept !== undefined && ageOf(kept) < keepMs) {
        loading.catch(() => {})
        onOutcome('stale')
        return cached(kept, 'stale')
      }
      onOutcome('miss')
      return cached(JSON.parse(await loading), 'miss')
    },

    async delete(key) {
      reads.delete(key)
      loads.delete(key)
      await store.delete(key)
    },

    async close() {
      await Promise.allSettled(loads.values())
      await store.close()
    },
  }
}

/** What already runs for the key, else what `start` begins. `isCurrent` turns false when the key is deleted. */
function shared<T>(
  running: Map<string, Promise<T>>,
  key: string,
  start: (isCurrent: () => boolean) => Promise<T>,
): Promise<T> {
  const found = running.get(key)
  if (found !== undefined) return found
  const isCurrent = () => running.get(key) === started
  const started = start(isCurrent).finally(() => {
    if (isCurrent()) running.delete(key)
  })
  running.set(key, started)
  return started
}

/** What is under the key of a shared store may be anybody's: all but an entry counts as nothing. */
function parseEntry(text: string): Entry | undefined {
  try {
    const parsed: Partial<Entry> | null = JSON.parse(text)
    return typeof parsed?.loadedAt === 'number' ? { ...parsed, loadedAt: parsed.loadedAt } : undefined
  } catch {
    return undefined
  }
}
