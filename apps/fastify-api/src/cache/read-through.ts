import type { Cache, Cached, CacheEvents, CacheOutcome } from './cache.ts'

/** Stores texts. It never fails: an unavailable store is an empty one. */
export interface Store {
  read(key: string): Promise<Slot>
  /** Deletes the text. Slots that any process read before can no longer be replaced. */
  delete(key: string): Promise<void>
  close(): Promise<void>
}

/** The content of a key when it was read. */
export interface Slot {
  /** Empty if there was no text. */
  text: string
  /** Replaces the text, for `keepMs` milliseconds at most. */
  replace(text: string, keepMs: number): Promise<void>
}

/** The stored JSON. It contains the time of loading, so that readers can check its age. */
interface Entry {
  /** Milliseconds since the epoch. */
  loadedAt: number
  /** Absent for `undefined`, which is cached as well. */
  value?: unknown
}

interface Reading {
  slot: Slot
  /** The load in progress when reading began. It may have ended since, too late for its value to be read. */
  underWay: Promise<string> | undefined
}

/**
 * The logic of all caches: one load at a time for each key, freshness, reload in the background.
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
    // The clock of the process that loaded the value may be ahead.
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

/** Returns the running call for the key, or starts one. `isCurrent` is false once the key has been deleted. */
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

/** Other programs may write to the shared store: anything but an entry is ignored. */
function parseEntry(text: string): Entry | undefined {
  try {
    const parsed: Partial<Entry> | null = JSON.parse(text)
    return typeof parsed?.loadedAt === 'number' ? { ...parsed, loadedAt: parsed.loadedAt } : undefined
  } catch {
    return undefined
  }
}
