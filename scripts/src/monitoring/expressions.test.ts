import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { parser as logqlParser } from '@grafana/lezer-logql'
import { parser } from '@prometheus-io/lezer-promql'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { buildApp } from '../../../apps/fastify-api/src/app.ts'
import { loadConfig } from '../../../apps/fastify-api/src/config.ts'
import { buildManagement } from '../../../apps/fastify-api/src/management.ts'
// The service loads its plugins by folder, so their type augmentations must be imported explicitly.
import type {} from '../../../apps/fastify-api/src/plugins/app/errors.ts'
import type {} from '../../../apps/fastify-api/src/plugins/app/method-not-allowed.ts'
import type {} from '../../../apps/fastify-api/src/plugins/external/metrics.ts'
import type {} from '../../../apps/fastify-api/src/plugins/external/openapi.ts'
import { eventLoopExpression } from '../../../loadtest/src/prometheus.ts'
import { METRIC_SOURCES } from './metric-sources.ts'
import { ALL_ALERTS, generatedFiles, renderRules } from './write-monitoring.ts'

const SERVICE_CHART = join(REPOSITORY_ROOT, 'helm', 'fastify-app')
const PLATFORM_RELEASES = join(REPOSITORY_ROOT, 'infrastructure-hcl', 'platform', 'releases')
const CLUSTER_CHART = join(PLATFORM_RELEASES, 'charts', 'cluster-monitoring')

interface Panel {
  id: number
  type: string
  title: string
  description?: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { refId: string; expr: string; exemplar?: boolean; datasource: { uid: string } }[]
  fieldConfig?: { defaults: { links?: { url: string }[] } }
  /** The panels of a collapsed row. */
  panels?: Panel[]
}

interface Dashboard {
  uid: string
  title: string
  panels: Panel[]
}

/** An expression, and where it is used. */
interface Expression {
  place: string
  expr: string
}

/** The metrics that an expression selects; null if it is not valid PromQL. */
function metricsOf(expr: string): string[] | null {
  const names: string[] = []
  let isValid = true
  parser.parse(expr).iterate({
    enter: (node) => {
      if (node.type.isError) isValid = false
      // A metric, not a label in `by (...)`: only a selector has an identifier.
      if (node.name === 'Identifier' && node.node.parent?.name === 'VectorSelector') {
        names.push(expr.slice(node.from, node.to))
      }
    },
  })
  return isValid ? names : null
}

/** Replaces the variables of Grafana that can stand outside of strings. */
const withoutVariables = (expr: string) =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '1h').replaceAll('$availability', '99.9')

const files = await generatedFiles(process.env)
const dashboards = [...files]
  .filter(([path]) => path.endsWith('.json'))
  .map(([, content]) => JSON.parse(content) as Dashboard)
const rules = [
  await renderRules(process.env, SERVICE_CHART, ALL_ALERTS),
  await renderRules(process.env, CLUSTER_CHART, {}),
].flatMap(({ groups }) => groups.flatMap((group) => group.rules))

/** The queries of the Prometheus adapter, for two pods. */
function adapterExpressions(): Expression[] {
  const file = join(PLATFORM_RELEASES, 'values', 'prometheus-adapter.yaml')
  const adapter = parse(readFileSync(file, 'utf8')) as {
    rules: { custom: { seriesQuery: string; name: { as: string }; metricsQuery: string }[] }
  }
  return adapter.rules.custom.flatMap(({ seriesQuery, name, metricsQuery }) => {
    const [series = ''] = seriesQuery.split('{')
    const expr = metricsQuery
      .replaceAll('<<.Series>>', series)
      .replaceAll('<<.LabelMatchers>>', 'namespace="fastify-app",pod=~"a|b"')
      .replaceAll('<<.GroupBy>>', 'pod')
    return [
      { place: `series of the adapter's ${name.as}`, expr: seriesQuery },
      { place: `the adapter's ${name.as}`, expr },
    ]
  })
}

function allExpressions(): Expression[] {
  const panels = dashboards.flatMap((dashboard) =>
    dashboard.panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => ({
        place: `${dashboard.title}: ${title} (${refId})`,
        expr: withoutVariables(expr),
      })),
    ),
  )
  const ruleExpressions = rules.map(({ alert, record, expr }) => ({
    place: String(alert ?? record),
    expr,
  }))
  const loadTest = { place: 'the load test', expr: eventLoopExpression('fastify-app', 'fastify-app') }
  return [...panels, ...ruleExpressions, ...adapterExpressions(), loadTest]
}

/** The names of all series of a pod with database and cache. Neither of them needs to be reachable. */
async function exposedSeries(t: Test): Promise<Set<string>> {
  const settings = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1' }
  const app = await buildApp(
    loadConfig(settings),
    new Writable({ write: (_line, _encoding, done) => done() }),
  )
  t.teardown(() => app.close())
  const exposition = (await buildManagement(app).inject('/metrics')).body
  const types = exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)
  return new Set([...types].flatMap(([, name = '', type]) => series(name, type)))
}

function series(name: string, type: string | undefined): string[] {
  return type === 'histogram' || type === 'summary'
    ? [`${name}_bucket`, `${name}_sum`, `${name}_count`]
    : [name]
}

