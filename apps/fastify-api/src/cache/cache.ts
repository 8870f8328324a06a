/** How a value was come by: fresh from the cache, stale while a new one is fetched, or fetched for this call. */
export type CacheOutcome = 'hit' | 'stale' | 'miss'

export interface Cached<T> {
  value: T
  outcome: CacheOutcome
  /** Seconds since the value was loaded, rounded down. */
  age: number
}

/** A read-through cache of JSON values. Every caller gets a copy of its own. */
export interface Cache {
  /**
   * The value under `key`. Within `freshMs` of loading it is served as it is; for `staleMs` longer it is served
   * while one load in the background replaces it; else the caller waits for the load. However many ask for a key
   * at once, one load runs, so whoever asks for a key gives the same freshness and load. A load that fails is not
   * kept: those who wait get the error, those who get a stale value do not notice.
   *
   * @throws what `load` throws, nothing else: a shared store that fails is only slower.
   */
  get<T>(
    key: string,
    freshness: { freshMs: number; staleMs: number },
    load: () => Promise<T>,
  ): Promise<Cached<T>>
  /** Forgets a value, here and in the shared store. A load that is under way, in any process, is not kept. */
  delete(key: string): Promise<void>
  /** Lets loads under way end, then lets go of the shared store. */
  close(): Promise<void>
}

/** What the cache tells of itself; the service makes metrics and log lines of it. */
export interface CacheEvents {
  onOutcome(outcome: CacheOutcome): void
  /**
   * The shared store failed: values come from elsewhere, slower. Told once per outage, not once per call. The
   * message holds no credentials.
   */
  onStoreDown(error: Error): void
  /** The shared store is in use: told after the start, and after every outage. */
  onStoreUp(): void
}
