import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { buildApp } from '../../../apps/fastify-api/src/app.ts'
import { loadConfig } from '../../../apps/fastify-api/src/config.ts'
import { buildManagement } from '../../../apps/fastify-api/src/management.ts'
// The service loads its plugins by folder, so their type augmentations must be imported explicitly.
import type {} from '../../../apps/fastify-api/src/plugins/app/errors.ts'
import type {} from '../../../apps/fastify-api/src/plugins/app/method-not-allowed.ts'
import type {} from '../../../apps/fastify-api/src/plugins/external/metrics.ts'
import type {} from '../../../apps/fastify-api/src/plugins/external/openapi.ts'
import { readChartPrograms, renderChart } from './chart.ts'

const CHART = join(REPOSITORY_ROOT, 'helm', 'fastify-app')
const DASHBOARD = join(CHART, 'dashboards', 'fastify-app.json')

interface Dashboard {
  panels: { title: string; targets?: { expr: string; datasource: { uid: string } }[] }[]
}

interface PrometheusRule {
  kind: string
  spec: { groups: { rules: { alert: string; expr: string }[] }[] }
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
  const exposed = new Set([...types].flatMap(([, name = '', type]) => series(name, type)))
  exposed.add('up') // Prometheus adds this to every scrape.
  return exposed
}

function series(name: string, type: string | undefined): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
}

t.test('the dashboard queries only metrics that the service exposes', async (t) => {
  const exposed = await exposedSeries(t)
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as Dashboard
  for (const { title, targets = [] } of panels) {
    for (const { expr, datasource } of targets) {
      const queried = [...expr.matchAll(/(\w+)\{job="\$job"/g)].map(([, name = '']) => name)
      t.not(queried.length, 0, `${title}: ${expr}`)
      t.strictSame(
        queried.filter((name) => !exposed.has(name)),
        [],
        title,
      )
      t.equal(datasource.uid, '$' + '{datasource}', title)
    }
  }
})

t.test('alerts query only metrics that the service and kube-state-metrics expose', async (t) => {
  const exposed = await exposedSeries(t)
  const files = [join(CHART, 'ci', 'database-values.yaml')]
  const manifests = parseAllDocuments(
    await renderChart(readChartPrograms(process.env), CHART, { files, overrides: {} }),
  )
  const rules = manifests
    .map((manifest) => manifest.toJS() as PrometheusRule)
    .filter(({ kind }) => kind === 'PrometheusRule')
    .flatMap(({ spec }) => spec.groups.flatMap((group) => group.rules))
  t.not(rules.length, 0)
  for (const { alert, expr } of rules) {
    const queried = [...expr.matchAll(/(\w+)\{/g)].map(([, name = '']) => name)
    t.not(queried.length, 0, alert)
    t.strictSame(
      queried.filter((name) => !exposed.has(name) && !name.startsWith('kube_')),
      [],
      alert,
    )
  }
})
