import type { Point } from './k6.ts'

/** A sample of the autoscaler and its Deployment; null where the cluster did not answer. */
export interface ReplicaSample {
  /** Milliseconds since the epoch. */
  time: number
  /** Average CPU of the pods in percent of their request, as the autoscaler last computed it. */
  cpuPercent: number | null
  desired: number | null
  ready: number | null
  /** Why the autoscaler is inactive, or why it could not be sampled. */
  problem: string | null
}

/** A row of the timeline. Rate and percentile cover the 5 s before it, or less at the start. */
export interface Row {
  /** Seconds since the first answer. */
  second: number
  /** Requests per second. */
  rate: number
  p95Ms: number | null
  /** Failed requests since the start. */
  failed: number
  cpuPercent: number | null
  desired: number | null
  ready: number | null
  problem: string | null
}

/** The summary of a run. Seconds count from the first answer. */
export interface Summary {
  requests: number
  failed: number
  /** Failed requests by cause. */
  failures: Record<string, number>
  errorRate: number | null
  droppedIterations: number
  p95Ms: number | null
  maxMs: number | null
  /** Null when no cluster was watched. */
  replicas: ReplicaSummary | null
}

export interface ReplicaSummary {
  /** Ready replicas at the start of the load, and their maximum. */
  from: number
  max: number
  /** When the autoscaler first wanted more than `from`; null if it never did. */
  firstScaleUpSecond: number | null
  /** When each number of replicas above `from` was first ready. */
  readySeconds: Record<number, number>
  /** When the release was back at `from` after the load; null if it never was, or never scaled up. */
  backSecond: number | null
}

const intervalMs = 5_000

/** Collects the points of k6 and the samples of the cluster, and computes the rows and the summary of a run. */
export class Timeline {
  readonly #points: Point[] = []
  readonly #samples: ReplicaSample[] = []
  #loadEnd = Number.POSITIVE_INFINITY

  addPoint(point: Point): void {
    this.#points.push(point)
  }

  addSample(sample: ReplicaSample): void {
    this.#samples.push(sample)
  }

  /** Ends the rows every 5 s. After this, only changes of the replicas make rows. */
  endLoad(time: number): void {
    this.#loadEnd = time
  }

  /**
   * The rows in the interval (after, until], in milliseconds since the epoch: every 5 s during the load, and at each
   * change of the replicas. There are none before the first answer.
   */
  rows(after: number, until: number): Row[] {
    const start = this.#points[0]?.time
    if (start === undefined) return []
    const times = this.#samples.filter(isChange).map(({ time }) => time)
    for (let time = start + intervalMs; time <= Math.min(until, this.#loadEnd); time += intervalMs) {
      times.push(time)
    }
    return times
      .filter((time) => time > Math.max(after, start) && time <= until)
      .sort((a, b) => a - b)
      .map((time) => this.#row(start, time))
  }

  summary(): Summary {
    const failures: Record<string, number> = {}
    let requests = 0
    let failed = 0
    for (const point of this.#points) {
      if (point.kind !== 'request') continue
      requests++
      if (point.failure === null) continue
      failed++
      failures[point.failure] = (failures[point.failure] ?? 0) + 1
    }
    const latencies = latenciesOf(this.#points)
    return {
      requests,
      failed,
      failures,
      errorRate: requests === 0 ? null : failed / requests,
      droppedIterations: this.#points.filter(({ kind }) => kind === 'dropped').length,
      p95Ms: percentile(latencies, 0.95),
      maxMs: percentile(latencies, 1),
      replicas: this.#replicas(),
    }
  }

  #row(start: number, time: number): Row {
    const from = Math.max(start, time - intervalMs)
    const window = this.#points.filter((point) => point.time > from && point.time <= time)
    const requests = window.filter(({ kind }) => kind === 'request').length
    const failed = this.#points.filter(
      (point) => point.kind === 'request' && point.failure !== null && point.time <= time,
    ).length
    const sample = this.#samples.findLast((candidate) => candidate.time <= time)
    return {
      second: seconds(start, time),
      rate: Math.round((requests * 10_000) / (time - from)) / 10,
      p95Ms: percentile(latenciesOf(window), 0.95),
      failed,
      cpuPercent: sample?.cpuPercent ?? null,
      desired: sample?.desired ?? null,
      ready: sample?.ready ?? null,
      problem: sample?.problem ?? null,
    }
  }

  #replicas(): ReplicaSummary | null {
    const start = this.#points[0]?.time
    const samples = this.#samples.filter(hasAnswer)
    const first = samples.findLast(({ time }) => start !== undefined && time <= start) ?? samples[0]
    if (start === undefined || first === undefined) return null
    const from = first.ready
    const readySeconds: Record<number, number> = {}
    let max = from
    for (const { time, ready } of samples.slice(samples.indexOf(first))) {
      for (let count = max + 1; count <= ready; count++) readySeconds[count] = seconds(start, time)
      max = Math.max(max, ready)
    }
    const scaleUp = samples.find(({ time, desired }) => time > start && desired > from)
    const back = samples.find(
      ({ time, desired, ready }) => time > this.#loadEnd && desired === from && ready === from,
    )
    return {
      from,
      max,
      firstScaleUpSecond: scaleUp === undefined ? null : seconds(start, scaleUp.time),
      readySeconds,
      backSecond: back === undefined || max === from ? null : seconds(start, back.time),
    }
  }
}

interface AnsweredSample extends ReplicaSample {
  desired: number
  ready: number
}

function hasAnswer(sample: ReplicaSample): sample is AnsweredSample {
  return sample.desired !== null && sample.ready !== null
}

function isChange(sample: ReplicaSample, index: number, samples: ReplicaSample[]): boolean {
  const previous = samples[index - 1]
  return (
    previous !== undefined &&
    (sample.desired !== previous.desired ||
      sample.ready !== previous.ready ||
      sample.problem !== previous.problem)
  )
}

function latenciesOf(points: Point[]): number[] {
  return points.filter((point) => point.kind === 'latency').map(({ ms }) => ms)
}

function seconds(start: number, time: number): number {
  return Math.round((time - start) / 1_000)
}

/**
 * The percentile with linear interpolation between the closest ranks, as in k6.
 *
 * @param share - from 0 to 1
 */
export function percentile(values: number[], share: number): number | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  const rank = share * (sorted.length - 1)
  const below = sorted[Math.floor(rank)] as number
  const above = sorted[Math.ceil(rank)] as number
  return below + (above - below) * (rank - Math.floor(rank))
}