t.test('the parser finds metrics and refuses invalid expressions', async (t) => {
  t.strictSame(metricsOf('sum by (pod) (rate(a:b{c="d"}[5m])) / on (x) e'), ['a:b', 'e'])
  t.equal(metricsOf('sum(rate(a[5m])'), null)
  t.equal(metricsOf('rate(a[$__unknown])'), null)
})

t.test('every expression is valid and uses metrics that a known program exposes', async (t) => {
  const exposed = await exposedSeries(t)
  const recorded = rules.flatMap(({ record }) => record ?? [])
  const elsewhere = Object.values(METRIC_SOURCES).flat<readonly (readonly string[])[]>()
  const known = new Set([...exposed, ...recorded, ...elsewhere])
  const used = new Set<string>()
  for (const { place, expr } of allExpressions()) {
    const metrics = metricsOf(expr)
    if (!t.ok(metrics, `${place} is valid: ${expr}`)) continue
    for (const metric of metrics ?? []) used.add(metric)
    t.not(metrics?.length, 0, `${place} uses a metric`)
    t.strictSame(
      metrics?.filter((metric) => !known.has(metric)),
      [],
      place,
    )
  }
  t.strictSame(
    elsewhere.filter((metric) => !used.has(metric)),
    [],
    'the list contains no metric that nothing uses',
  )
  t.strictSame(
    recorded.filter((metric) => !used.has(metric)),
    [],
    'every recorded series is used',
  )
})

/** The names that a LogQL query compares with strings: labels, and fields of the line. Null if it is not valid. */
function comparedIn(logql: string): string[] | null {
  const names: string[] = []
  let isValid = true
  logqlParser.parse(logql).iterate({
    enter: (node) => {
      if (node.type.isError) isValid = false
      if (node.name === 'Identifier' && node.node.parent?.name === 'Matcher') {
        names.push(logql.slice(node.from, node.to))
      }
    },
  })
  return isValid ? names : null
}

t.test('queries of logs are valid, and select by labels and fields that Fluent Bit sets', async (t) => {
  t.equal(comparedIn('{app="a"'), null)
  const fluentBit = readFileSync(join(PLATFORM_RELEASES, 'values', 'fluent-bit.yaml'), 'utf8')
  const [, labels = '', metadata = ''] = /Labels (.*)\n +Structured_Metadata (.*)/.exec(fluentBit) ?? []
  const known = [...`${labels}, ${metadata}`.matchAll(/(\w+)=/g)].map(([, name]) => name)
  const targets = dashboards.flatMap(({ panels }) =>
    panels.flatMap((row) => row.panels ?? []).flatMap((panel) => panel.targets ?? []),
  )
  const links = dashboards
    .flatMap(({ panels }) => panels.flatMap(({ fieldConfig }) => fieldConfig?.defaults.links ?? []))
    .map(({ url }) => new URL(url, 'http://grafana').searchParams.get('panes') ?? '')
    .map((panes) => JSON.parse(panes) as { logs: { queries: { expr: string }[]; range: object } })
  t.equal(targets.length, 3)
  t.equal(links.length, 2)
  for (const { logs } of links) t.strictSame(logs.range, { from: '$' + '{__from}', to: '$' + '{__to}' })
  for (const { expr } of [...targets, ...links.flatMap(({ logs }) => logs.queries)]) {
    const names = comparedIn(expr.replaceAll('$__auto', '1m'))
    t.strictSame(names?.slice(0, 2), ['namespace', 'app'], expr)
    t.strictSame(
      names?.filter((name) => !known.includes(name)),
      [],
      expr,
    )
  }
})

t.test('panels of durations have exemplars', async (t) => {
  const withExemplars = dashboards
    .flatMap(({ panels }) => panels)
    .filter(({ targets = [] }) => targets.some(({ exemplar }) => exemplar))
  t.strictSame(
    withExemplars.map(({ title }) => title),
    ['Duration'],
  )
})

t.test('generated files are up to date', async (t) => {
  for (const [path, content] of files) {
    t.ok(
      readFileSync(join(REPOSITORY_ROOT, path), 'utf8') === content,
      `${path}: run node scripts/src/monitoring/write-monitoring.ts`,
    )
  }
})

t.test('the panels of a dashboard do not overlap, and each one is explained', async (t) => {
  const uids = new Set(dashboards.map(({ uid }) => uid))
  t.equal(uids.size, dashboards.length, 'Grafana identifies dashboards by uid')
  for (const { title, panels } of dashboards) {
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
    )
    t.equal(new Set(cells).size, cells.length, title)
    t.ok(
      panels.every(({ gridPos: { x, w } }) => x + w <= 24),
      title,
    )
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${title}: ids`)
    for (const panel of panels.filter(({ type }) => type !== 'row')) {
      t.ok(panel.description, `${title}: ${panel.title}`)
      const sources = panel.targets?.map(({ datasource }) => datasource.uid) ?? []
      t.ok(sources.length > 0 && sources.every((uid) => uid === '$' + '{datasource}'), panel.title)
    }
  }
})
