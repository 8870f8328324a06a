import type { Point } from './generator.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import type { Series, Summary } from './run-report.ts'

/** The state of the cluster at a moment; null where it is unknown. */
export interface ClusterSample {
  /** Replicas that the autoscaler wants, and those that are ready. */
  wanted: number | null
  ready: number | null
  podsPending: number | null
  nodes: number | null
  karpenterNodes: number | null
  /** Average CPU of the pods in percent of their request, as the autoscaler last computed it. */
  cpuPercent: number | null
  /** Why the autoscaler is inactive, or why its state is unknown. */
  problem: string | null
}

/** A row of the terminal's timeline. Rate and percentile cover the 5 s before it, or less at the start. */
export interface Row {
  /** Seconds since the first request. */
  second: number
  /** Requests per second. */
  rate: number
  p95Ms: number | null
  /** Failed requests since the start. */
  failed: number
  sample: ClusterSample | null
}

/** How 5 s of traffic at a time kept to the bounds. Seconds count from the first request. */
export interface SloWindows {
  /** Start of the first window over the bounds. */
  violatedSecond: number | null
  /** End of the last window over the bounds; null without one, or when it was the last one of the load. */
  holdsAgainSecond: number | null
  /** Number of consecutive windows over the bounds, up to now. */
  violatedInARow: number
  /** The highest rate of a window before the first violation, in requests per second. */
  carriedRate: number | null
}

const windowSeconds = 5
/** k6 writes points in batches. After this time all points of a moment have arrived, unless the machine is overloaded. */
const lagSeconds = 2
/** Limit of the report's rows. */
const maxSteps = 720

/**
 * Aggregates the points of k6 and the samples of the cluster as they arrive. It keeps counts by second for the last two
 * windows, and by step for the whole run. Steps become longer in a long run, so that the memory does not grow with it.
 */
