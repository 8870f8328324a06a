import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readBoxConfig } from 'shared/box'
import { pinnedVersion, programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import Value from 'typebox/value'
import { type RunReport, RunReportSchema } from './run-report.ts'
import { FakeJobs } from './test-jobs.ts'
import { kubeconfig, prometheusService, startCluster, startService } from './test-servers.ts'

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the command as a user would. `onOutput` may send it a signal. */
async function loadtest(
  args: string[],
  environment: Record<string, string>,
  onOutput: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'run.ts'), ...args], {
    env: { ...process.env, KUBE_CONTEXT: '', ENV: '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const outcome: Outcome = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    outcome.stdout += chunk
    onOutput(outcome.stdout, (signal) => child.kill(signal))
  })
  child.stderr.on('data', (chunk: Buffer) => {
    outcome.stderr += chunk
  })
  await once(child, 'close')
  outcome.code = child.exitCode
  return outcome
}

/** Reads a report, which must follow the schema. */
function readReport(file: string): RunReport {
  return Value.Parse(RunReportSchema, JSON.parse(readFileSync(file, 'utf8')))
}

/** A service, its cluster, and the environment variables for both. */
async function startBoth(t: Test, jobs?: FakeJobs) {
  const service = await startService()
  const cluster = await startCluster(jobs)
  t.teardown(service.close)
  t.teardown(cluster.close)
  const directory = t.testdir({ kubeconfig: kubeconfig(cluster.url) })
  const environment = {
    BASE_URL: service.url,
    KUBECONFIG: join(directory, 'kubeconfig'),
    KUBE_CONTEXT: 'fake',
    PEAK_RATE: '40',
    RAMP: '2s',
    HOLD: '3s',
  }
  return { service, cluster, environment, file: join(directory, 'reports', 'run.json') }
}

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

t.test('a breakpoint run ends soon after the service has broken', async (t) => {
  const begun = Date.now()
  const service = await startService(() => (Date.now() - begun > 12_000 ? 503 : 200))
  t.teardown(service.close)
  const file = join(t.testdir(), 'run.json')
  const environment = { BASE_URL: service.url, PEAK_RATE: '20', RAMP: '120s' }
  const { code, stdout } = await loadtest(['breakpoint', '--no-cluster', '--summary', file], environment)
  const report = readReport(file)
  t.ok(report.seconds < 100, `${report.seconds} s`)
  t.equal(report.interrupted, false)
  t.match(report.verdicts, [
    { name: 'rate before the SLO was missed', bound: 20, unit: 'req/s' },
    { met: true },
  ])
  t.ok(report.events.some(({ text }) => text === 'the load stops, because the SLO was missed for 15 s'))
  t.match(stdout, 'rate before the SLO was missed')
  t.ok(code === 0 || code === 1)
})

t.test('a spike is judged by its recovery', async (t) => {
  const service = await startService((request) => (request === 30 ? 503 : 200))
  t.teardown(service.close)
  const file = join(t.testdir(), 'run.json')
  const environment = { BASE_URL: service.url, PEAK_RATE: '20', RAMP: '4s', HOLD: '4s' }
  await loadtest(['spike', '--no-cluster', '--summary', file], environment)
  const { verdicts } = readReport(file)
  t.match(verdicts[0], { name: 'p95 within 300 ms again', unit: 's', bound: 60 })
})

t.test('a run that does not scale misses its SLO', async (t) => {
  const { environment, file } = await startBoth(t)
  const { code, stdout } = await loadtest(['scaling', '--summary', file], environment)
  t.equal(code, 1)
  t.match(stdout, 'SLO MISSED ready replicas: 2 (bound >= 4)')
})

t.test('failed requests are counted by cause and miss the SLO', async (t) => {
  const service = await startService((request) => (request % 10 === 0 ? 503 : 200))
  t.teardown(service.close)
  const file = join(t.testdir(), 'run.json')
  const environment = { BASE_URL: service.url, RATE: '20', DURATION: '2s' }
  const { code, stdout } = await loadtest(['steady', '--no-cluster', '--summary', file], environment)
  t.equal(code, 1)
  t.same(readReport(file).summary.failures, { 'HTTP 503': Math.floor(service.requests / 10) })
  t.match(stdout, /SLO MISSED error rate: 0\.\d+ \(bound <= 0\.001\)/)
})

t.test('replicas that do not scale down miss the SLO, and prevent the next run', async (t) => {
  const { cluster, environment, file } = await startBoth(t)
  cluster.replicas = () => ({ desired: 3, ready: 3 })
  const steady = { ...environment, RATE: '5', DURATION: '1s' }
  const args = ['--settle-timeout', '3', '--summary', file]
  const down = await loadtest(['steady', '--until-scaled-down', ...args], steady)
  t.equal(down.code, 1)
  t.match(down.stdout, 'SLO MISSED replicas within 3 s after the load: 3 (bound <= 2)')
  const up = await loadtest(['scaling', ...args], environment)
  t.equal(up.code, 2)
  t.match(up.stdout, 'waiting up to 3 s for 2 replicas: 3 ready, 3 desired')
  t.match(up.stderr, 'error: the release does not have 2 replicas after 3 s: 3 ready, 3 desired')
})

