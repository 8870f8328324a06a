/** The figures of a comparison of signals, its JSON file and its table. */
import { formatNumber } from 'loadtest/figures'
import type { RunReport } from 'loadtest/run-report'
import { ActionableError } from 'shared/errors'
import { LOADS, type LoadName, type Round, type Setting, type Signal } from './plan.ts'

/** The figures of a round. Seconds count from the moment when the load begins to rise; null if it never happened. */
export interface Figures {
  /** When the SLO held again until the load ended; 0 if it always held. */
  sloHoldsAgainSecond: number | null
  failedRequests: number
  /** Requests that could not start, because all clients of the load test still waited. */
  droppedRequests: number
  /** Median and 99th percentile of the whole load test. */
  p50Ms: number | null
  p99Ms: number | null
  firstDecisionSecond: number | null
  firstNewPodReadySecond: number | null
  mostReplicas: number
  overshootReplicas: number | null
  podSeconds: number
}

/** A round with its figures, or why it has none. */
export type Outcome = Round & ({ report: string; figures: Figures } | { failure: string })

/** The JSON file of a comparison. */
export interface Comparison {
  startedAt: string
  setting: Setting
  outcomes: Outcome[]
}

/**
 * Reads the figures of a round from the report of its load test.
 *
 * @throws ActionableError when the report has none of the autoscaler.
 */
export function figuresOf({ summary, scaling }: RunReport, load: LoadName): Figures {
  if (scaling === null) {
    throw new ActionableError(
      'the load test saw no autoscaler',
      'see `kubectl get hpa --all-namespaces`, and whether something else changes the release',
    )
  }
  const { risesAt } = LOADS[load]
  const sinceRise = (second: number | null) =>
    second === null ? null : Math.round((second - risesAt) * 10) / 10
  const holdsAgain = scaling.sloViolatedSecond === null ? risesAt : scaling.sloHoldsAgainSecond
  return {
    // A violation that ended before the load rose is not the load's.
    sloHoldsAgainSecond: holdsAgain === null ? null : Math.max(0, holdsAgain - risesAt),
    failedRequests: summary.failed,
    droppedRequests: summary.droppedIterations,
    p50Ms: summary.p50Ms,
    p99Ms: summary.p99Ms,
    firstDecisionSecond: sinceRise(scaling.firstDecisionSecond),
    firstNewPodReadySecond: sinceRise(scaling.firstNewPodReadySecond),
    mostReplicas: scaling.replicas.max,
    overshootReplicas: scaling.overshootReplicas,
    podSeconds: scaling.podSeconds,
  }
}

const COLUMNS: readonly { title: string; figure: keyof Figures; unit: string }[] = [
  { title: 'SLO holds again', figure: 'sloHoldsAgainSecond', unit: ' s' },
  { title: 'failed', figure: 'failedRequests', unit: '' },
  { title: 'dropped', figure: 'droppedRequests', unit: '' },
  { title: 'p50', figure: 'p50Ms', unit: ' ms' },
  { title: 'p99', figure: 'p99Ms', unit: ' ms' },
  { title: 'first decision', figure: 'firstDecisionSecond', unit: ' s' },
  { title: 'first new pod ready', figure: 'firstNewPodReadySecond', unit: ' s' },
  { title: 'most replicas', figure: 'mostReplicas', unit: '' },
  { title: 'overshoot', figure: 'overshootReplicas', unit: '' },
  { title: 'pod-seconds', figure: 'podSeconds', unit: '' },
]

/** Formats a comparison as Markdown: a row for each load and signal, and why rounds are missing. */
export function formatComparison({ setting, outcomes }: Comparison): string {
  const { eluPercent, requestsPerSecond, cpuLimit } = setting
  const rows = new Map<string, { load: LoadName; signal: Signal; runs: Figures[] }>()
  const failures: string[] = []
  for (const outcome of outcomes) {
    const { load, signal, run } = outcome
    const row = rows.get(`${load} ${signal}`) ?? { load, signal, runs: [] }
    rows.set(`${load} ${signal}`, row)
    if ('figures' in outcome) row.runs.push(outcome.figures)
    else failures.push(`- ${load}, ${signal}, run ${run} failed: ${outcome.failure}`)
  }
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    line(['load', 'signal', 'runs', ...COLUMNS.map(({ title }) => title)]),
    `| --- | --- |${' ---: |'.repeat(COLUMNS.length + 1)}`,
    ...[...rows.values()].map(({ load, signal, runs }) => {
      const values = (figure: keyof Figures) => runs.map((run) => run[figure])
      const spreads = COLUMNS.map(({ figure, unit }) => formatSpread(values(figure), unit))
      return line([load, signal, String(runs.length), ...spreads])
    }),
    '',
    `Median (minimum to maximum) of the runs. Seconds count from the rise of the load; "never" means not before the load ended. CPU limit ${cpuLimit}; targets: elu ${eluPercent} %, requests ${requestsPerSecond}/s.`,
    ...(failures.length === 0 ? [] : ['', ...failures]),
    '',
  ].join('\n')
}

/**
 * Formats the median of values, and their range if they differ. What never happened is later than everything else.
 */
export function formatSpread(values: readonly (number | null)[], unit: string): string {
  const sorted = values.map((value) => value ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b)
  const [least, most] = [sorted[0], sorted.at(-1)]
  if (least === undefined || most === undefined) return 'none'
  const middle = sorted.slice(Math.ceil(sorted.length / 2) - 1, Math.floor(sorted.length / 2) + 1)
  const median = middle.reduce((sum, value) => sum + value) / middle.length
  const format = (value: number) => (Number.isFinite(value) ? formatNumber(value, 1) : 'never')
  const withUnit = (text: string) => (text === 'never' ? text : `${text}${unit}`)
  return least === most
    ? withUnit(format(median))
    : `${withUnit(format(median))} (${format(least)} to ${format(most)})`
}
