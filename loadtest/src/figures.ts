import type { RunReport, Scaling } from './run-report.ts'

/** A figure that describes a whole run. */
export interface Figure {
  name: string
  group: 'Requests' | 'Scaling' | 'Cost'
  unit: string
  /** Fraction digits to print. */
  digits: number
  /** Which change is an improvement. */
  better: 'lower' | 'higher' | 'neither'
  /** A smaller change between two runs does not matter, because repeated runs differ by as much. */
  floor: number
  /** Whether it is a moment of the run. Then its share of the time since the start means nothing. */
  isMoment?: true
  value: (run: RunReport) => number | null
  /** What to print instead of a missing value. */
  missing: (run: RunReport) => string
}

const notMeasured = () => 'not measured'

function scalingFigure(
  group: 'Scaling' | 'Cost',
  name: string,
  properties: Pick<Figure, 'unit' | 'better' | 'floor' | 'isMoment'> & { digits?: number },
  value: (scaling: Scaling, run: RunReport) => number | null,
  missing: string | ((scaling: Scaling) => string) = 'not measured',
): Figure {
  return {
    group,
    name,
    digits: 0,
    ...properties,
    value: (run) => (run.scaling === null ? null : value(run.scaling, run)),
    missing: ({ scaling }) => {
      if (scaling === null) return 'no cluster watched'
      return typeof missing === 'string' ? missing : missing(scaling)
    },
  }
}

const count = { group: 'Requests', unit: '', digits: 0, better: 'lower', floor: 1 } as const
const latency = { group: 'Requests', unit: 'ms', digits: 1, better: 'lower' } as const
const moment = { unit: 's', better: 'lower', floor: 5, isMoment: true } as const
const usd = { unit: 'USD', digits: 4, better: 'lower', floor: 0.001 } as const

/** All figures, in the order in which reports print them. */
export const FIGURES: readonly Figure[] = [
  {
    ...count,
    name: 'requests',
    better: 'neither',
    value: ({ summary }) => summary.requests,
    missing: notMeasured,
  },
  {
    group: 'Requests',
    name: 'highest rate',
    unit: '/s',
    digits: 1,
    better: 'neither',
    floor: 1,
    value: ({ series }) => largest(series.rate),
    missing: notMeasured,
  },
  { ...count, name: 'failed requests', value: ({ summary }) => summary.failed, missing: notMeasured },
  {
    ...count,
    name: 'dropped iterations',
    value: ({ summary }) => summary.droppedIterations,
    missing: notMeasured,
  },
  {
    ...count,
    name: 'failed checks',
    value: ({ summary }) => Object.values(summary.checksFailed).reduce((sum, failed) => sum + failed, 0),
    missing: notMeasured,
  },
  { ...latency, name: 'p50', floor: 5, value: ({ summary }) => summary.p50Ms, missing: notMeasured },
  { ...latency, name: 'p95', floor: 10, value: ({ summary }) => summary.p95Ms, missing: notMeasured },
  { ...latency, name: 'p99', floor: 20, value: ({ summary }) => summary.p99Ms, missing: notMeasured },
  {
    ...latency,
    name: 'slowest request',
    floor: 100,
    value: ({ summary }) => summary.maxMs,
    missing: notMeasured,
  },
  {
    group: 'Requests',
    name: 'CPU share of the generator',
    unit: '%',
    digits: 0,
    better: 'lower',
    floor: 10,
    value: ({ generator }) => (generator.cpuShare === null ? null : generator.cpuShare * 100),
    missing: notMeasured,
  },
  scalingFigure(
    'Scaling',
    'first decision',
    moment,
    (scaling) => scaling.firstDecisionSecond,
    'never scaled up',
  ),
  scalingFigure(
    'Scaling',
    'first new pod ready',
    moment,
    (scaling) => scaling.firstNewPodReadySecond,
    'no new pod',
  ),
  scalingFigure(
    'Scaling',
    'SLO first missed',
    { ...moment, better: 'higher' },
    (scaling) => scaling.sloViolatedSecond,
    'never',
  ),
  scalingFigure(
    'Scaling',
    'SLO holds again',
    moment,
    (scaling) => scaling.sloHoldsAgainSecond,
    ({ sloViolatedSecond }) => (sloViolatedSecond === null ? 'always held' : 'not before the load ended'),
  ),
  scalingFigure(
    'Scaling',
    'time outside the SLO',
    { unit: 's', better: 'lower', floor: 5 },
    secondsOutsideSlo,
  ),
  scalingFigure(
    'Scaling',
    'most replicas',
    { unit: '', better: 'neither', floor: 1 },
    (scaling) => scaling.replicas.max,
  ),
  scalingFigure(
    'Scaling',
    'overshoot',
    { unit: 'replicas', better: 'lower', floor: 1 },
    (scaling) => scaling.overshootReplicas,
  ),
  scalingFigure(
    'Scaling',
    'back at the first number of replicas',
    { ...moment, floor: 15 },
    (scaling) => scaling.backSecond,
    'not during the recording',
  ),
  scalingFigure(
    'Cost',
    'pod-seconds',
    { unit: '', better: 'lower', floor: 60 },
    (scaling) => scaling.podSeconds,
  ),
  scalingFigure(
    'Cost',
    'node-seconds',
    { unit: '', better: 'lower', floor: 60 },
    (scaling) => scaling.nodeSeconds,
  ),
  scalingFigure('Cost', 'price of the nodes', usd, ({ price }) => price?.usd ?? null, 'unknown node type'),
  scalingFigure(
    'Cost',
    'price per hour at the peak',
    usd,
    ({ price }) => price?.perHourAtPeak ?? null,
    'unknown node type',
  ),
]

/** Seconds of the load after the SLO was first missed, until it held again. */
function secondsOutsideSlo(scaling: Scaling, run: RunReport): number {
  if (scaling.sloViolatedSecond === null) return 0
  return (scaling.sloHoldsAgainSecond ?? run.loadSeconds) - scaling.sloViolatedSecond
}

/** The largest value; null if none was measured. */
export function largest(values: readonly (number | null)[]): number | null {
  return values.reduce((max, value) => (value !== null && (max === null || value > max) ? value : max), null)
}

/** Formats a figure of a run with its unit, or why it is missing. */
export function formatFigure(figure: Figure, run: RunReport): string {
  const value = figure.value(run)
  return value === null ? figure.missing(run) : formatQuantity(value, figure)
}

/** Formats a number with its unit. */
export function formatQuantity(value: number, { digits, unit }: { digits: number; unit: string }): string {
  const number = formatNumber(value, digits)
  if (unit === '' || unit.startsWith('/')) return `${number}${unit}`
  return `${number} ${unit}`
}

/** Formats a number with separators of thousands. Below 100, it has at most this many fraction digits. */
export function formatNumber(value: number, digits: number): string {
  return value.toLocaleString('en-GB', { maximumFractionDigits: Math.abs(value) < 100 ? digits : 0 })
}

/** Formats a moment of the run, such as 83 as 1:23 and 3723 as 1:02:03. */
export function formatMoment(second: number): string {
  const whole = Math.round(second)
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const tail = String(seconds).padStart(2, '0')
  return hours === 0 ? `${minutes}:${tail}` : `${hours}:${String(minutes).padStart(2, '0')}:${tail}`
}
