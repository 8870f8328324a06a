/** Figures of one server, one for each round. */
export interface Throughput {
  name: string
  requestsPerSecond: readonly number[]
  p99Ms: readonly number[]
  /** CPU time of the server for one request, in microseconds. */
  cpuMicros: readonly number[]
  /** Share of the time in which the server used its core, 0 to 1. */
  busy: readonly number[]
}

/** A figure of the service, and its limit. */
export interface Figure {
  name: string
  /** Absent if it could not be measured; then `note` has the reason. */
  value?: number
  unit: string
  /** The limit, and whether the limit itself is allowed. */
  limit?: { most: number; inclusive: boolean }
  note?: string
}

/** @throws RangeError when there is no value. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted[sorted.length >> 1]
  const lower = sorted[(sorted.length - 1) >> 1]
  if (upper === undefined || lower === undefined) throw new RangeError('no values')
  return (lower + upper) / 2
}

/** Targets, by CPU time a request: see docs/performance.md. */
const LEAST_OF_BARE = 0.75
const LEAST_OF_PODINFO = 1.3

/**
 * The table of throughputs. The comparison uses CPU time, which is the inverse of the requests a second on a fully used
 * core, but does not depend on the machine's other load.
 *
 * @param rows.bare - the bare Fastify route
 * @param rows.podinfo - a Go service to compare with
 */
export function throughputTable(rows: {
  service: Throughput
  bare: Throughput
  http: Throughput
  podinfo: Throughput
}): string[] {
  const { service, bare, http, podinfo } = rows
  const share = (row: Throughput) => median(row.cpuMicros) / median(service.cpuMicros)
  const line = (row: Throughput, target = '') =>
    cells([
      row.name,
      thousands(median(row.requestsPerSecond)),
      `${thousands(Math.min(...row.requestsPerSecond))} to ${thousands(Math.max(...row.requestsPerSecond))}`,
      String(median(row.p99Ms)),
      `${(median(row.busy) * 100).toFixed(0)} %`,
      median(row.cpuMicros).toFixed(1),
      row === service ? '' : share(row).toFixed(2),
      target,
    ])
  return [
    '| server | requests/s | range | p99, ms | core in use | CPU, µs a request | service against it | target |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
    line(http),
    line(bare, verdict(`≥ ${LEAST_OF_BARE}`, share(bare) >= LEAST_OF_BARE)),
    line(service),
    line(podinfo, verdict(`≥ ${LEAST_OF_PODINFO}`, share(podinfo) >= LEAST_OF_PODINFO)),
  ]
}

/** The table of the service's other figures. */
export function figureTable(figures: readonly Figure[]): string[] {
  return [
    '| service | measured | target |',
    '| --- | ---: | --- |',
    ...figures.map(({ name, value, unit, limit, note = '' }) => {
      const label = name + (note && ` (${note})`)
      if (value === undefined) return cells([label, 'not measured', limit ? bound(limit, unit) : ''])
      const kept = limit !== undefined && (limit.inclusive ? value <= limit.most : value < limit.most)
      const shown = amount(value, unit)
      return cells([label, shown, limit ? verdict(bound(limit, unit), kept) : ''])
    }),
  ]
}

const bound = ({ most, inclusive }: { most: number; inclusive: boolean }, unit: string) =>
  `${inclusive ? '≤' : '<'} ${amount(most, unit)}`

const amount = (value: number, unit: string) =>
  `${value.toFixed(unit === 'ms' || Number.isInteger(value) ? 0 : 1)} ${unit}`

const verdict = (target: string, met: boolean) => `${target}: ${met ? 'met' : 'missed'}`

const cells = (values: readonly string[]) => `| ${values.join(' | ')} |`

const thousands = (value: number) => Math.round(value).toLocaleString('en')

const MARKERS = { start: '<!-- measured: written by make bench -->', end: '<!-- end of measured -->' }

/**
 * Puts `lines` between the two markers of a page.
 *
 * @throws Error when the page lacks them
 */
export function replaceMeasured(page: string, lines: readonly string[]): string {
  const start = page.indexOf(MARKERS.start)
  const end = page.indexOf(MARKERS.end)
  if (start === -1 || end < start) {
    throw new Error(`the page needs the lines "${MARKERS.start}" and "${MARKERS.end}", in this order`)
  }
  return `${page.slice(0, start)}${[MARKERS.start, '', ...lines, '', ''].join('\n')}${page.slice(end)}`
}
