import type { Autoscaler } from './cluster.ts'
import type { ScenarioName, Verdict } from './slo.ts'
import type { Row, Summary } from './timeline.ts'

/** The result of a run, which is also the format of the JSON file. */
export interface Report {
  scenario: ScenarioName
  baseUrl: string
  startedAt: string
  /** Null when no cluster was watched. */
  autoscaler: Autoscaler | null
  /** Whether a signal stopped the run. Then the rest covers only the part that ran, without verdicts. */
  interrupted: boolean
  summary: Summary
  verdicts: Verdict[]
  timeline: Row[]
}

const columns = ['time', 'req/s', 'p95 ms', 'failed', 'CPU', 'desired', 'ready']

/** The heading over the rows of {@link formatRow}. */
export function formatHeading(): string {
  return formatCells(columns)
}

/** Formats a row of the timeline. CPU is current/target, in percent of the request, as the autoscaler sees it. */
export function formatRow(row: Row, autoscaler: Autoscaler | null): string {
  const cpu = row.cpuPercent === null ? '-' : `${row.cpuPercent}/${autoscaler?.targetPercent ?? '-'}%`
  const cells = [
    `${row.second}s`,
    row.rate.toFixed(1),
    formatMs(row.p95Ms),
    String(row.failed),
    cpu,
    String(row.desired ?? '-'),
    String(row.ready ?? '-'),
  ]
  return formatCells(cells) + (row.problem === null ? '' : `  ${row.problem}`)
}

/** Formats traffic, replicas, charts and verdicts in a few lines. */
export function formatSummary({ summary, timeline, verdicts, interrupted }: Report): string[] {
  const { requests, failed, failures, p95Ms, maxMs, droppedIterations, replicas } = summary
  const lines = [
    `${requests} requests, ${failed} failed, ${droppedIterations} dropped; p95 ${formatMs(p95Ms)} ms, max ${formatMs(maxMs)} ms`,
  ]
  for (const [cause, count] of Object.entries(failures)) lines.push(`failed ${count} times: ${cause}`)
  if (replicas !== null) {
    const { from, max, firstScaleUpSecond, readySeconds, backSecond } = replicas
    lines.push(`replicas ${from} -> ${max}`)
    if (firstScaleUpSecond !== null) lines.push(`first scale-up decision after ${firstScaleUpSecond} s`)
    const ready = Object.entries(readySeconds).map(([count, second]) => `${count} after ${second} s`)
    if (ready.length > 0) lines.push(`ready: ${ready.join(', ')}`)
    if (backSecond !== null) lines.push(`back at ${from} replicas after ${backSecond} s`)
  }
  lines.push('', ...formatChart(timeline), '')
  if (interrupted) lines.push('interrupted: no verdict')
  for (const { name, value, comparison, bound, met } of verdicts) {
    lines.push(
      `SLO ${met ? 'met   ' : 'MISSED'} ${name}: ${formatValue(value)} (bound ${comparison} ${bound})`,
    )
  }
  return lines
}

/** Formats the report as Markdown that also reads well as plain text. */
export function formatMarkdown(report: Report): string {
  const { scenario, baseUrl, startedAt, autoscaler, timeline } = report
  return [
    `# Load test ${scenario}, ${startedAt}`,
    '',
    `Target ${baseUrl}${autoscaler === null ? '' : `; ${formatAutoscaler(autoscaler)}`}`,
    '',
    '```text',
    ...formatSummary(report),
    '```',
    '',
    '## Timeline',
    '',
    '```text',
    formatHeading(),
    ...timeline.map((row) => formatRow(row, autoscaler)),
    '```',
    '',
  ].join('\n')
}

/** Formats the autoscaler's target and bounds. */
export function formatAutoscaler(autoscaler: Autoscaler): string {
  const { deployment, minReplicas, maxReplicas, targetPercent } = autoscaler
  const target = targetPercent === null ? '' : ` at ${targetPercent} % CPU`
  return `Deployment ${deployment}, ${minReplicas} to ${maxReplicas} replicas${target}`
}

const bars = '▁▂▃▄▅▆▇█'

/** Formats each value as a bar, scaled from 0 to the largest value, and a missing one as a blank. */
export function sparkline(values: (number | null)[]): string {
  const largest = Math.max(...values.map((value) => value ?? 0))
  return values
    .map((value) => {
      if (value === null) return ' '
      const level = largest === 0 ? 0 : Math.round((value / largest) * (bars.length - 1))
      return bars.charAt(level)
    })
    .join('')
}

function formatChart(timeline: Row[]): string[] {
  const series: [string, (row: Row) => number | null][] = [
    ['req/s', ({ rate }) => rate],
    ['p95', ({ p95Ms }) => p95Ms],
    ['ready', ({ ready }) => ready],
  ]
  return series
    .map(([name, select]): [string, (number | null)[]] => [name, timeline.map(select)])
    .filter(([, values]) => values.some((value) => value !== null))
    .map(([name, values]) => `${name.padEnd(6)}${sparkline(values)}`)
}

function formatCells(cells: string[]): string {
  return cells.map((cell) => cell.padStart(8)).join('')
}

function formatMs(ms: number | null): string {
  return ms === null ? '-' : ms.toFixed(0)
}

function formatValue(value: number | null): string {
  return value === null ? 'nothing measured' : String(Math.round(value * 10_000) / 10_000)
}
