/** What a run of `make loadtest` sends, and what it records. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import { pinnedVersion, programPath } from 'shared/tools'
import t from 'tap'
import { FakeJobs } from './test-jobs.ts'
import { loadtest, readReport, startBoth } from './test-run.ts'
import { kubeconfig, prometheusService, startService } from './test-servers.ts'

t.test('steady counts every request, on new and on reused connections', async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const file = join(t.testdir(), 'run.json')
  const environment = { BASE_URL: service.url, RATE: '20', DURATION: '6s' }
  const { code, stdout, stderr } = await loadtest(['steady', '--no-cluster', '--summary', file], environment)
  t.equal(stderr, '')
  t.equal(code, 0)
  const { summary, series, verdicts, scaling, generator } = readReport(file)
  t.equal(summary.requests, service.requests)
  t.ok(Math.abs(summary.requests - 120) <= 2, 'the planned number')
  t.match(summary, { failed: 0, errorRate: 0, droppedIterations: 0, checksFailed: {} })
  t.equal(scaling, null)
  t.ok(generator.cpuShare !== null && generator.cpuShare < 1)
  t.same(series.second.slice(0, 2), [5, 10])
  t.equal(series.rate.length, series.second.length)
  t.same(
    verdicts.map(({ met }) => met),
    [true, true, true, true],
  )
  t.same([...service.paths], ['/'])
  t.ok(service.connections < service.requests, 'some connections are reused')
  t.match(stdout, 'SLO met    error rate: 0')
  t.match(readFileSync(file.replace('.json', '.md'), 'utf8'), '# Load test steady')
})

t.test('scaling up and down is recorded', async (t) => {
  const { service, cluster, environment, file } = await startBoth(t)
  cluster.replicas = () => {
    const idle = Date.now() - service.lastRequest > 1_000
    const replicas = idle ? 2 : Math.min(2 + Math.floor(service.requests / 20), 5)
    return { desired: replicas, ready: replicas }
  }
  const { code, stdout, stderr } = await loadtest(
    ['scaling', '--until-scaled-down', '--summary', file],
    environment,
  )
  t.equal(stderr, '')
  t.equal(code, 0, stdout)
  const { summary, verdicts, scaling, series, events } = readReport(file)
  t.equal(summary.requests, service.requests)
  t.equal(service.connections, service.requests, 'each request uses a new connection')
  t.same([...service.paths], ['/api/v1/work?ms=8'])
  t.match(scaling, {
    autoscaler: { deployment: 'app', minReplicas: 2, maxReplicas: 10 },
    replicas: { from: 2, max: 5, end: 2 },
    firstDecisionSecond: Number,
    firstNewPodReadySecond: Number,
    overshootReplicas: 0,
    backSecond: Number,
    podSeconds: Number,
    price: { perHourAtPeak: 0.0216 },
  })
  t.equal(Math.max(...series.replicasWanted.map(Number)), 5)
  t.ok(events.some(({ kind, text }) => kind === 'scale' && text.startsWith('the autoscaler wants')))
  t.ok(events.some(({ kind, text }) => kind === 'load' && text === 'the load reaches 40 requests/s'))
  t.ok(events.some(({ kind }) => kind === 'pod'))
  t.match(verdicts.at(-1), { name: 'replicas within 600 s after the load', value: 2, met: true })
  t.match(stdout, /back at 2 replicas after [\d.]+ s/)
})

t.test('the event loop utilisation comes from Prometheus', async (t) => {
  const { cluster, environment, file } = await startBoth(t)
  cluster.services = [prometheusService]
  cluster.prometheus = () => 0.42
  const args = ['steady', '--until-scaled-down', '--summary', file]
  const { code, stderr } = await loadtest(args, { ...environment, RATE: '10', DURATION: '6s' })
  t.equal(stderr, '')
  t.equal(code, 0)
  const { series, seconds } = readReport(file)
  t.same(
    series.eventLoopUtilization,
    series.second.map((second) => (second <= seconds ? 0.42 : null)),
  )
})

t.test('a run without Prometheus says so, and does not fail', async (t) => {
  const { environment, file } = await startBoth(t)
  const { code, stdout } = await loadtest(['steady', '--summary', file], {
    ...environment,
    RATE: '10',
    DURATION: '6s',
  })
  t.equal(code, 0)
  t.match(
    stdout,
    'no Prometheus in the namespace monitoring, so the report has no event loop utilisation; `make monitoring` installs it',
  )
  t.ok(readReport(file).series.eventLoopUtilization.every((value) => value === null))
})

t.test('the mix uses every operation of the task API, and deletes its tasks', async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const file = join(t.testdir(), 'run.json')
  const other = { id: 'other', title: 'Water the plants', status: 'open', version: 1 }
  service.tasks.set(other.id, other)
  const environment = { BASE_URL: service.url, RATE: '50', DURATION: '4s' }
  const { code, stdout, stderr } = await loadtest(['smoke', '--no-cluster', '--summary', file], environment)
  t.equal(stderr, '')
  t.equal(code, 0, stdout)
  t.same(readReport(file).summary, { ...readReport(file).summary, failed: 0, checksFailed: {} })
  t.same([...service.taskRequests].sort(), [
    'DELETE /api/v1/tasks/:id',
    'GET /api/v1/tasks',
    'GET /api/v1/tasks/:id',
    'GET /api/v1/tasks/summary',
    'PATCH /api/v1/tasks/:id',
    'POST /api/v1/tasks',
  ])
  t.same([...service.paths].sort(), ['/api/v1/delay/50', '/api/v1/work?ms=8'])
  t.match(stdout, /deleted the \d+ tasks that the run left/)
  t.same([...service.tasks.values()], [other], 'the tasks of others remain')
})

t.test('without load routes, the mix has the task API only; a wrong response misses the SLO', async (t) => {
  const service = await startService()
  t.teardown(service.close)
  service.hasLoadRoutes = false
  let created = 0
  service.taskStatus = ({ method }) => {
    if (method === 'GET') return undefined
    // The check before the load creates one task; deletions of the clean-up fail.
    return method === 'POST' && ++created > 1 ? 202 : method === 'DELETE' && created > 1 ? 500 : undefined
  }
  const file = join(t.testdir(), 'run.json')
  const environment = { BASE_URL: service.url, RATE: '20', DURATION: '2s' }
  const { code, stdout } = await loadtest(['smoke', '--no-cluster', '--summary', file], environment)
  t.equal(code, 1)
  t.match(stdout, 'the routes for load tests are off, so the mix has the task API only')
  t.equal(service.requests, 0)
  const { summary, events } = readReport(file)
  t.ok((summary.checksFailed['create: status 201'] ?? 0) > 0)
  t.match(stdout, /SLO MISSED failed checks: \d+ \(bound <= 0\)/)
  t.match(stdout, /tasks with the title "loadtest [0-9a-f]+ \.\.\." remain: DELETE .* answers 500/)
  t.ok(events.some(({ kind, text }) => kind === 'problem' && text.includes('remain')))
})

t.test('generators in the cluster send the load to the Ingress, and are gone afterwards', async (t) => {
  const jobs = new FakeJobs(t.testdir())
  jobs.path = dirname(programPath(readBoxConfig(process.env), 'k6'))
  t.teardown(() => jobs.close())
  const { service, cluster, environment, file } = await startBoth(t, jobs)
  cluster.ingresses = [
    { metadata: { name: 'app' }, status: { loadBalancer: { ingress: [{ ip: new URL(service.url).host }] } } },
  ]
  const args = ['steady', '--generators', '2', '--summary', file]
  const { code, stdout, stderr } = await loadtest(args, { ...environment, RATE: '20', DURATION: '6s' })
  t.equal(stderr, '')
  t.equal(code, 0, stdout)
  const { summary, generator, baseUrl } = readReport(file)
  t.equal(summary.requests, service.requests)
  t.ok(Math.abs(summary.requests - 120) <= 2, 'the planned number')
  t.match(generator, { cpuShare: Number, pods: 2 })
  t.equal(baseUrl, service.url)
  t.match(stdout, 'waiting for 2 generators')
  t.match(stdout, /k6 used up to \d+ % of a generator's CPU limit \(2 pods\)/)
  const image = () => jobs.created?.spec?.template.spec?.containers[0]?.image
  t.equal(image(), `docker.io/grafana/k6:${pinnedVersion('k6', 'go.k6.io/k6').slice(1)}`)
  t.equal(jobs.job, undefined)

  jobs.status = () => ({ phase: 'Pending' })
  const settings = { ...environment, RATE: '', K6_IMAGE: 'registry.example/k6' }
  const interrupted = await loadtest(args, settings, (output, kill) => {
    if (output.includes('waiting for 2 generators')) kill('SIGINT')
  })
  t.equal(interrupted.code, 130)
  t.equal(image(), 'registry.example/k6')
  t.equal(jobs.job, undefined, 'an interruption leaves nothing')

  jobs.status = () => undefined
  jobs.script = 'until [ -s /loadtest/control/start ]; do sleep 0.1; done; exit 3'
  const failed = await loadtest(['smoke', ...args.slice(1)], settings)
  t.equal(failed.code, 2)
  t.match(failed.stderr, /error: the run is invalid, because loadtest-. failed: Error, exit code 3/)
  t.match(failed.stdout, 'deleted the 0 tasks that the run left', 'also after a failure')
  t.equal(jobs.job, undefined)
})

t.test('an image of the generators that the box does not take is reported', async (t) => {
  const { service, cluster, file } = await startBoth(t)
  cluster.ingresses = [
    { metadata: { name: 'app' }, status: { loadBalancer: { ingress: [{ hostname: 'lb.example' }] } } },
  ]
  const box = {
    BOX_CACHE_DIR: readBoxConfig(process.env).cacheDir,
    BOX_STATE_DIR: join(tmpdir(), `loadtest-${process.pid}`),
    BOX_REGISTRY_PORT: '1',
    BASE_URL: service.url,
  }
  mkdirSync(join(box.BOX_STATE_DIR, 'default'), { recursive: true })
  t.teardown(() => rmSync(box.BOX_STATE_DIR, { recursive: true }))
  writeFileSync(join(box.BOX_STATE_DIR, 'default', 'kubeconfig'), kubeconfig(cluster.url))
  const { code, stderr } = await loadtest(['steady', '--generators', '1', '--summary', file], box)
  t.equal(code, 2)
  t.match(stderr, "error: the image of k6 cannot be pushed to the box's registry")
})
