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
  /** Path of k6. */
  k6: string
  /** The environment variables of k6, from which the scenario reads its load and the service's URL. */
  variables: NodeJS.ProcessEnv
  /** Null when no cluster is watched. */
  cluster: Cluster | null
  /** Whether to continue after the load until the replicas are back at their minimum. */
  untilScaledDown: boolean
  /** How long to wait for the minimum, before and after the load. In seconds. */
  settleSeconds: number
  /** Aborts the recording. */
  signal: AbortSignal
  /** Receives each line of the output as soon as it is available. */
  print: (line: string) => void
}

/** k6 writes points in batches. After this time, in milliseconds, all points of a moment have arrived. */
const lagMs = 1_000

/**
 * Sends the load, records what happens, and prints the timeline as it grows.
 *
 * @returns the report, marked as interrupted when `signal` was aborted.
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

/** Runs k6 and samples the replicas meanwhile. */
async function sendLoad(
  { scenario, k6, variables, cluster, signal }: Recording,
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
    environment: variables,
    signal,
    onPoint: (point) => timeline.addPoint(point),
  }).finally(() => {
    timeline.endLoad(Date.now())
    loadOver.abort()
  })
  await Promise.all([load, watching])
}

/** Waits for an active autoscaler and the minimum of replicas: from another state, a run does not show scaling. */
async function waitUntilScalable(cluster: Cluster, { minReplicas }: Autoscaler, recording: Recording) {
  const { settleSeconds, signal, print } = recording
  await cluster.waitUntilActive(signal)
  let reported = false
  const last = await waitForReplicas(cluster, minReplicas, recording, (sample) => {
    if (!reported && !isAt(sample, minReplicas)) {
      reported = true
      print(`waiting up to ${settleSeconds} s for ${minReplicas} replicas: ${formatSample(sample)}`)
    }
  })
  if (!isAt(last, minReplicas) && !signal.aborted) {
    throw new ActionableError(
      `the release does not have ${minReplicas} replicas after ${settleSeconds} s: ${formatSample(last)}`,
      'stop any other load, check with `kubectl describe pods` why pods are not ready, or raise --settle-timeout',
    )
  }
}

/** Waits for `count` replicas or `settleSeconds`, and returns the last sample. */
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
