import type { Autoscaler, RunReport, Scaling, Series, Verdict } from './run-report.ts'
import type { Row } from './timeline.ts'

const columns = ['time', 'req/s', 'p95 ms', 'failed', 'CPU', 'desired', 'ready']

/** The heading over the rows of {@link formatRow}. */
export function formatHeading(): string {
  return formatCells(columns)
}

/** Formats a row of the timeline. CPU is current/target, in percent of the request, as the autoscaler sees it. */
export function formatRow(
  { second, rate, p95Ms, failed, sample }: Row,
  autoscaler: Autoscaler | null,
): string {
  const target = autoscaler?.targets.find(({ metric, unit }) => metric === 'cpu' && unit === '%')?.target
  const cpu = sample?.cpuPercent ?? null
  const cells = [
    `${second}s`,
    rate.toFixed(1),
    formatMs(p95Ms),
    String(failed),
    cpu === null ? '-' : `${cpu}/${target ?? '-'}%`,
    String(sample?.wanted ?? '-'),
    String(sample?.ready ?? '-'),
  ]
  return formatCells(cells) + (sample?.problem ? `  ${sample.problem}` : '')
}

/** Formats traffic, replicas, charts and verdicts in a few lines. */
export function formatSummary({
  summary,
  scaling,
  series,
  generator,
  verdicts,
  interrupted,
}: RunReport): string[] {
  const { requests, failed, failures, p50Ms, p95Ms, p99Ms, maxMs, droppedIterations, checksFailed } = summary
  const lines = [
    `${requests} requests, ${failed} failed, ${droppedIterations} dropped; p50 ${formatMs(p50Ms)}, p95 ${formatMs(p95Ms)}, p99 ${formatMs(p99Ms)}, max ${formatMs(maxMs)} ms`,
  ]
  for (const [cause, count] of Object.entries(failures)) lines.push(`failed ${count} times: ${cause}`)
  for (const [name, count] of Object.entries(checksFailed)) lines.push(`wrong ${count} times: ${name}`)
  if (scaling !== null) lines.push(...formatScaling(scaling))
  if (generator.cpuShare !== null) {
    const percent = `${(generator.cpuShare * 100).toFixed(0)} %`
    lines.push(
      generator.pods === undefined
        ? `k6 used ${percent} of this machine's CPU time`
        : `k6 used up to ${percent} of a generator's CPU limit (${generator.pods} pods)`,
    )
  }
  lines.push('', ...formatChart(series), '')
  if (interrupted) lines.push('interrupted: no verdict')
  for (const verdict of verdicts)
    lines.push(`SLO ${verdict.met ? 'met   ' : 'MISSED'} ${formatVerdict(verdict)}`)
  return lines
}

/** Formats the report as Markdown for a pull request, which also reads well as plain text. */
export function formatMarkdown(report: RunReport): string {
  const { profile, description, environment, baseUrl, startedAt, scaling, verdicts, events, interrupted } =
    report
  const met = interrupted
    ? 'interrupted'
    : verdicts.every((verdict) => verdict.met)
      ? 'SLO met'
      : 'SLO missed'
  return [
    `# Load test ${profile}, ${startedAt}: ${met}`,
    '',
    `${description} Target ${baseUrl} (${environment})${scaling === null ? '' : `; ${formatAutoscaler(scaling.autoscaler)}`}`,
    '',
    '| SLO | value | bound | |',
    '| --- | ---: | ---: | --- |',
    ...verdicts.map(
      ({ name, value, comparison, bound, unit, met: isMet }) =>
        `| ${name} | ${withUnit(formatValue(value), unit)} | ${comparison} ${withUnit(String(bound), unit)} | ${isMet ? 'met' : '**missed**'} |`,
    ),
    '',
    '```text',
    ...formatSummary({ ...report, verdicts: [] })
      .join('\n')
      .trimEnd()
      .split('\n'),
    '```',
    ...(events.length === 0 ? [] : ['', '| second | event |', '| ---: | --- |']),
    ...events.map(({ second, text }) => `| ${second} | ${text.replaceAll('|', '\\|')} |`),
    '',
  ].join('\n')
}

/** Formats the autoscaler's targets and bounds. */
export function formatAutoscaler({ deployment, minReplicas, maxReplicas, targets }: Autoscaler): string {
  const texts = targets.map(({ metric, target, unit }) =>
    metric === 'cpu' ? `${target} ${unit} CPU` : `${withUnit(String(target), unit)} ${metric}`,
  )
  const at = texts.length === 0 ? '' : ` at ${texts.join(', ')}`
  return `Deployment ${deployment}, ${minReplicas} to ${maxReplicas} replicas${at}`
}

function formatScaling(scaling: Scaling): string[] {
  const { replicas, overshootReplicas, podSeconds, nodeSeconds, price } = scaling
  const lines = [`replicas ${replicas.from} -> ${replicas.max}`]
  const times: [second: number | null, text: (second: number) => string][] = [
    [scaling.firstDecisionSecond, (second) => `first scale-up decision after ${second} s`],
    [scaling.firstNewPodReadySecond, (second) => `first new pod ready after ${second} s`],
    [scaling.sloViolatedSecond, (second) => `p95 or failures over the bounds from ${second} s`],
    [scaling.sloHoldsAgainSecond, (second) => `within the bounds again from ${second} s`],
    [scaling.backSecond, (second) => `back at ${replicas.from} replicas after ${second} s`],
  ]
  for (const [second, text] of times) if (second !== null) lines.push(text(second))
  if (overshootReplicas !== null && overshootReplicas > 0)
    lines.push(`overshoot: ${overshootReplicas} replicas`)
  const cost =
    price === null ? '' : `: ${price.usd.toFixed(4)} USD, ${price.perHourAtPeak.toFixed(4)} USD/h at the peak`
  lines.push(`${podSeconds} pod-seconds, ${nodeSeconds} node-seconds${cost}`)
  return lines
}

const bars = '▁▂▃▄▅▆▇█'
/** Longest chart in characters, to fit a terminal beside its label. */
const chartWidth = 72

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

function formatChart({ rate, p95Ms, replicasReady }: Series): string[] {
  const charts: [string, (number | null)[]][] = [
    ['req/s', rate],
    ['p95', p95Ms],
    ['ready', replicasReady],
  ]
  return charts
    .filter(([, values]) => values.some((value) => value !== null))
    .map(([name, values]) => `${name.padEnd(6)}${sparkline(condense(values))}`)
}

/** Joins neighbours until the values fit the chart. The largest of them stays, so that no peak disappears. */
function condense(values: (number | null)[]): (number | null)[] {
  const size = Math.ceil(values.length / chartWidth)
  return Array.from({ length: Math.ceil(values.length / size) }, (_, index) => {
    const known = values.slice(index * size, (index + 1) * size).filter((value) => value !== null)
    return known.length === 0 ? null : Math.max(...known)
  })
}

function formatVerdict({ name, value, comparison, bound, unit }: Verdict): string {
  return `${name}: ${withUnit(formatValue(value), unit)} (bound ${comparison} ${withUnit(String(bound), unit)})`
}

function withUnit(text: string, unit: string): string {
  return unit === '' ? text : `${text} ${unit}`
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
