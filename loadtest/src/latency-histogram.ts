/** Relative width of a bucket: a percentile is at most half of this off. */
const width = 0.01
const base = Math.log1p(width)

/**
 * Counts latencies in buckets of 1 % width, so that a histogram takes the same memory however many it counts, and two can
 * be added up, which percentiles cannot. Only buckets with a count take memory.
 */
export class LatencyHistogram {
  readonly #counts = new Map<number, number>()
  #count = 0
  #max = 0

  get maxMs(): number | null {
    return this.#count === 0 ? null : this.#max
  }

  add(ms: number): void {
    // A microsecond is far below any latency; the logarithm of 0 is infinite.
    this.#increase(Math.round(Math.log(Math.max(ms, 0.001)) / base), 1, ms)
  }

  merge(other: LatencyHistogram): void {
    for (const [bucket, count] of other.#counts) this.#increase(bucket, count, other.#max)
  }

  /**
   * The percentile, to within 0.5 %; null without latencies.
   *
   * @param share - from 0 to 1
   */
  percentile(share: number): number | null {
    if (this.#count === 0) return null
    let rest = share * this.#count
    let last = 0
    for (const [bucket, count] of [...this.#counts].sort(([a], [b]) => a - b)) {
      last = bucket
      rest -= count
      if (rest <= 0) break
    }
    return Math.min(Math.exp(last * base), this.#max)
  }

  #increase(bucket: number, count: number, max: number): void {
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count)
    this.#count += count
    this.#max = Math.max(this.#max, max)
  }
}
