import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { buildApp } from '../../apps/fastify-api/src/app.ts'
import { loadConfig } from '../../apps/fastify-api/src/config.ts'
import { buildManagement } from '../../apps/fastify-api/src/management.ts'
// The service finds its plugins by folder: what they add to its types has to be named here.
import type {} from '../../apps/fastify-api/src/plugins/app/method-not-allowed.ts'
import type {} from '../../apps/fastify-api/src/plugins/external/metrics.ts'
import type {} from '../../apps/fastify-api/src/plugins/external/openapi.ts'
import { renderChart } from './chart.ts'
import { REPOSITORY_ROOT } from './environment.ts'

const CHART = join(REPOSITORY_ROOT, 'helm', 'fastify-app')
const DASHBOARD = join(CHART, 'dashboards', 'fastify-app.json')

interface Dashboard {
  panels: { title: string; targets?: { expr: string; datasource: { uid: string } }[] }[]
}

interface PrometheusRule {
  kind: string
  spec: { groups: { rules: { alert: string; expr: string }[] }[] }
}

/** Names of all series that Prometheus gets of a pod with database and cache, neither of which need answer. */
async function exposedSeries(t: Test): Promise<Set<string>> {
  const settings = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1' }
  const app = await buildApp(
    loadConfig(settings),
    new Writable({ write: (_line, _encoding, done) => done() }),
  )
  t.teardown(() => app.close())
  const exposition = (await buildManagement(app).inject('/metrics')).body
  const types = exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)
  const exposed = new Set([...types].flatMap(([, name = '', type]) => series(name, type)))
  exposed.add('up') // Prometheus' own, about each scrape.
  return exposed
}

function series(name: string, type: string | undefined): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
}

t.test('the dashboard asks only for metrics that the service exposes', async (t) => {
  const exposed = await exposedSeries(t)
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as Dashboard
  for (const { title, targets = [] } of panels) {
    for (const { expr, datasource } of targets) {
      const asked = [...expr.matchAll(/(\w+)\{job="\$job"/g)].map(([, name = '']) => name)
      t.not(asked.length, 0, `${title}: ${expr}`)
      t.strictSame(
        asked.filter((name) => !exposed.has(name)),
        [],
        title,
      )
      t.equal(datasource.uid, '$' + '{datasource}', title)
    }
  }
})

t.test('alerts ask only for metrics that the service and kube-state-metrics expose', async (t) => {
  const exposed = await exposedSeries(t)
  const files = [join(CHART, 'ci', 'database-values.yaml')]
  const manifests = parseAllDocuments(await renderChart(CHART, { files, overrides: {} }))
  const rules = manifests
    .map((manifest) => manifest.toJS() as PrometheusRule)
    .filter(({ kind }) => kind === 'PrometheusRule')
    .flatMap(({ spec }) => spec.groups.flatMap((group) => group.rules))
  t.not(rules.length, 0)
  for (const { alert, expr } of rules) {
    const asked = [...expr.matchAll(/(\w+)\{/g)].map(([, name = '']) => name)
    t.not(asked.length, 0, alert)
    t.strictSame(
      asked.filter((name) => !exposed.has(name) && !name.startsWith('kube_')),
      [],
      alert,
    )
  }
})
