import type { State } from './cluster.ts'
import type { Batch, Disruption } from './karpenter-log.ts'
import type { Usage } from './processes.ts'
import { HEADROOM, type StaticGroup } from './static-groups.ts'
import type { Size } from './workload.ts'

/** When a phase had lasted this long, in seconds, Karpenter decided. */
type Timed<T> = T & { second: number }

/** An hour of the simulated day. */
export interface HourRow {
  hour: number
  /** Pods that the traffic needs, and pods that ran at the end of the hour. */
  pods: number
  running: number
  /** When all pods ran; null if some never did. */
  readySeconds: number | null
  /** Nodes at the end of the hour. */
  nodes: number
  /** Price of the fleet, averaged over the hour. */
  usdPerHour: number
}

/** The result of a simulation, which is also the format of the JSON file. Seconds count from the start of a phase. */
export interface Report {
  startedAt: string
  seconds: number
  size: Size
  hourSeconds: number
  scaleUp: {
    /** When the last pod was created, had a node, and ran. */
    createdSeconds: number
    boundSeconds: number
    runningSeconds: number
    batches: Timed<Batch>[]
    nodes: number
    fleet: Record<string, number>
    usdPerHour: number
  }
  /** The fleet of the peak after Karpenter has consolidated it. */
  settled: {
    /** Whether it no longer changed. */
    isSettled: boolean
    nodes: number
    fleet: Record<string, number>
    usdPerHour: number
  }
  day: {
    hours: HourRow[]
    disruptions: Timed<Disruption>[]
    usd: number
    /** Price of the day if each pod always cost as much as at the settled peak. */
    settledUsd: number
    /** Price of the day if the pods always filled the cheapest nodes. */
    lowestUsd: number
    static: Record<'peak' | 'average', StaticGroup>
  }
  scaleDown: { podsSeconds: number; nodesSeconds: number }
  /** By phase and program. */
  usage: Record<string, Record<string, Usage>>
}

/** Formats the number of nodes by type. */
export function formatFleet(nodes: State['nodes']): string {
  const counts = [...nodes].toSorted(([, a], [, b]) => b - a)
  return counts.length === 0 ? 'no nodes' : counts.map(([type, count]) => `${count} ${type}`).join(', ')
}

/** Formats the present state as a progress line. */
export function formatMoment({ pods, bound, running, nodes }: State, usdPerHour: number): string {
  const count = [...nodes.values()].reduce((sum, number) => sum + number, 0)
  return [
    `${String(pods).padStart(6)} pods`,
    `${String(bound).padStart(6)} bound`,
    `${String(running).padStart(6)} running`,
    `${String(count).padStart(5)} nodes`,
    `${usdPerHour.toFixed(2).padStart(8)} USD/h`,
  ].join('  ')
}

/** Formats an hour of the day as a progress line. */
export function formatHour({ hour, pods, running, readySeconds, nodes, usdPerHour }: HourRow): string {
  const ready = readySeconds === null ? `only ${running} ran` : `all ran after ${readySeconds.toFixed(1)} s`
  const cells = [`${String(pods).padStart(6)} pods`, `${String(nodes).padStart(5)} nodes`]
  return `${String(hour).padStart(5)}h  ${cells.join('  ')}  ${usdPerHour.toFixed(2).padStart(8)} USD/h  ${ready}`
}

