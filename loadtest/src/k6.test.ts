import { execFile } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import t from 'tap'
import { CpuUsage, parsePoint, runK6 } from './k6.ts'
import { PROFILES, SIZES } from './profiles.ts'
import { type ProfileName, thresholds } from './slo.ts'
import { startService } from './test-servers.ts'

const k6 = programPath(readBoxConfig(process.env), 'k6')
if (!existsSync(k6)) t.bailout(`these tests need k6, which is not built (${k6}): run \`make tools TOOL=k6\``)

const script = join(import.meta.dirname, 'scenarios', 'profile.ts')
const run = promisify(execFile)

t.test("k6's output is parsed into points", async (t) => {
  const line = (metric: string, value: number, tags: Record<string, string>) =>
    JSON.stringify({ metric, type: 'Point', data: { time: '2026-11-21T03:42:51.693280542Z', value, tags } })
  const time = Date.UTC(2026, 10, 21, 3, 42, 51, 693)
  const scenario = 'steady'
  t.same(parsePoint(line('http_req_failed', 0, { scenario, status: '200' })), {
    kind: 'request',
    time,
    failure: null,
  })
  t.match(parsePoint(line('http_req_failed', 1, { scenario, status: '503' })), { failure: 'HTTP 503' })
  const refused = { scenario, status: '0', error: 'dial: connection refused' }
  t.match(parsePoint(line('http_req_failed', 1, refused)), { failure: 'dial: connection refused' })
  t.match(parsePoint(line('http_req_failed', 1, { scenario, status: '0' })), { failure: 'no answer' })
  t.same(parsePoint(line('iteration_duration', 12.5, { scenario })), { kind: 'latency', time, ms: 12.5 })
  t.same(parsePoint(line('checks', 0, { scenario, check: 'read: status 200' })), {
    kind: 'failed check',
    time,
    name: 'read: status 200',
  })
  t.equal(parsePoint(line('checks', 1, { scenario, check: 'read: status 200' })), undefined)
  t.same(parsePoint(line('dropped_iterations', 1, { scenario })), { kind: 'dropped', time })
  t.equal(parsePoint(line('http_req_failed', 0, { group: '::setup', status: '200' })), undefined)
  t.equal(parsePoint(line('http_req_waiting', 1, { scenario })), undefined)
  t.equal(
    parsePoint('{"type":"Metric","data":{"name":"http_req_failed"},"metric":"http_req_failed"}'),
    undefined,
  )
})

t.test('k6 accepts every profile with its options', async (t) => {
  await Promise.all(
    Object.keys(PROFILES).map(async (name) => {
      const profile = name as ProfileName
      const { stdout } = await run(k6, [
        'inspect',
        '--env',
        `PROFILE=${profile}`,
        '--env',
        'ENV=staging',
        script,
      ])
      const options = JSON.parse(stdout)
      const { scenario, traffic } = PROFILES[profile](SIZES.staging, {})
      t.same(Object.keys(options.scenarios), [profile])
      t.equal(options.scenarios[profile].executor, scenario.executor)
      t.equal(options.scenarios[profile].preAllocatedVUs, scenario.preAllocatedVUs)
      t.same(options.thresholds, thresholds(profile))
      t.equal(options.noConnectionReuse, traffic !== 'root')
      t.equal(options.maxRedirects, 0)
    }),
  )
  await t.rejects(run(k6, ['inspect', '--env', 'PROFILE=peak', script]), {
    message: /use one of smoke, average/,
  })
})

t.test('a profile that k6 runs on its own probes the target and applies the thresholds', async (t) => {
  const service = await startService((request) => (request % 2 === 0 ? 500 : 200))
  t.teardown(service.close)
  const alone = (environment: Record<string, string>) =>
    run(k6, ['run', '--quiet', '--no-usage-report', '--address', '', script], {
      env: { ...process.env, PROFILE: 'steady', RATE: '10', DURATION: '1s', ...environment },
    })
  await t.rejects(alone({ BASE_URL: '' }), { code: 108, stderr: /BASE_URL is not set/ })
  await t.rejects(alone({ BASE_URL: 'http://127.0.0.1:1' }), {
    code: 108,
    stderr: /127.0.0.1:1.readyz is not ready/,
  })
  t.equal(service.requests, 0, 'there is no load without a target')
  await t.rejects(alone({ BASE_URL: `${service.url}/` }), { code: 99, stdout: /✗ 'rate<=0.001'/ })
  t.ok(service.requests >= 10)
})

t.test("a failure of k6 is an error with k6's message", async (t) => {
  const failing = (program: string, signal = new AbortController().signal) =>
    runK6({
      program,
      script,
      environment: { ...process.env, PROFILE: 'steady', BASE_URL: 'http://127.0.0.1:1' },
      signal,
      onPoint: () => t.fail('no points without load'),
    })
  await t.rejects(failing(k6), {
    name: 'ActionableError',
    message: /exit code 108: test aborted: .*127.0.0.1:1.readyz is not ready/,
  })
  await t.rejects(failing('/nowhere/k6'), { message: /k6 is not built/, nextStep: /make tools/ })
  const killed = join(t.testdir({ k6: '#!/bin/sh\nkill -9 $$\n' }), 'k6')
  chmodSync(killed, 0o755)
  await t.rejects(failing(killed), { message: /k6 stopped with signal SIGKILL/ })
  t.equal(await failing('/nowhere/k6', AbortSignal.abort()), null)
  await t.rejects(failing('/dev/null'), { code: 'EACCES' })
})

t.test('the CPU time of a process is a share of that of all cores', async (t) => {
  const usage = new CpuUsage(process.pid)
  usage.measure()
  t.equal(usage.share, null, 'not started')
  usage.start()
  const end = performance.now() + 300
  while (performance.now() < end) Math.sqrt(end)
  usage.measure()
  t.ok(usage.share !== null && usage.share > 0 && usage.share <= 1, `${usage.share}`)
  const gone = new CpuUsage(undefined)
  gone.start()
  gone.measure()
  t.equal(gone.share, null)
})
