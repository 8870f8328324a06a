import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import { formatMoment, formatNumber, largest } from './figures.ts'
import { Html, html } from './html-template.ts'
import type { RunReport, Series, Verdict } from './run-report.ts'

/** Width of a chart and the margins of its plot, in units of its own. The charts scale with the page. */
export const PLOT_WIDTH = 960
export const PLOT_MARGINS = { left: 76, right: 16 }

/** Columns of the series that charts draw. */
type Column = Exclude<keyof Series, 'stepSeconds' | 'second'>

/** A value of a line; null where nothing was measured. */
interface Point {
  second: number
  value: number | null
}

/** A line of a chart. */
export interface Line {
  /** Unique on the page. */
  id: string
  label: string
  /** Index of the run that it belongs to. */
  run: number
  /** Class of its style: `s1` to `s6` differ in colour and in dashes. */
  style: string
  unit: string
  digits: number
  points: readonly Point[]
  /** The first of its largest values. */
  peak: { second: number; value: number }
  /** Whether a value holds until the next one, as a number of pods does. */
  steps: boolean
  /** Whether to fill the area below the line. */
  area: boolean
  /** Whether to mark each value above zero. */
  marks: boolean
}

/** A horizontal line that a value should stay below, or that the autoscaler aims at. */
interface Bound {
  label: string
  value: number
}

/** A chart. All charts of a page have the same time axis. */
export interface Panel {
  id: string
  title: string
  unit: string
  lines: readonly Line[]
  bounds: readonly Bound[]
}

/** The time axis of a page. */
export interface TimeAxis {
  /** Where it ends, in seconds. */
  end: number
  /** Moments that each chart marks. */
  events: RunReport['events']
  /** Time outside the SLO. */
  missed: { from: number; to: number } | null
}

/** What the charts of both kinds of page say about a column. */
interface ColumnStyle {
  label: string
  unit: string
  digits: number
  steps?: true
  /** Converts a value of the series. */
  convert?: (value: number, series: Series) => number
}

const COLUMNS: Record<Column, ColumnStyle> = {
  rate: { label: 'finished', unit: '/s', digits: 1 },
  failed: {
    label: 'failed',
    unit: '/s',
    digits: 1,
    convert: (value, { stepSeconds }) => value / stepSeconds,
  },
  dropped: {
    label: 'dropped by the generator',
    unit: '/s',
    digits: 1,
    convert: (value, { stepSeconds }) => value / stepSeconds,
  },
  p50Ms: { label: 'p50', unit: 'ms', digits: 0 },
  p95Ms: { label: 'p95', unit: 'ms', digits: 0 },
  p99Ms: { label: 'p99', unit: 'ms', digits: 0 },
  replicasWanted: { label: 'wanted', unit: '', digits: 0, steps: true },
  replicasReady: { label: 'ready', unit: '', digits: 0, steps: true },
  podsPending: { label: 'pending', unit: '', digits: 0, steps: true },
  nodes: { label: 'all nodes', unit: '', digits: 0, steps: true },
  karpenterNodes: { label: "Karpenter's nodes", unit: '', digits: 0, steps: true },
  cpuPercent: { label: 'CPU', unit: '%', digits: 0, steps: true },
  eventLoopUtilization: {
    label: 'event loop',
    unit: '%',
    digits: 0,
    convert: (value) => value * 100,
  },
}

interface PanelPlan {
  title: string
  unit: string
  columns: readonly { column: Column; style: string; area?: true; marks?: true }[]
}