export class Timeline {
  readonly #p95Ms: number
  readonly #plannedSeconds: number
  /** In milliseconds since the epoch. */
  #start: number | undefined
  #loadEnd = Number.POSITIVE_INFINITY
  readonly #total = new Bucket()
  readonly #failures: Record<string, number> = {}
  readonly #checksFailed: Record<string, number> = {}
  readonly #seconds = new Map<number, Bucket>()
  /** The end of the last complete window. */
  #complete = 0
  #steps: Step[] = []
  #stepSeconds = windowSeconds
  readonly #windows: SloWindows = {
    violatedSecond: null,
    holdsAgainSecond: null,
    violatedInARow: 0,
    carriedRate: null,
  }
  /** The samples since the last complete window, and the last one before them. */
  #samples: TimedSample[] = []
  /** Changes of the replicas, and complete windows, that have not been taken as rows yet. */
  #changes: TimedSample[] = []
  #windowRows: Row[] = []

  /**
   * @param p95Ms - the bound for 5 s of traffic
   * @param plannedSeconds - the length of the load, during which 5 s without any answer are over the bounds as well
   */
  constructor(p95Ms: number, plannedSeconds: number) {
    this.#p95Ms = p95Ms
    this.#plannedSeconds = plannedSeconds
  }

  /** The time of the first request in milliseconds since the epoch; undefined before its answer. */
  get startedAt(): number | undefined {
    return this.#start
  }

  get windows(): Readonly<SloWindows> {
    return this.#windows
  }

  addPoint(point: Point): void {
    this.#start ??= point.time
    // The first answer: its request was sent earlier.
    if (point.kind === 'latency' && this.#total.latencies.maxMs === null) {
      this.#start = Math.min(this.#start, point.time - point.ms)
    }
    this.#total.add(point)
    if (point.kind === 'request' && point.failure !== null) count(this.#failures, point.failure)
    if (point.kind === 'failed check') count(this.#checksFailed, point.name)
    const second = Math.floor(Math.max(0, point.time - this.#start) / 1_000)
    // A point of a complete window is late: it counts in the totals and in the series.
    if (second < this.#complete) this.#step(second).traffic.add(point)
    else this.#second(second).add(point)
    // Points also tell the time, so that a burst of them takes no more memory than a steady stream.
    if (second > this.#complete + 3 * windowSeconds) this.#completeUntil(second - windowSeconds)
  }

  /** Adds the state of the cluster at `time`, in milliseconds since the epoch. */
  addSample(time: number, sample: ClusterSample): void {
    const previous = this.#samples.at(-1)
    if (this.#start === undefined || time > this.#loadEnd) this.#samples = []
    this.#samples.push({ time, sample })
    if (this.#start === undefined || time < this.#start) return
    this.#step(Math.floor((time - this.#start) / 1_000)).sample = sample
    if (previous !== undefined && isChange(previous.sample, sample)) this.#changes.push({ time, sample })
  }

  /** Ends the traffic. After this, only changes of the replicas make rows. */
  endLoad(time: number): void {
    this.#loadEnd = time
    if (this.#start === undefined) return
    this.#completeUntil((time - this.#start) / 1_000)
    // Less than a window is left. It counts, but is too short to be judged.
    for (const [second, bucket] of this.#seconds) {
      if (second >= this.#complete) this.#step(second).traffic.merge(bucket)
    }
    this.#complete = Number.POSITIVE_INFINITY
  }

  /** The rows since the last call, in order: every 5 s during the load, and at each change of the replicas. */
  takeRows(now: number): Row[] {
    if (this.#start === undefined) return []
    const start = this.#start
    const until = now > this.#loadEnd ? now : now - lagSeconds * 1_000
    this.#completeUntil((until - start) / 1_000)
    const changes = this.#changes.filter(({ time }) => time <= until)
    this.#changes = this.#changes.filter(({ time }) => time > until)
    const rows = changes.map(({ time, sample }) => this.#row(Math.round((time - start) / 1_000), sample))
    const all = [...this.#windowRows, ...rows].sort((a, b) => a.second - b.second)
    this.#windowRows = []
    return all
  }

  summary(): Summary {
    const { requests, failed, dropped, latencies } = this.#total
    return {
      requests,
      failed,
      failures: this.#failures,
      errorRate: requests === 0 ? null : failed / requests,
      droppedIterations: dropped,
      p50Ms: rounded(latencies.percentile(0.5)),
      p95Ms: rounded(latencies.percentile(0.95)),
      p99Ms: rounded(latencies.percentile(0.99)),
      maxMs: rounded(latencies.maxMs),
      checksFailed: this.#checksFailed,
    }
  }

  /** The columns of the report, from the first request to `seconds` after it. */
  series(seconds: number): Series {
    const length = this.#stepSeconds
    const steps = this.#steps.slice(0, Math.ceil(seconds / length))
    const samples: (ClusterSample | null)[] = []
    for (const { sample } of steps) samples.push(sample ?? samples.at(-1) ?? null)
    const rates = steps.map(
      ({ traffic }, index) => traffic.requests / Math.min(length, seconds - index * length),
    )
    const percentiles = (share: number) =>
      steps.map(({ traffic }) => rounded(traffic.latencies.percentile(share)))
    const column = (key: Exclude<keyof ClusterSample, 'problem'>) =>
      samples.map((sample) => sample?.[key] ?? null)
    return {
      stepSeconds: length,
      second: steps.map((_step, index) => (index + 1) * length),
      rate: rates.map(rounded),
      failed: steps.map(({ traffic }) => traffic.failed),
      dropped: steps.map(({ traffic }) => traffic.dropped),
      p50Ms: percentiles(0.5),
      p95Ms: percentiles(0.95),
      p99Ms: percentiles(0.99),
      replicasWanted: column('wanted'),
      replicasReady: column('ready'),
      podsPending: column('podsPending'),
      nodes: column('nodes'),
      karpenterNodes: column('karpenterNodes'),
      cpuPercent: column('cpuPercent'),
      // Only Prometheus has it, and fills it after the run.
      eventLoopUtilization: steps.map(() => null),
    }
  }

  #second(second: number): Bucket {
    const bucket = this.#seconds.get(second) ?? new Bucket()
    this.#seconds.set(second, bucket)
    return bucket
  }

  /** The step of a second. Pairs of steps are joined when there would be too many. */
  #step(second: number): Step {
    while (second >= maxSteps * this.#stepSeconds) {
      this.#stepSeconds *= 2
      const joined: Step[] = []
      for (const [index, step] of this.#steps.entries()) {
        const earlier = joined[(index - 1) / 2]
        if (earlier === undefined) {
          joined.push(step)
          continue
        }
        earlier.traffic.merge(step.traffic)
        earlier.sample = step.sample ?? earlier.sample
      }
      this.#steps = joined
    }
    const index = Math.floor(second / this.#stepSeconds)
    while (this.#steps.length <= index) this.#steps.push({ traffic: new Bucket(), sample: null })
    return this.#steps[index] as Step
  }

  /** Judges the windows that end by `second`, and adds them to their steps. */
  #completeUntil(second: number): void {
    for (let end = this.#complete + windowSeconds; end <= second; end += windowSeconds) {
      const traffic = this.#trafficBefore(end)
      this.#judge(end, traffic)
      this.#step(end - windowSeconds).traffic.merge(traffic)
      this.#complete = end
      const time = (this.#start as number) + end * 1_000
      const inForce = this.#samples.findLastIndex((entry) => entry.time <= time)
      this.#windowRows.push(this.#row(end, this.#samples[inForce]?.sample ?? null))
      this.#samples = this.#samples.slice(Math.max(0, inForce))
      // The window before this one is still needed for rows of changes.
      for (const past of this.#seconds.keys()) if (past < end - windowSeconds) this.#seconds.delete(past)
    }
  }

  #judge(end: number, traffic: Bucket): void {
    const windows = this.#windows
    const p95Ms = traffic.latencies.percentile(0.95)
    const isViolated =
      traffic.failed > 0 || (p95Ms === null ? end < this.#plannedSeconds : p95Ms > this.#p95Ms)
    if (isViolated) {
      windows.violatedSecond ??= end - windowSeconds
      windows.holdsAgainSecond = null
      windows.violatedInARow++
      return
    }
    if (windows.violatedInARow > 0) windows.holdsAgainSecond = end - windowSeconds
    windows.violatedInARow = 0
    if (windows.violatedSecond === null) {
      windows.carriedRate = Math.max(windows.carriedRate ?? 0, traffic.requests / windowSeconds)
    }
  }

  #trafficBefore(end: number): Bucket {
    const traffic = new Bucket()
    for (let second = end - windowSeconds; second < end; second++) {
      const bucket = this.#seconds.get(second)
      if (bucket !== undefined) traffic.merge(bucket)
    }
    return traffic
  }

  #row(second: number, sample: ClusterSample | null): Row {
    const { requests, latencies } = this.#trafficBefore(second)
    return {
      second,
      rate: Math.round((requests / Math.min(windowSeconds, Math.max(1, second))) * 10) / 10,
      p95Ms: latencies.percentile(0.95),
      failed: this.#total.failed,
      sample,
    }
  }
}

/** How long the bounds were exceeded; null when they still were at the end. */
export function recoverySeconds({ violatedSecond, holdsAgainSecond }: SloWindows): number | null {
  if (violatedSecond === null) return 0
  return holdsAgainSecond === null ? null : holdsAgainSecond - violatedSecond
}

interface TimedSample {
  time: number
  sample: ClusterSample
}

interface Step {
  traffic: Bucket
  sample: ClusterSample | null
}

/** Traffic of some seconds. */
class Bucket {
  requests = 0
  failed = 0
  dropped = 0
  readonly latencies = new LatencyHistogram()

  add(point: Point): void {
    if (point.kind === 'latency') this.latencies.add(point.ms)
    if (point.kind === 'dropped') this.dropped++
    if (point.kind !== 'request') return
    this.requests++
    if (point.failure !== null) this.failed++
  }

  merge(other: Bucket): void {
    this.requests += other.requests
    this.failed += other.failed
    this.dropped += other.dropped
    this.latencies.merge(other.latencies)
  }
}

/** Most causes or names to count apart, because k6 may put an address or a port into each message. */
const maxNames = 50

function count(counts: Record<string, number>, name: string): void {
  const key = name in counts || Object.keys(counts).length < maxNames ? name : 'others'
  counts[key] = (counts[key] ?? 0) + 1
}

function isChange(previous: ClusterSample, sample: ClusterSample): boolean {
  return (
    sample.wanted !== previous.wanted ||
    sample.ready !== previous.ready ||
    sample.problem !== previous.problem
  )
}

/** Rounds to hundredths, which keeps the report small. */
function rounded(value: number | null): number | null {
  return value === null ? null : Math.round(value * 100) / 100
}
