/** The building blocks of the dashboards: one style for all panels. */
import {
  LegendDisplayMode,
  LegendPlacement,
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
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatPanelBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as GraphPanelBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** The data source that the user selects at the top of the dashboard. */
const DATASOURCE = { type: 'prometheus', uid: '$' + '{datasource}' }

/** Grafana's grid has 24 columns. */
const WIDTH = 24

/** Queries of a panel: PromQL by the name of the series, which may contain labels, such as `{{pod}}`. */
export type Queries = Readonly<Record<string, string>>

interface PanelOptions {
  /** Unit of Grafana, such as `s` or `percentunit`. */
  unit: string
  /** Colour from a value on, in ascending order. */
  thresholds?: readonly (readonly [value: number, color: string])[]
}

interface GraphOptions extends PanelOptions {
  /** Upper end of the axis, for shares. */
  max?: number
}

/** A number with its recent course. */
export function stat(title: string, description: string, expr: string, options: PanelOptions) {
  const { unit, thresholds = [] } = options
  return new StatPanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .unit(unit)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(steps(thresholds))
    .withTarget(query('A', title, expr))
    .height(4)
}

/** Series over time. */
export function graph(title: string, description: string, queries: Queries, options: GraphOptions) {
  const panel = new GraphPanelBuilder()
    .title(title)
    .description(description)
    .datasource(DATASOURCE)
    .unit(options.unit)
    .min(0)
    .fillOpacity(10)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .height(8)
  if (options.max !== undefined) panel.max(options.max)
  if (options.thresholds !== undefined) panel.thresholds(steps(options.thresholds))
  Object.entries(queries).forEach(([legend, expr], index) => {
    panel.withTarget(query(String.fromCharCode('A'.charCodeAt(0) + index), legend, expr))
  })
  return panel
}

function steps(thresholds: readonly (readonly [number, string])[]) {
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([
      { value: null, color: thresholds.length === 0 ? 'blue' : 'green' },
      ...thresholds.map(([value, color]) => ({ value, color })),
    ])
}

function query(refId: string, legend: string, expr: string) {
  return new DataqueryBuilder().refId(refId).datasource(DATASOURCE).expr(expr).legendFormat(legend).range()
}

type Panel = ReturnType<typeof stat> | ReturnType<typeof graph>

/** A section of a dashboard: its title and its panels. */
export interface Row {
  title: string
  panels: readonly Panel[]
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

/** Adds rows to a dashboard. Their panels have the same width: two or four share a line, otherwise three. */
export function withRows(builder: DashboardBuilder, rows: readonly Row[]): DashboardBuilder {
  let id = 0
  for (const { title, panels } of rows) {
    id += 1
    builder.withRow(new RowBuilder(title).id(id))
    const columns = panels.length === 2 || panels.length === 4 ? panels.length : 3
    for (const panel of panels) {
      id += 1
      builder.withPanel(panel.id(id).span(WIDTH / columns))
    }
  }
  return builder
}
