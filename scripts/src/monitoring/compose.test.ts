import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { parse } from 'yaml'
import { runPromtool } from './promtool.ts'
import { generatedFiles } from './write-monitoring.ts'

interface ComposeFile {
  services: Record<
    string,
    {
      image: string
      build?: object
      ports?: string[]
      volumes?: string[]
      healthcheck?: object
      profiles?: string[]
      command?: string[]
      environment?: Record<string, string | number>
    }
  >
  configs: Record<string, { content: string }>
  volumes: Record<string, unknown>
}

const { services, configs, volumes } = parse(
  readFileSync(join(REPOSITORY_ROOT, 'docker-compose.yml'), 'utf8'),
  { merge: true },
) as ComposeFile

/** The bind mounts of a service: path in the repository to path in the container. */
function mounts(name: string): Map<string, string> {
  return new Map(
    (services[name]?.volumes ?? []).flatMap((volume) => {
      const [source = '', target = ''] = volume.split(':')
      return source.startsWith('./') ? [[source.slice(2), target] as const] : []
    }),
  )
}

t.test('images are pinned by digest, and ports are open on this machine only', async (t) => {
  for (const [name, { image, build, ports = [] }] of Object.entries(services)) {
    if (build === undefined) t.match(image, /^[a-z0-9/]+:v?[0-9][0-9.]*(-alpine)?@sha256:[0-9a-f]{64}$/, name)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, name)
  }
})

t.test('every service that keeps running has a health check', async (t) => {
  const without = Object.entries(services).filter(([, { healthcheck }]) => healthcheck === undefined)
  t.strictSame(
    without.map(([name]) => name),
    ['migrate', 'k6'],
  )
})

t.test('all mounted files and volumes exist', async (t) => {
  for (const name of Object.keys(services)) {
    for (const source of mounts(name).keys()) t.ok(existsSync(join(REPOSITORY_ROOT, source)), source)
    const named = (services[name]?.volumes ?? []).filter((volume) => !volume.startsWith('.'))
    for (const volume of named) t.ok((volume.split(':')[0] ?? '') in volumes, volume)
  }
})

t.test('Grafana has all dashboards', async (t) => {
  const mounted = mounts('grafana')
  const files = [...(await generatedFiles(process.env)).keys()].filter((path) => path.endsWith('.json'))
  t.strictSame(
    files.filter((path) => !mounted.has(dirname(path))),
    [],
  )
  const home = String(services['grafana']?.environment?.['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH'])
  t.ok(
    files.some((path) => home === join(mounted.get(dirname(path)) ?? '', basename(path))),
    home,
  )
})

t.test('Prometheus accepts its configuration and its rules', async (t) => {
  const directory = t.testdir()
  const file = join(directory, 'prometheus.yml')
  writeFileSync(file, configs['prometheus']?.content ?? '')
  const [rules = ''] = mounts('prometheus').keys()
  writeFileSync(join(directory, 'rules.yaml'), readFileSync(join(REPOSITORY_ROOT, rules)))
  const { passed, output } = await runPromtool(['check', 'config', file])
  t.ok(passed, output)
  t.match(output, /22 rules found/)
})

t.test('k6 runs the program of the load test, on demand', (t) => {
  const { command = [], profiles } = services['k6'] ?? {}
  t.strictSame(profiles, ['load'])
  const program = command.at(-1)?.replace('/loadtest/', 'loadtest/') ?? ''
  t.ok(existsSync(join(REPOSITORY_ROOT, program)), program)
  t.end()
})