t.test('an interrupted run stops the load and reports what it measured, without a verdict', async (t) => {
  const { service, environment, file } = await startBoth(t)
  const long = { ...environment, RATE: '20', DURATION: '60s' }
  let interrupted = false
  const { code, stdout } = await loadtest(['steady', '--summary', file], long, (output, kill) => {
    if (interrupted || !output.includes(' 5s ')) return
    interrupted = true
    kill('SIGINT')
  })
  const { requests } = service
  t.equal(code, 130)
  t.match(stdout, 'interrupted: no verdict')
  const report = readReport(file)
  t.match(report, { interrupted: true, verdicts: [] })
  t.ok(report.summary.requests > 50)
  await sleep(500)
  t.equal(service.requests, requests, 'the load has stopped')
})

t.test('a run that is interrupted before the first request has an empty report', async (t) => {
  const { environment, file } = await startBoth(t)
  let interrupted = false
  const { code } = await loadtest(['steady', '--summary', file], environment, (output, kill) => {
    if (interrupted || !output.includes('req/s')) return
    interrupted = true
    kill('SIGINT')
  })
  t.equal(code, 130)
  const { interrupted: marked, summary, generator, scaling, series } = readReport(file)
  t.equal(marked, true)
  t.match(summary, { requests: 0, p95Ms: null })
  t.equal(generator.cpuShare, null)
  t.equal(scaling, null)
  t.same(series.second, [])
})

t.test('a second signal exits immediately', async (t) => {
  const { service, environment, file } = await startBoth(t)
  let interrupted = false
  const { code } = await loadtest(['steady', '--summary', file], environment, (output, kill) => {
    if (interrupted || !output.includes('req/s')) return
    interrupted = true
    kill('SIGINT')
    kill('SIGTERM')
  })
  t.ok(code === 130 || code === 143, `the code of the signal that was delivered last: ${code}`)
  const { requests } = service
  await sleep(500)
  t.equal(service.requests, requests, 'the load has stopped')
})

t.test(
  'a cluster that fails during the run leaves a gap in the timeline and misses the scale-down',
  async (t) => {
    const { service, cluster, environment, file } = await startBoth(t)
    cluster.replicas = () => {
      if (service.requests > 0) cluster.status = 500
      return { desired: 2, ready: 2 }
    }
    const args = ['steady', '--until-scaled-down', '--settle-timeout', '1', '--summary', file]
    const { code, stdout } = await loadtest(args, { ...environment, RATE: '10', DURATION: '6s' })
    t.equal(code, 1)
    t.match(stdout, /^ +\d+s +\d+\.\d .* - +- +- +the Kubernetes API at .* answers 500/m)
    t.match(stdout, 'SLO MISSED replicas within 1 s after the load: nothing measured (bound <= 2)')
    t.match(
      stdout,
      'Prometheus cannot be read through the Kubernetes API: it answers 500, so the report has no',
    )
    t.ok(readReport(file).events.some(({ kind }) => kind === 'problem'))
  },
)

t.test('a run that cannot start reports one line and a next step', async (t) => {
  const { service, cluster, environment, file } = await startBoth(t)
  const fails = async (args: string[], changes: Record<string, string>, line: string) => {
    const { code, stderr } = await loadtest(['--summary', file, ...args], { ...environment, ...changes })
    t.equal(code, 2, line)
    t.match(stderr, `error: ${line}`)
    t.match(stderr, /^ next: |Allowed choices|whole seconds|number of pods/m)
    t.equal(stderr.trim().split('\n').length, /^ next: /m.test(stderr) ? 2 : 1)
  }
  cluster.conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
    { type: 'ScalingActive', status: 'False', reason: 'ScalingDisabled', message: 'no replicas' },
  ]
  await Promise.all([
    fails(['steady'], { BASE_URL: 'http://127.0.0.1:1' }, 'http://127.0.0.1:1 does not answer'),
    fails(['steady'], { RATE: 'many' }, 'RATE is "many"'),
    fails(['steady'], { BOX_CACHE_DIR: t.testdirName }, 'k6 is not built'),
    fails(['steady', '--no-cluster', '--until-scaled-down'], {}, '--until-scaled-down needs a cluster'),
    fails(['steady', '--no-cluster', '--generators', '2'], {}, '--generators needs a cluster'),
    fails(['steady', '--generators', '0'], {}, "option '--generators <pods>' argument '0' is invalid"),
    fails(['steady', '--generators', '2'], {}, 'the release has no Ingress with a host, so generators'),
    fails(
      ['steady', '--summary', '/dev/null/run.json'],
      {},
      'the directory for the report cannot be created',
    ),
    fails(['peak'], {}, "command-argument value 'peak' is invalid"),
    fails(['steady'], { ENV: 'prod' }, 'this would change production'),
    fails(
      ['steady'],
      { BASE_URL: 'http://shop.example' },
      'BASE_URL has the host shop.example, but ENV=local',
    ),
    fails(['steady'], { ENV: 'dev' }, 'the release in ENV=dev has no Ingress with a host'),
    fails(['steady', '--settle-timeout', '0'], {}, "option '--settle-timeout <seconds>' argument '0'"),
    fails(['scaling'], {}, 'the autoscaler of release fastify-app does not scale (ScalingDisabled)'),
  ])
  t.equal(service.requests, 0, 'no load was sent')
  service.hasLoadRoutes = false
  await fails(['scaling'], {}, `${service.url} has no routes for load tests`)
  t.match(await loadtest(['scaling', '--no-cluster'], { BASE_URL: 'http://127.0.0.1:1' }), { code: 2 })
  t.match(await loadtest(['--help'], {}), { code: 0, stderr: '', stdout: 'Usage: loadtest' })
})
