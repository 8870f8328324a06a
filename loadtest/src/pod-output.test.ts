import t from 'tap'
import { LostLines, PodOutput } from './pod-output.ts'

const request = (number: number) =>
  `${number} {"metric":"http_req_failed","type":"Point","data":{"time":"2026-11-21T03:42:51Z","value":0,"tags":{"scenario":"steady","status":"200"}}}`

t.test('each numbered line counts once, however often the log is read', async (t) => {
  const output = new PodOutput()
  const log = ['1 start 1795369108', request(2), request(3), '4 exit 0']
  const points = [...log.slice(0, 3), ...log].map((line) => output.read(line))
  t.equal(points.filter((point) => point?.kind === 'request').length, 2)
  t.match(output, { startedAt: 1795369108, exitCode: 0, progress: 4 })
})

t.test('a gap between numbered lines is an error', async (t) => {
  const output = new PodOutput()
  output.read('1 start 1795369108')
  t.throws(() => output.read(request(5)), new LostLines(3))
})

t.test('the CPU share covers the time from the first point to the last reading', async (t) => {
  const output = new PodOutput()
  output.read('cpu 100.00 50 10')
  output.read(request(1))
  t.equal(output.cpuShare, null)
  const log = ['cpu 102.00 100 20', 'cpu 104.00 200 40']
  for (const line of log) output.read(line)
  // 1.2 s of CPU time in 2 s.
  t.equal(output.cpuShare, 0.6)
  const { progress } = output
  for (const line of log) output.read(line)
  t.match(output, { cpuShare: 0.6, progress })
})

t.test('the last error of k6 is kept', async (t) => {
  const output = new PodOutput()
  t.equal(output.lastError, 'it logged no error')
  output.read('time="2026-11-21T03:42:51Z" level=error msg="test aborted: not ready"')
  output.read('time="2026-11-21T03:42:51Z" level=warning msg="Request Failed"')
  t.equal(output.lastError, 'test aborted: not ready')
})
