import { join } from 'node:path'
import { ActionableError } from 'shared/errors'
import type { Autoscaler, Cluster } from './cluster.ts'
import { runK6 } from './k6.ts'
import type { Load } from './load.ts'
import { formatAutoscaler, formatHeading, formatRow, type Report } from './report.ts'
import { evaluate, type ScenarioName, SLO, type Verdict } from './slo.ts'
import { type ReplicaSample, Timeline } from './timeline.ts'

export interface Recording {
  scenario: ScenarioName
  load: Load
  baseUrl: string
  /** Path of the k6 program. */
  k6: string
  /** Null for a target that is no cluster. */
  cluster: Cluster | null
  /** Whether to go on after the load until the replicas are back at their minimum. */
  untilScaledDown: boolean
  /** Seconds to wait for that minimum, before the load and after it. */
  settleSeconds: number
  /** Ends the recording early when aborted. */
  signal: AbortSignal
  /** Takes each line of the output when it is there. */
  print: (line: string) => void
}

/** k6 hands out its points in batches; after this many milliseconds none of a moment is missing. */
const lagMs = 1_000

/**
 * Sends the load and records what happens, printing the timeline as it grows.
 *
 * @returns the report; marked as interrupted when `signal` ended the load or the recording after it.
 * @throws ActionableError when the run cannot start, or k6 fails.
 */
export async function record(recording: Recording): Promise<Report> {
  const { scenario, load, baseUrl, cluster, signal, print } = recording
  const autoscaler = cluster === null ? null : await cluster.autoscaler()
  if (cluster !== null && autoscaler !== null && scenario === 'scaling') {
    await waitUntilScalable(cluster, autoscaler, recording)
  }
  print(`${scenario}: about ${load.requests} requests in ${load.seconds} s to ${baseUrl}`)
  if (autoscaler !== null) print(formatAutoscaler(autoscaler))
  print(formatHeading())

  const startedAt = new Date().toISOString()
  const timeline = new Timeline()
  let printedUntil = 0
  const printRows = (until: number) => {
    for (const row of timeline.rows(printedUntil, until)) print(formatRow(row, autoscaler))
    printedUntil = until
  }
  const printer = setInterval(() => printRows(Date.now() - lagMs), 500)
  const verdicts: Verdict[] = []
  try {
    await sendLoad(recording, timeline)
    if (recording.untilScaledDown && cluster !== null && autoscaler !== null && !signal.aborted) {
      const { minReplicas } = autoscaler
      const last = await waitForReplicas(cluster, minReplicas, recording, (sample) =>
        timeline.addSample(sample),
      )
      verdicts.push({
        name: `replicas within ${recording.settleSeconds} s after the load`,
        value: last.ready,
        comparison: '<=',
        bound: minReplicas,
        met: isAt(last, minReplicas),
      })
    }
  } finally {
    clearInterval(printer)
    printRows(Date.now())
  }

  const summary = timeline.summary()
  return {
    scenario,
    baseUrl,
    startedAt,
    autoscaler,
    interrupted: signal.aborted,
    summary,
    verdicts: signal.aborted
      ? []
      : [
          ...evaluate(SLO[scenario], { ...summary, readyReplicas: summary.replicas?.max ?? null }),
          ...verdicts,
        ],
    timeline: timeline.rows(0, Date.now()),
  }
}

/** Runs k6 to its end while the replicas are watched. */
async function sendLoad(
  { scenario, baseUrl, k6, cluster, signal }: Recording,
  timeline: Timeline,
): Promise<void> {
  const loadOver = new AbortController()
  const watching = cluster?.watch(loadOver.signal, (sample) => {
    timeline.addSample(sample)
    return false
  })
  const load = runK6({
    program: k6,
    script: join(import.meta.dirname, 'scenarios', `${scenario}.ts`),
    environment: { ...process.env, BASE_URL: baseUrl },
    signal,
    onPoint: (point) => timeline.addPoint(point),
  }).finally(() => {
    timeline.endLoad(Date.now())
    loadOver.abort()
  })
  await Promise.all([load, watching])
}

/** A run shows how the service scales only if it starts at the minimum, under an autoscaler that works. */
async function waitUntilScalable(cluster: Cluster, { minReplicas }: Autoscaler, recording: Recording) {
  const { settleSeconds, signal, print } = recording
  await cluster.waitUntilActive(signal)
  let told = false
  const last = await waitForReplicas(cluster, minReplicas, recording, (sample) => {
    if (!told && !isAt(sample, minReplicas)) {
      told = true
      print(`waiting up to ${settleSeconds} s for ${minReplicas} replicas: ${formatSample(sample)}`)
    }
  })
  if (!isAt(last, minReplicas) && !signal.aborted) {
    throw new ActionableError(
      `the release is not at its ${minReplicas} replicas after ${settleSeconds} s: ${formatSample(last)}`,
      'stop other load, see why pods are not ready with `kubectl describe pods`, or raise --settle-timeout',
    )
  }
}

/** Watches until there are `count` replicas or the time for settling is up; returns what was seen last. */
async function waitForReplicas(
  cluster: Cluster,
  count: number,
  { settleSeconds, signal }: Recording,
  onSample: (sample: ReplicaSample) => void,
): Promise<ReplicaSample> {
  return cluster.watch(AbortSignal.any([signal, AbortSignal.timeout(settleSeconds * 1_000)]), (sample) => {
    onSample(sample)
    return isAt(sample, count)
  })
}

function isAt({ desired, ready }: ReplicaSample, count: number): boolean {
  return desired === count && ready === count
}

function formatSample({ desired, ready, problem }: ReplicaSample): string {
  return problem ?? `${ready} ready, ${desired} desired`
}
