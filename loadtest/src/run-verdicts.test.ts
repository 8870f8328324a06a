/** How a run of `make loadtest` is judged. */
import { join } from 'node:path'
import t from 'tap'
import { loadtest, readReport, startBoth } from './test-run.ts'
import { startService } from './test-servers.ts'

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