/** Charts of a single run. */
const RUN_PANELS: readonly PanelPlan[] = [
  {
    title: 'Requests',
    unit: 'per second',
    columns: [
      { column: 'rate', style: 's1', area: true },
      { column: 'dropped', style: 's3' },
      { column: 'failed', style: 's2', marks: true },
    ],
  },
  {
    title: 'Latency',
    unit: 'ms',
    columns: [
      { column: 'p99Ms', style: 's3' },
      { column: 'p95Ms', style: 's1' },
      { column: 'p50Ms', style: 's4' },
    ],
  },
  {
    title: 'Replicas',
    unit: 'pods',
    columns: [
      { column: 'replicasReady', style: 's1', area: true },
      { column: 'replicasWanted', style: 's3' },
      { column: 'podsPending', style: 's2' },
    ],
  },
  {
    title: 'Nodes',
    unit: 'nodes',
    columns: [
      { column: 'nodes', style: 's1', area: true },
      { column: 'karpenterNodes', style: 's3', area: true },
    ],
  },
  {
    title: 'CPU',
    unit: "% of the pods' request",
    columns: [{ column: 'cpuPercent', style: 's1', area: true }],
  },
  {
    title: 'Event-loop utilisation',
    unit: '%',
    columns: [{ column: 'eventLoopUtilization', style: 's1', area: true }],
  },
]

/** Charts of a comparison. Each has a line for each run. */
const COMPARED_COLUMNS: readonly { title: string; unit: string; column: Column }[] = [
  { title: 'Requests', unit: 'finished per second', column: 'rate' },
  { title: 'Failed requests', unit: 'per second', column: 'failed' },
  { title: 'Latency p95', unit: 'ms', column: 'p95Ms' },
  { title: 'Latency p99', unit: 'ms', column: 'p99Ms' },
  { title: 'Replicas wanted', unit: 'pods', column: 'replicasWanted' },
  { title: 'Replicas ready', unit: 'pods', column: 'replicasReady' },
  { title: 'Nodes', unit: 'nodes', column: 'nodes' },
  { title: 'CPU', unit: "% of the pods' request", column: 'cpuPercent' },
  { title: 'Event-loop utilisation', unit: '%', column: 'eventLoopUtilization' },
]

/** Plans the charts of a run. Lines without any value are left out, and charts without lines. */
export function planRunPanels(run: RunReport): Panel[] {
  return RUN_PANELS.map(({ title, unit, columns }, index): Panel => {
    const lines = columns.flatMap(({ column, style, area, marks }) => {
      const line = planLine(run, 0, column)
      return line === null ? [] : [{ ...line, style, area: area ?? false, marks: marks ?? false }]
    })
    return {
      id: `panel-${index}`,
      title,
      unit,
      lines,
      bounds: columns.flatMap(({ column }) => findBounds(run, column)),
    }
  }).filter(({ lines }) => lines.length > 0)
}

/** Plans the charts that draw several runs over each other. A bound appears if the runs agree on it. */
export function planComparedPanels(runs: readonly { label: string; run: RunReport }[]): Panel[] {
  return COMPARED_COLUMNS.map(({ title, unit, column }, panel): Panel => {
    const lines = runs.flatMap(({ label, run }, index) => {
      const line = planLine(run, index, column)
      return line === null ? [] : [{ ...line, label, style: `s${index + 1}` }]
    })
    const bounds = runs.map(({ run }) => JSON.stringify(findBounds(run, column)))
    const agreed = bounds.every((other) => other === bounds[0])
    const shared = agreed ? runs.slice(0, 1).flatMap(({ run }) => findBounds(run, column)) : []
    return { id: `panel-${panel}`, title, unit, lines, bounds: shared }
  }).filter(({ lines }) => lines.length > 0)
}

/** Titles of the charts of a run that are left out because nothing was measured. */
export function listMissingPanels(run: RunReport): string[] {
  return RUN_PANELS.filter(({ columns }) =>
    columns.every(({ column }) => largest(run.series[column]) === null),
  ).map(({ title }) => title)
}

