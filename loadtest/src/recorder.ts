import type { EnvironmentName } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import type { Cluster } from './cluster.ts'
import type { Generator, Point } from './generator.ts'
import type { Load } from './profiles.ts'
import { readEventLoopUtilization } from './prometheus.ts'
import { formatAutoscaler, formatHeading, formatRow } from './report.ts'
import type { Autoscaler, RunEvent, RunReport, Scaling, Series } from './run-report.ts'
import { ScalingFigures } from './scaling.ts'
import { evaluate, type ProfileName, SLO, type Slo, verdict } from './slo.ts'
import { deleteTasks } from './task-data.ts'
import { type ClusterSample, recoverySeconds, type SloWindows, Timeline } from './timeline.ts'

export interface Recording {
  profile: ProfileName
  environment: EnvironmentName
  load: Load
  /** The URL at which this machine reaches the service. */
  baseUrl: string
  generator: Generator
  /** The title of the run's tasks, which are deleted afterwards. */
  taskTitle: string
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

/** How often the state of the cluster is added to the timeline and rows are printed, in milliseconds. */
const tickMs = 500

/** A load that rises until the service breaks ends after this many windows of 5 s over the bounds. */
const windowsUntilBroken = 3

/** Limit of the report's events. A rollout of ten pods makes about thirty. */
const maxEvents = 1_000

/**
 * Sends the load, records what happens, and prints the timeline as it grows.
 *
 * @returns the report, marked as interrupted when `signal` was aborted.
 * @throws ActionableError when the run cannot start, or k6 fails.
 */
export async function record(recording: Recording): Promise<RunReport> {
  const { profile, load, generator, cluster, signal, print } = recording
  const following = new AbortController()
  try {
    await cluster?.start(following.signal)
    const autoscaler = cluster?.autoscaler ?? null
    const slo: Slo = SLO[profile]
    // A load that rises shows how the service scales only from the minimum of replicas.
    if (cluster !== null && autoscaler !== null && load.scenario.executor === 'ramping-arrival-rate') {
      await waitUntilScalable(cluster, autoscaler, recording)
    }
    await generator.prepare(signal)
    print(`${profile}: about ${load.requests} requests in ${load.seconds} s to ${generator.baseUrl}`)
    print(load.description)
    if (autoscaler !== null) print(formatAutoscaler(autoscaler))
    print(formatHeading())
    return await new Run(recording, autoscaler, slo).report()
  } finally {
    following.abort()
    await generator.close()
  }
}

/** A run from its first request to its report. */
class Run {
  readonly #recording: Recording
  readonly #autoscaler: Autoscaler | null
  readonly #slo: Slo
  readonly #begun = Date.now()
  readonly #timeline: Timeline
  readonly #figures = new ScalingFigures()
  readonly #events: { time: number; kind: RunEvent['kind']; text: string }[] = []

  constructor(recording: Recording, autoscaler: Autoscaler | null, slo: Slo) {
    this.#recording = recording
    this.#autoscaler = autoscaler
    this.#slo = slo
    this.#timeline = new Timeline(slo.p95Ms, recording.load.seconds)
  }

  async report(): Promise<RunReport> {
    const { load, cluster, signal, profile, environment, generator } = this.#recording
    cluster?.observe({
      changed: () => this.#sample(),
      event: (kind, text) => this.#addEvent(kind, text),
      newPodReady: () => this.#figures.newPodReady(Date.now()),
    })
    const printer = setInterval(() => this.#tick(), tickMs)
    let cpuShare: number | null
    let loadEnd: number
    let settled: ClusterSample | null = null
    try {
      cpuShare = await this.#sendLoad()
      loadEnd = Date.now()
      this.#timeline.endLoad(loadEnd)
      this.#addEvent('load', 'the load ends')
      await this.#deleteTasks()
      if (
        this.#recording.untilScaledDown &&
        cluster !== null &&
        this.#autoscaler !== null &&
        !signal.aborted
      ) {
        settled = await waitForReplicas(cluster, this.#autoscaler.minReplicas, this.#recording)
      }
    } finally {
      clearInterval(printer)
      this.#tick()
    }

    const end = Date.now()
    const start = this.#timeline.startedAt ?? this.#begun
    const seconds = Math.round((end - start) / 100) / 10
    const times = { start, peakEnd: start + load.peakEnds * 1_000, loadEnd, end }
    const { windows } = this.#timeline
    const scaling = this.#autoscaler === null ? null : this.#figures.report(this.#autoscaler, times, windows)
    return {
      version: 1,
      profile,
      description: load.description,
      environment,
      baseUrl: generator.baseUrl,
      startedAt: new Date(start).toISOString(),
      loadSeconds: load.seconds,
      seconds,
      interrupted: signal.aborted,
      verdicts: signal.aborted ? [] : this.#verdicts(windows, scaling, settled),
      summary: this.#timeline.summary(),
      generator: {
        cpuShare: cpuShare === null ? null : Math.round(cpuShare * 1_000) / 1_000,
        ...(generator.pods !== null && { pods: generator.pods }),
      },
      scaling,
      series: await this.#withEventLoop(this.#timeline.series(seconds), start, seconds),
      events: this.#eventsFrom(start, loadEnd),
    }
  }

  /** Sends the load, and stops it when a load that rises until the service breaks has broken it. */
  async #sendLoad(): Promise<number | null> {
    const { generator, signal, load } = this.#recording
    const broken = new AbortController()
    const onPoint = (point: Point) => {
      this.#timeline.addPoint(point)
      this.#figures.begin(this.#timeline.startedAt as number)
      const { violatedInARow } = this.#timeline.windows
      if (load.requiredRate === undefined || violatedInARow < windowsUntilBroken || broken.signal.aborted)
        return
      this.#addEvent('load', `the load stops, because the SLO was missed for ${5 * windowsUntilBroken} s`)
      broken.abort()
    }
    try {
      return await generator.send(AbortSignal.any([signal, broken.signal]), onPoint)
    } catch (error) {
      // In this order: a load that goes on would create further tasks.
      await generator.close()
      await this.#deleteTasks()
      throw error
    }
  }

  /** Deletes what the load has created. A failure is reported, but does not make the run fail. */
  async #deleteTasks(): Promise<void> {
    const { load, baseUrl, taskTitle, print } = this.#recording
    if (load.traffic !== 'mix') return
    try {
      const deleted = await deleteTasks(baseUrl, taskTitle)
      print(`deleted the ${deleted} tasks that the run left`)
    } catch (error) {
      const text = `tasks with the title "${taskTitle} ..." remain: ${(error as Error).message}`
      print(text)
      this.#addEvent('problem', text)
    }
  }

