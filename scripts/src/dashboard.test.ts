import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t from 'tap'
import { buildApp } from '../../apps/fastify-api/src/app.ts'
import { loadConfig } from '../../apps/fastify-api/src/config.ts'

const DASHBOARD = join(import.meta.dirname, '../../helm/fastify-app/dashboards/fastify-app.json')

interface Dashboard {
  panels: { title: string; targets?: { expr: string; datasource: { uid: string } }[] }[]
}

t.test('the dashboard asks only for metrics that the service exposes', async (t) => {
  const app = await buildApp(loadConfig({}), new Writable({ write: (_line, _encoding, done) => done() }))
  t.teardown(() => app.close())
  const exposition = (await app.inject('/metrics')).body
  const types = exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)
  const exposed = new Set([...types].flatMap(([, name = '', type]) => series(name, type)))
  exposed.add('up') // Prometheus' own, about each scrape.

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

function series(name: string, type: string | undefined): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
}