/** Plans the line of a column; null if nothing was measured. */
function planLine({ series }: RunReport, run: number, column: Column): Line | null {
  const { label, unit, digits, steps, convert } = COLUMNS[column]
  const points = series.second.map((second, row): Point => {
    const value = series[column][row] ?? null
    return { second, value: value === null || convert === undefined ? value : convert(value, series) }
  })
  const top = largest(points.map(({ value }) => value))
  const peak = points.find((point): point is Line['peak'] => point.value !== null && point.value === top)
  if (peak === undefined) return null
  return {
    ...{ id: `${column}-${run}`, label, run, style: 's1', unit, digits, points, peak },
    ...{ steps: steps ?? false, area: false, marks: false },
  }
}

/** The SLO's bounds and the autoscaler's targets that belong to a column. */
function findBounds(run: RunReport, column: Column): Bound[] {
  const percentile = /^p\d+(?=Ms$)/.exec(column)?.[0]
  if (percentile !== undefined) {
    return run.verdicts.flatMap((verdict) => {
      const bound = readLatencyBound(verdict, percentile)
      return bound === null
        ? []
        : [{ label: `SLO: ${percentile} at most ${formatNumber(bound, 0)} ms`, value: bound }]
    })
  }
  const metric = { cpuPercent: /^cpu$/i, eventLoopUtilization: /event.?loop/i }[column as string]
  const targets = run.scaling?.autoscaler.targets ?? []
  return targets
    .filter((target) => metric?.test(target.metric))
    .map(({ target }) => {
      // A share, as Prometheus has it, in percent.
      const value = target <= 1 ? target * 100 : target
      return { label: `autoscaler's target ${formatNumber(value, 0)} %`, value }
    })
}

/** Reads the bound from a verdict on the percentile, or on the time until it is within its bound again. */
function readLatencyBound({ name, bound, unit }: Verdict, percentile: string): number | null {
  if (name === percentile && unit === 'ms') return bound
  const within = name.startsWith(`${percentile} within `) ? / within ([\d.]+) ms/.exec(name)?.[1] : undefined
  return within === undefined ? null : Number(within)
}

type EventKind = RunReport['events'][number]['kind']

/** Kinds of events with their names and symbols, in the order of their rows. */
const EVENT_KINDS = {
  load: { name: 'load', symbol: 'diamond2' },
  scale: { name: 'autoscaler', symbol: 'triangle' },
  pod: { name: 'pods', symbol: 'circle' },
  node: { name: 'nodes', symbol: 'square2' },
  problem: { name: 'problems', symbol: 'times' },
} as const satisfies Record<EventKind, { name: string; symbol: Plot.SymbolType }>

/** The name of an event's kind. */
export function nameEventKind(kind: EventKind): string {
  return EVENT_KINDS[kind].name
}

const { document } = parseHTML('<html></html>')

/** Draws the events on the time axis, with a row for each kind. */
export function drawEvents(axis: TimeAxis): Html {
  const all = Object.keys(EVENT_KINDS) as EventKind[]
  const kinds = all.filter((kind) => axis.events.some((event) => event.kind === kind))
  return draw({
    axis,
    height: kinds.length * 22 + 36,
    label: `Events on the time axis, ${axis.events.length} in all; a table below lists them.`,
    y: { type: 'point', domain: kinds.map(nameEventKind), label: null, tickSize: 0 },
    marks: kinds.map((kind) =>
      Plot.dot(
        axis.events.filter((event) => event.kind === kind),
        {
          ...{ x: 'second', y: () => nameEventKind(kind), symbol: EVENT_KINDS[kind].symbol, r: 4 },
          className: `event-${kind}`,
        },
      ),
    ),
  })
}

