/** The load test with generators in the cluster: what it measures, that nothing is left, and the failures that users meet. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import type { KubernetesObject, Pod } from '../objects.ts'
import { operate, repository, WITHOUT_LOAD_SHEDDING } from '../operator.ts'

const { environment, config, make, kubectl, apply, list, observe } = await operate('e2e-generators', 26_000)
const results = t.testdir({ 'values.json': JSON.stringify(WITHOUT_LOAD_SHEDDING) })
const inService = '--namespace=fastify-app'

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push']) await make(target)
await make('deploy', { VALUES: join(results, 'values.json') })

interface Report {
  baseUrl: string
  summary: { requests: number; failures: Record<string, number>; droppedIterations: number }
  generator: { cpuShare: number | null; pods?: number }
}

/** Starts a load of two pods with 40 requests/s. */
function startLoad(variables: Record<string, string>, file = 'report.json') {
  const args = ['steady', '--generators=2', '--summary', join(results, file)]
  return execa('node', ['loadtest/src/run.ts', ...args], {
    cwd: repository,
    env: { ...environment, RATE: '40', ...variables },
    all: true,
    reject: false,
  })
}

/** The objects of the load test in the cluster. */
async function remains(): Promise<string> {
  return kubectl(
    ...['get', 'jobs,configmaps,pods', inService, '--selector=app.kubernetes.io/name=loadtest'],
    '--output=name',
  )
}

await t.test('two pods send the load to the Ingress, and every request is counted once', async (t) => {
  const pods = observe<Pod>('pods', inService, '--selector=app.kubernetes.io/name=loadtest')
  const { all, exitCode } = await startLoad({ DURATION: '60s' })
  await pods.stop()
  t.comment(all)
  t.equal(exitCode, 0)
  const report = JSON.parse(readFileSync(join(results, 'report.json'), 'utf8')) as Report
  t.strictSame(report.summary.failures, {})
  t.equal(report.summary.droppedIterations, 0)
  t.ok(Math.abs(report.summary.requests - 2400) <= 2, `${report.summary.requests} requests`)
  t.match(report.generator, { cpuShare: Number, pods: 2 })
  const [ingress] = await list<
    KubernetesObject & { status: { loadBalancer: { ingress: { hostname: string }[] } } }
  >('ingresses', inService)
  t.equal(report.baseUrl, `http://${ingress?.status.loadBalancer.ingress[0]?.hostname}`)
  const nodes = new Map(pods.changes.map(({ object }) => [object.metadata.name, object.spec.nodeName]))
  t.equal(new Set(nodes.values()).size, 2, 'each on a node of its own')
  t.equal(await remains(), '')
})

await t.test('an interruption leaves nothing in the cluster', async (t) => {
  const load = startLoad({ DURATION: '10m' })
  for await (const line of load.iterable({ from: 'all' })) if (/^ +5s /.test(line)) load.kill('SIGINT')
  t.equal((await load).exitCode, 130)
  t.equal(await remains(), '')
})

await t.test('a run without one of its pods is invalid', async (t) => {
  const load = startLoad({ DURATION: '10m' })
  for await (const line of load.iterable({ from: 'all' })) {
    if (!/^ +5s /.test(line)) continue
    await kubectl('delete', 'pods', inService, '--selector=batch.kubernetes.io/job-completion-index=1')
  }
  const { exitCode, all } = await load
  t.equal(exitCode, 2)
  t.match(all, /error: the run is invalid, because loadtest-\S+ failed/)
  t.equal(await remains(), '')
})

await t.test('a missing image and a quota are reported with their cause', async (t) => {
  const missing = await startLoad({ DURATION: '10s', K6_IMAGE: 'docker.io/grafana/missing:1' })
  t.equal(missing.exitCode, 2)
  t.match(missing.all, /error: the image of the generators cannot be pulled: .*grafana\/missing/)
  await apply({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'full', namespace: 'fastify-app' },
    spec: { hard: { 'requests.cpu': '500m' } },
  })
  const refused = await startLoad({ DURATION: '10s' })
  await kubectl('delete', 'resourcequota', 'full', inService)
  t.equal(refused.exitCode, 2)
  t.match(refused.all, /error: the cluster refuses the pods of the generators: .*exceeded quota: full/)
  t.equal(await remains(), '')
})
