/** How a run of `make loadtest` ends early, or does not start. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { loadtest, readReport, startBoth } from './test-run.ts'

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