  /** Fills the column that only Prometheus can answer. A failure is reported, but does not make the run fail. */
  async #withEventLoop(series: Series, start: number, seconds: number): Promise<Series> {
    const { cluster, print } = this.#recording
    if (cluster === null) return series
    try {
      return {
        ...series,
        eventLoopUtilization: await readEventLoopUtilization(cluster.api, start, seconds, series),
      }
    } catch (error) {
      const { message, nextStep } = error as ActionableError
      print(`${message}, so the report has no event loop utilisation; ${nextStep}`)
      return series
    }
  }

  #tick(): void {
    this.#sample()
    for (const row of this.#timeline.takeRows(Date.now())) {
      this.#recording.print(formatRow(row, this.#autoscaler))
    }
  }

  #sample(): void {
    const { cluster } = this.#recording
    if (cluster === null) return
    const now = Date.now()
    this.#timeline.addSample(now, cluster.sample())
    this.#figures.change(now, cluster.inventory())
  }

  #addEvent(kind: RunEvent['kind'], text: string): void {
    if (this.#events.length < maxEvents) this.#events.push({ time: Date.now(), kind, text })
  }

  #eventsFrom(start: number, loadEnd: number): RunEvent[] {
    const planned = this.#recording.load.moments
      .map(({ second, text }) => ({ second, kind: 'load' as const, text }))
      .filter(({ second }) => start + second * 1_000 < loadEnd)
    const seen = this.#events.map(({ time, kind, text }) => ({
      second: Math.round((time - start) / 100) / 10,
      kind,
      text,
    }))
    return [...planned, ...seen].filter(({ second }) => second >= 0).sort((a, b) => a.second - b.second)
  }

  #verdicts(
    windows: SloWindows,
    scaling: Scaling | null,
    settled: ClusterSample | null,
  ): RunReport['verdicts'] {
    const { load, settleSeconds } = this.#recording
    const summary = this.#timeline.summary()
    const measured = {
      ...summary,
      failedChecks: Object.values(summary.checksFailed).reduce((sum, count) => sum + count, 0),
      readyReplicas: scaling?.replicas.max ?? null,
      recoverySeconds: recoverySeconds(windows),
      carriedRate: windows.carriedRate,
    }
    const verdicts = evaluate(this.#slo, measured, load.requiredRate)
    if (settled !== null && this.#autoscaler !== null) {
      const { minReplicas } = this.#autoscaler
      const name = `replicas within ${settleSeconds} s after the load`
      const judged = verdict(name, settled.ready, '<=', minReplicas)
      verdicts.push({ ...judged, met: isAt(settled, minReplicas) })
    }
    return verdicts
  }
}

/** Waits for an active autoscaler and the minimum of replicas. */
async function waitUntilScalable(cluster: Cluster, { minReplicas }: Autoscaler, recording: Recording) {
  const { settleSeconds, signal, print } = recording
  await cluster.waitUntilActive(signal)
  const now = cluster.sample()
  if (!isAt(now, minReplicas)) {
    print(`waiting up to ${settleSeconds} s for ${minReplicas} replicas: ${formatSample(now)}`)
  }
  const last = await waitForReplicas(cluster, minReplicas, recording)
  if (!isAt(last, minReplicas) && !signal.aborted) {
    throw new ActionableError(
      `the release does not have ${minReplicas} replicas after ${settleSeconds} s: ${formatSample(last)}`,
      'stop any other load, check with `kubectl describe pods` why pods are not ready, or raise --settle-timeout',
    )
  }
}

/** Waits for `count` replicas or `settleSeconds`, and returns the last state. */
async function waitForReplicas(
  cluster: Cluster,
  count: number,
  { settleSeconds, signal }: Recording,
): Promise<ClusterSample> {
  return cluster.waitUntil(signal, settleSeconds * 1_000, (sample) => isAt(sample, count))
}

function isAt({ wanted, ready }: ClusterSample, count: number): boolean {
  return wanted === count && ready === count
}

function formatSample({ wanted, ready, problem }: ClusterSample): string {
  return problem ?? `${ready} ready, ${wanted} desired`
}