/** Draws a chart. */
export function drawPanel(panel: Panel, axis: TimeAxis): Html {
  const top = Math.max(
    ...panel.lines.map(({ peak }) => peak.value),
    ...panel.bounds.map(({ value }) => value),
  )
  return draw({
    axis,
    height: panel.title.startsWith('Latency') ? 200 : 140,
    label: describePanel(panel, axis),
    y: {
      domain: [0, Math.max(1, top * 1.08)],
      label: null,
      ticks: 4,
      grid: true,
      // Axes of counts have no fractions.
      tickFormat: (tick: number) => (top < 8 && !Number.isInteger(tick) ? '' : formatNumber(tick, 2)),
    },
    marks: [
      ...panel.lines.flatMap(drawLine),
      ...panel.bounds.flatMap(({ label, value }) => [
        Plot.ruleY([value], { className: 'bound' }),
        Plot.text([label], {
          y: () => value,
          frameAnchor: 'right',
          dy: -8,
          dx: -4,
          textAnchor: 'end',
          className: 'bound-label',
        }),
      ]),
    ],
  })
}

function drawLine(line: Line): Plot.Markish[] {
  // It would only cover the axis.
  if (line.peak.value === 0) return []
  const { points } = line
  const curve = line.steps ? 'step-after' : 'linear'
  const marks: Plot.Markish[] = []
  if (line.area) {
    marks.push(
      Plot.areaY(points, { x: 'second', y1: 0, y2: 'value', curve, className: `area ${line.style}` }),
    )
  }
  marks.push(Plot.lineY(points, { x: 'second', y: 'value', curve, className: `line ${line.style}` }))
  if (line.marks) {
    const above = points.filter(({ value }) => value !== null && value > 0)
    marks.push(Plot.dot(above, { x: 'second', y: 'value', symbol: 'times', className: `mark ${line.style}` }))
  }
  return marks
}

interface Drawing {
  axis: TimeAxis
  height: number
  /** The text that screen readers speak instead of the drawing. */
  label: string
  y: Plot.ScaleOptions
  marks: readonly Plot.Markish[]
}

function draw({ axis, height, label, y, marks }: Drawing): Html {
  const top = 8
  const bottom = 24
  const svg = Plot.plot({
    document,
    width: PLOT_WIDTH,
    height,
    marginLeft: PLOT_MARGINS.left,
    marginRight: PLOT_MARGINS.right,
    marginTop: top,
    marginBottom: bottom,
    className: 'plot',
    x: { domain: [0, axis.end], label: null, ticks: listTicks(axis.end), tickFormat: formatMoment },
    y,
    marks: [
      Plot.rect(axis.missed === null ? [] : [axis.missed], { x1: 'from', x2: 'to', className: 'missed' }),
      Plot.ruleX(axis.events, { x: 'second', className: 'event' }),
      ...marks,
    ],
  })
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', label)
  // The page's own style sheet has these rules, because the Content-Security-Policy allows no other one.
  svg.querySelector('style')?.remove()
  // Parts of an image have no names of their own.
  for (const part of svg.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label')
  const cursor = html`<line class="cursor" y1="${top}" y2="${height - bottom}" visibility="hidden"/></svg>`
    .text
  return new Html(svg.outerHTML.replace(/<\/svg>$/, cursor))
}

/** Moments for the labels of the time axis: at most 13, at usual intervals. */
function listTicks(end: number): number[] {
  const most = 12
  const usual = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]
  const interval = usual.find((seconds) => end / seconds <= most) ?? Math.ceil(end / most / 3600) * 3600
  return Array.from({ length: Math.floor(end / interval) + 1 }, (_, index) => index * interval)
}

/** The text alternative of a chart. */
function describePanel({ title, unit, lines, bounds }: Panel, { end, missed }: TimeAxis): string {
  const parts = lines.map(({ label, points, digits, peak }) => {
    const least = Math.min(...points.flatMap(({ value }) => value ?? []))
    const range = `${formatNumber(least, digits)} to ${formatNumber(peak.value, digits)}`
    return `${label}: ${range}, the most at ${formatMoment(peak.second)}`
  })
  const outside = missed && `SLO missed from ${formatMoment(missed.from)} to ${formatMoment(missed.to)}`
  return [
    `${title} in ${unit}, from 0:00 to ${formatMoment(end)}`,
    ...parts,
    ...bounds.map(({ label }) => label),
    ...(outside === null ? [] : [outside]),
  ].join('. ')
}
