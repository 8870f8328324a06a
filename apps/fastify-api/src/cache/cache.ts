/** Source of a value: fresh from the cache, stale while it is reloaded, or loaded for this call. */
export type CacheOutcome = 'hit' | 'stale' | 'miss'

export interface Cached<T> {
  value: T
  outcome: CacheOutcome
  /** Seconds since the value was loaded, rounded down. */
  age: number
}

/** A read-through cache of JSON values. Every caller gets its own copy. */
export interface Cache {
  /**
   * Returns the value of `key`. For `freshMs` after loading, the value is returned without a load. For another
   * `staleMs`, it is returned while one load in the background replaces it. Otherwise the caller waits for the load.
   * Concurrent callers share one load, so all callers of a key must pass the same freshness and load. A failed load is
   * not cached: callers that wait get the error, callers that get a stale value do not.
   *
   * @throws only errors of `load`; if the shared store fails, values are loaded instead
   */
  get<T>(
    key: string,
    freshness: { freshMs: number; staleMs: number },
    load: () => Promise<T>,
  ): Promise<Cached<T>>
  /** Deletes a value, here and in the shared store. The result of a load in progress, in any process, is not cached. */
  delete(key: string): Promise<void>
  /** Waits for the loads in progress, then disconnects from the shared store. */
  close(): Promise<void>
}

/** Events of the cache, for metrics and log lines. */
export interface CacheEvents {
  onOutcome(outcome: CacheOutcome): void
  /**
   * The shared store failed, so values are loaded instead. Called once per outage, not once per call. The message
   * contains no credentials.
   */
  onStoreDown(error: Error): void
  /** The shared store works: called after the start and after every outage. */
  onStoreUp(): void
}
