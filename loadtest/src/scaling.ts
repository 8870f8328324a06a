import type { Autoscaler, Scaling } from './run-report.ts'
import type { SloWindows } from './timeline.ts'

/** What exists in the cluster at a moment. */
export interface Inventory {
  /** Replicas that the autoscaler wants, and those that are ready. */
  wanted: number
  ready: number
  /** Pods of the release, whatever their state. */
  pods: number
  nodes: number
  /** On-demand price of all nodes in USD; null when a node has a type without a known price. */
  usdPerHour: number | null
}

/** The times by which the figures count, in milliseconds since the epoch. */
export interface LoadTimes {
  start: number
  /** When the highest rate ended, as planned. */
  peakEnd: number
  loadEnd: number
  /** End of the recording. */
  end: number
}

/**
 * Computes when and how far a release scaled. Changes arrive in the order of time; it keeps only sums and the decisions
 * of the autoscaler, which are at most one each 15 s.
 */
export class ScalingFigures {
  /** The inventory before the load, and afterwards the last change. */
  #last: { time: number; inventory: Inventory } | undefined
  #start: number | undefined
  #first: Inventory | undefined
  #maxReady = 0
  #podSeconds = 0
  #nodeSeconds = 0
  #usd: number | null = 0
  #peakUsdPerHour: number | null = 0
  #newPodReady: number | undefined
  /** Changes of the wanted replicas since the start, and of whether the release is as before the load. */
  readonly #decisions: { time: number; wanted: number }[] = []
  #backSince: number | undefined

  /** Starts the figures with the first request. Further calls have no effect. */
  begin(time: number): void {
    if (this.#start !== undefined) return
    this.#start = time
    if (this.#last !== undefined) this.#beginWith(time, this.#last.inventory)
  }

  /** Sets what exists from `time` on. */
  change(time: number, inventory: Inventory): void {
    if (this.#start !== undefined && this.#first === undefined) this.#beginWith(time, inventory)
    else if (this.#start !== undefined) this.#addTime(time)
    this.#last = { time: Math.max(time, this.#start ?? time), inventory }
    if (this.#first === undefined) return
    this.#maxReady = Math.max(this.#maxReady, inventory.ready)
    this.#peakUsdPerHour = larger(this.#peakUsdPerHour, inventory.usdPerHour)
    if (this.#decisions.at(-1)?.wanted !== inventory.wanted) {
      this.#decisions.push({ time, wanted: inventory.wanted })
    }
    const isBack = inventory.wanted === this.#first.ready && inventory.ready === this.#first.ready
    this.#backSince = isBack ? (this.#backSince ?? time) : undefined
  }

  /** Records that a pod that was created after the start is ready. */
  newPodReady(time: number): void {
    if (this.#start !== undefined) this.#newPodReady ??= time
  }

  /** The figures; null if nothing was known of the cluster during the load. */
  report(
    autoscaler: Autoscaler,
    { start, peakEnd, loadEnd, end }: LoadTimes,
    windows: SloWindows,
  ): Scaling | null {
    if (this.#first === undefined || this.#last === undefined) return null
    this.#addTime(end)
    const from = this.#first.ready
    const second = (time: number | undefined) =>
      time === undefined ? null : Math.round((time - start) / 100) / 10
    let most = from
    let wantedAtPeakEnd = from
    for (const { time, wanted } of this.#decisions) {
      if (time <= loadEnd) most = Math.max(most, wanted)
      if (time <= Math.min(peakEnd, loadEnd)) wantedAtPeakEnd = wanted
    }
    const scaled = this.#maxReady > from
    return {
      autoscaler,
      replicas: { from, max: this.#maxReady, end: this.#last.inventory.ready },
      firstDecisionSecond: second(this.#decisions.find(({ wanted }) => wanted > from)?.time),
      firstNewPodReadySecond: second(this.#newPodReady),
      sloViolatedSecond: windows.violatedSecond,
      sloHoldsAgainSecond: windows.holdsAgainSecond,
      overshootReplicas: most - wantedAtPeakEnd,
      // A release that is back before the load ends, because the load falls, is back when it ends.
      backSecond: scaled && this.#backSince !== undefined ? second(Math.max(this.#backSince, loadEnd)) : null,
      podSeconds: Math.round(this.#podSeconds),
      nodeSeconds: Math.round(this.#nodeSeconds),
      price:
        this.#usd === null || this.#peakUsdPerHour === null
          ? null
          : {
              usd: Math.round(this.#usd * 1e6) / 1e6,
              perHourAtPeak: Math.round(this.#peakUsdPerHour * 1e6) / 1e6,
            },
    }
  }

  #beginWith(time: number, inventory: Inventory): void {
    this.#first = inventory
    this.#last = { time, inventory }
    this.#maxReady = inventory.ready
    this.#peakUsdPerHour = inventory.usdPerHour
    this.#decisions.push({ time, wanted: inventory.wanted })
  }

  /** Adds the time since the last change with what existed meanwhile. */
  #addTime(time: number): void {
    if (this.#last === undefined || time <= this.#last.time) return
    const seconds = (time - this.#last.time) / 1_000
    const { pods, nodes, usdPerHour } = this.#last.inventory
    this.#podSeconds += pods * seconds
    this.#nodeSeconds += nodes * seconds
    this.#usd = this.#usd === null || usdPerHour === null ? null : this.#usd + (usdPerHour * seconds) / 3_600
    this.#last = { ...this.#last, time }
  }
}

function larger(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b)
}
