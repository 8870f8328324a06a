/** The building blocks of the dashboards: one style for all panels. */
import {
  LegendDisplayMode,
  LegendPlacement,
  LogsSortOrder,
  ReduceDataOptionsBuilder,
  SortOrder,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { PanelBuilder as LogsPanelBuilder } from '@grafana/grafana-foundation-sdk/logs'
import { DataqueryBuilder as LokiQueryBuilder } from '@grafana/grafana-foundation-sdk/loki'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatPanelBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as GraphPanelBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** The data source that the user selects at the top of the dashboard. */
const DATASOURCE = { type: 'prometheus', uid: '$' + '{datasource}' }

/** The store of logs that the user selects; none without Loki. */
const LOGS = { type: 'loki', uid: '$' + '{logs}' }

/** Grafana's grid has 24 columns. */
const WIDTH = 24

/** Queries of a panel: PromQL by the name of the series, which may contain labels, such as `{{pod}}`. */
export type Queries = Readonly<Record<string, string>>

interface PanelOptions {
  /** Unit of Grafana, such as `s` or `percentunit`. */
  unit: string
  /** How often the series are scraped, such as `5s`, if more often than the data source says. */
  scraped?: string
  /** Colour from a value on, in ascending order. */
  thresholds?: readonly (readonly [value: number, color: string])[]
}

interface GraphOptions extends PanelOptions {
  /** Upper end of the axis, for shares. */
  max?: number
  /** Whether to mark single requests, with links to their traces. */
  exemplars?: true
  /** Query for the lines behind a series: LogQL, which may contain variables of Grafana. */
  lines?: string
}

/** A number with its recent course. */
export function stat(title: string, description: string, expr: string, options: PanelOptions) {
  const { unit, thresholds = [], scraped } = options
  const panel = new StatPanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .unit(unit)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(steps(thresholds))
    .withTarget(query('A', title, expr, scraped))
    .height(4)
  return scraped === undefined ? panel : panel.interval(scraped)
}

/** Least upper end of an axis, by unit. If all values are 0, Grafana's own axis ends at 100, or at 10000 %. */
const SMALLEST_TOP: Readonly<Record<string, number>> = { percentunit: 0.01, short: 1 }

/** Series over time, as lines: the areas of many pods would cover each other. */
export function graph(title: string, description: string, queries: Queries, options: GraphOptions) {
  const panel = new GraphPanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .unit(options.unit)
    .min(0)
    .fillOpacity(0)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .height(8)
  const top = SMALLEST_TOP[options.unit]
  if (options.max !== undefined) panel.max(options.max)
  else if (top !== undefined) panel.axisSoftMax(top)
  if (options.scraped !== undefined) panel.interval(options.scraped)
  if (options.thresholds !== undefined) panel.thresholds(steps(options.thresholds))
  if (options.lines !== undefined) {
    panel.dataLinks([
      new DashboardLinkBuilder('Logs of this time').url(exploreUrl(options.lines)).targetBlank(true),
    ])
  }
  Object.entries(queries).forEach(([legend, expr], index) => {
    const target = query(String.fromCharCode('A'.charCodeAt(0) + index), legend, expr, options.scraped)
    panel.withTarget(options.exemplars ? target.exemplar(true) : target)
  })
  return panel
}

/**
 * The address of Explore with a query of the logs and the time range of the dashboard. Grafana replaces the variables in
 * it, which must therefore not be encoded.
 */
function exploreUrl(expr: string): string {
  const queries = [{ refId: 'A', datasource: LOGS, expr, queryType: 'range' }]
  const range = { from: '$' + '{__from}', to: '$' + '{__to}' }
  const panes = encodeURIComponent(JSON.stringify({ logs: { datasource: LOGS.uid, queries, range } }))
  const address = panes.replaceAll(/%24%7B([\w.]+)%7D/g, '$' + '{$1}')
  return `/explore?schemaVersion=1&panes=${address}`
}

/** Numbers computed from lines, over time. */
export function linesGraph(title: string, description: string, legend: string, expr: string) {
  return new GraphPanelBuilder()
    .title(title)
    .description(description)
    .datasource(LOGS)
    .unit('short')
    .min(0)
    .fillOpacity(10)
    .showPoints(VisibilityMode.Never)
    .withTarget(linesQuery(expr).legendFormat(legend))
    .height(8)
}

/** The lines themselves, the newest first. */
export function lines(title: string, description: string, expr: string) {
  return new LogsPanelBuilder()
    .title(title)
    .description(description)
    .datasource(LOGS)
    .showTime(true)
    .enableLogDetails(true)
    .wrapLogMessage(true)
    .sortOrder(LogsSortOrder.Descending)
    .withTarget(linesQuery(expr).maxLines(200))
    .height(12)
}

function linesQuery(expr: string) {
  return new LokiQueryBuilder().refId('A').datasource(LOGS).queryType('range').expr(expr)
}

function steps(thresholds: readonly (readonly [number, string])[]) {
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([
      { value: null, color: thresholds.length === 0 ? 'blue' : 'green' },
      ...thresholds.map(([value, color]) => ({ value, color })),
    ])
}

/**
 * By `interval`, a query states how often its series are scraped. Together with the panel's, it makes
 * `$__rate_interval` four times as long; by default, the interval of the data source counts.
 */
function query(refId: string, legend: string, expr: string, interval: string | undefined) {
  const target = new DataqueryBuilder()
    .refId(refId)
    .datasource(DATASOURCE)
    .expr(expr)
    .legendFormat(legend)
    .range()
  return interval === undefined ? target : target.interval(interval)
}

type Panel = ReturnType<typeof stat> | ReturnType<typeof graph> | ReturnType<typeof lines>

/** A section of a dashboard: its title and its panels. */
export interface Row {
  title: string
  panels: readonly Panel[]
  /** Panels beside each other; without it, two or four share a line, otherwise three. */
  columns?: number
  /** Closed until the user opens it: Grafana runs its queries only then. */
  collapsed?: true
}

/** A dashboard without variables of its own: it only lets the user select the data source. */
export function dashboard(uid: string, title: string, description: string): DashboardBuilder {
  return new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['fastify-app'])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .refresh('10s')
    .time({ from: 'now-30m', to: 'now' })
    .timezone('browser')
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
    .link(
      new DashboardLinkBuilder('Dashboards')
        .type(DashboardLinkType.Dashboards)
        .tags(['fastify-app'])
        .includeVars(true)
        .keepTime(true),
    )
}

/** Lets the user select the store of logs, if Grafana has one. */
export function logsVariable() {
  return new DatasourceVariableBuilder('logs').label('Logs').type('loki')
}

/** Lets the user select a value of a label. */
export function labelVariable(name: string, label: string, definition: string) {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .definition(definition)
    .query({ query: definition, refId: name })
    .refresh(VariableRefresh.OnDashboardLoad)
    .sort(VariableSort.AlphabeticalAsc)
}

/** Adds rows to a dashboard. Their panels have the same width. */
export function withRows(builder: DashboardBuilder, rows: readonly Row[]): DashboardBuilder {
  let id = 0
  for (const { title, panels, columns = columnsFor(panels.length), collapsed = false } of rows) {
    id += 1
    const row = new RowBuilder(title).id(id).collapsed(collapsed)
    const placed = panels.map((panel) => panel.id(++id).span(WIDTH / columns))
    if (collapsed) for (const panel of placed) row.withPanel(panel)
    builder.withRow(row)
    if (!collapsed) for (const panel of placed) builder.withPanel(panel)
  }
  return builder
}

function columnsFor(panels: number): number {
  return panels === 2 || panels === 4 ? panels : 3
}
