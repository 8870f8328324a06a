/** A measurement by k6. Times are milliseconds since the epoch. */
export type Point =
  | { kind: 'request'; time: number; failure: string | null }
  | { kind: 'latency'; time: number; ms: number }
  | { kind: 'dropped'; time: number }
  | { kind: 'failed check'; time: number; name: string }

/** Sends a load and measures it: k6 on this machine, or in the pods of a Job. */
export interface Generator {
  /** The URL that receives the load. */
  readonly baseUrl: string
  /** The number of pods; null for k6 on this machine. */
  readonly pods: number | null
  /**
   * Does everything that precedes the load, or returns early when `signal` is aborted.
   *
   * @throws ActionableError when the load could not be sent.
   */
  prepare: (signal: AbortSignal) => Promise<void>
  /**
   * Sends the load to its end, or until `signal` is aborted, and reports its points as they are measured. Afterwards
   * nothing sends requests any more.
   *
   * @returns the CPU time of k6 under load as a share of what it may use; null if it is unknown.
   * @throws ActionableError when the load was not sent or not measured completely.
   */
  send: (signal: AbortSignal, onPoint: (point: Point) => void) => Promise<number | null>
  /** Removes what the generator has created. It never fails. */
  close: () => Promise<void>
}