/** Formats the result in tables that also read well as plain text. */
export function formatReport(report: Report): string[] {
  const { size, scaleUp, settled, day, scaleDown, seconds } = report
  const batches = scaleUp.batches
  const longest = Math.max(0, ...batches.map((batch) => batch.seconds))
  return [
    `${size.pods} pods, ${scaleUp.nodes} nodes; ${seconds.toFixed(0)} s in all`,
    '',
    ...formatTable(
      ['scale from 0 to the peak', ''],
      [
        ['all pods created', `${scaleUp.createdSeconds.toFixed(1)} s`],
        ['all pods bound to nodes', `${scaleUp.boundSeconds.toFixed(1)} s`],
        ['all pods running', `${scaleUp.runningSeconds.toFixed(1)} s`],
        ['pods running per second', (size.pods / scaleUp.runningSeconds).toFixed(1)],
        ["Karpenter's batches", `${batches.length}, computed in at most ${longest.toFixed(1)} s each`],
        ['fleet', formatFleet(new Map(Object.entries(scaleUp.fleet)))],
        ['price', `${scaleUp.usdPerHour.toFixed(2)} USD/h`],
        ['fleet after consolidation', formatFleet(new Map(Object.entries(settled.fleet)))],
        ['its price', `${settled.usdPerHour.toFixed(2)} USD/h${settled.isSettled ? '' : ', still falling'}`],
      ],
    ),
    '',
    ...formatTable(['USD for the day', '', 'without room'], priceRows(day)),
    '',
    `scale to 0: last pod gone after ${scaleDown.podsSeconds.toFixed(1)} s, last node after ${scaleDown.nodesSeconds.toFixed(1)} s`,
    '',
    ...formatUsage(report.usage),
  ]
}

function priceRows({ usd, settledUsd, lowestUsd, static: { peak, average } }: Report['day']): string[][] {
  const group = (
    name: string,
    { type, nodes, usd: price, hoursWithoutRoom, podHoursWithoutRoom }: StaticGroup,
  ) => [
    `static node group for ${name}: ${nodes} ${type}`,
    price.toFixed(2),
    podHoursWithoutRoom === 0 ? '-' : `${podHoursWithoutRoom} pod hours in ${hoursWithoutRoom} h`,
  ]
  return [
    group('the peak', peak),
    group(`the average + ${Math.round((HEADROOM - 1) * 100)} %`, average),
    ['Karpenter, in compressed time', usd.toFixed(2), '-'],
    ['Karpenter, at the price per pod after consolidation', settledUsd.toFixed(2), '-'],
    ['nodes always full', lowestUsd.toFixed(2), '-'],
  ]
}

const phaseNames: Readonly<Record<string, string>> = {
  scaleUp: 'scale up',
  settle: 'consolidation',
  day: 'day',
  scaleDown: 'scale to 0',
}

function formatUsage(usage: Report['usage']): string[] {
  const programs = [...new Set(Object.values(usage).flatMap((phase) => Object.keys(phase)))]
  const phases = Object.entries(usage)
  const rows = programs.map((program) => [
    program,
    ...phases.map(([, phase]) => {
      const used = phase[program]
      return used === undefined ? '-' : `${used.averageCores.toFixed(2)} / ${used.peakCores.toFixed(2)}`
    }),
    formatMemory(Math.max(...phases.map(([, phase]) => phase[program]?.peakMemoryMiB ?? 0))),
  ])
  const headings = phases.map(([phase]) => phaseNames[phase] ?? phase)
  return formatTable(['processors in use, average / peak', ...headings, 'memory'], rows)
}

function formatMemory(mebibytes: number): string {
  return mebibytes === 0 ? '-' : `${mebibytes.toFixed(0)} MiB`
}

/** Formats rows as a Markdown table with aligned columns. */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = heading.map((_, column) =>
    Math.max(3, ...[heading, ...rows].map((row) => (row[column] ?? '').length)),
  )
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(heading), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)]
}

/** Formats the report as Markdown. */
export function formatMarkdown(report: Report): string {
  const { size, startedAt, hourSeconds, day } = report
  return [
    `# Simulation of ${size.pods} pods on about ${size.nodes} nodes, ${startedAt}`,
    '',
    ...formatReport(report),
    '',
    `## The day, an hour in ${hourSeconds} s`,
    '',
    ...formatTable(
      ['hour', 'pods', 'nodes', 'USD/h', 'all pods ran after'],
      day.hours.map(({ hour, pods, nodes, usdPerHour, readySeconds }) => [
        String(hour),
        String(pods),
        String(nodes),
        usdPerHour.toFixed(2),
        readySeconds === null ? '-' : `${readySeconds.toFixed(1)} s`,
      ]),
    ),
    '',
  ].join('\n')
}
