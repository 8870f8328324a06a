import t from 'tap'
import { type ClusterSample, recoverySeconds, Timeline } from './timeline.ts'

/** Start of the loads below, in milliseconds since the epoch. */
const start = 1_800_000_000_000
const at = (second: number) => start + second * 1_000

/** Adds a request for each entry: the second and duration of its answer, and the cause if it failed. */
function addRequests(timeline: Timeline, requests: [second: number, ms: number, failure?: string][]): void {
  for (const [second, ms, failure] of requests) {
    timeline.addPoint({ kind: 'request', time: at(second), failure: failure ?? null })
    timeline.addPoint({ kind: 'latency', time: at(second), ms })
  }
}

function sample(wanted: number | null, ready: number | null, problem: string | null = null): ClusterSample {
  return {
    wanted,
    ready,
    podsPending: 0,
    nodes: 2,
    karpenterNodes: 0,
    cpuPercent: wanted === null ? null : 50,
    problem,
  }
}

/** Two requests a second of `ms`, with their answers from 0.25 s on. */
function steady(timeline: Timeline, from: number, to: number, ms = 250): void {
  for (let second = from; second < to; second += 0.5) addRequests(timeline, [[second + 0.25, ms]])
}

t.test('the timeline starts when the first request was sent', async (t) => {
  const timeline = new Timeline(300, 10)
  t.equal(timeline.startedAt, undefined)
  t.same(timeline.takeRows(at(10)), [])
  timeline.addSample(at(-1), sample(2, 2))
  addRequests(timeline, [[0.2, 200]])
  t.equal(timeline.startedAt, start)
})

t.test('there is a row every 5 s, as soon as all its points have arrived', async (t) => {
  const timeline = new Timeline(300, 20)
  timeline.addSample(at(-1), sample(2, 2))
  steady(timeline, 0, 5)
  t.same(timeline.takeRows(at(6.9)), [])
  addRequests(timeline, [
    [5.1, 20, 'HTTP 503'],
    [9, 40],
  ])
  t.match(timeline.takeRows(at(7)), [{ second: 5, rate: 2, failed: 1, sample: { ready: 2 } }])
  const [row, ...rest] = timeline.takeRows(at(12))
  t.match(row, { second: 10, rate: 0.4, failed: 1 })
  t.ok(Math.abs((row?.p95Ms ?? 0) - 40) < 0.4)
  t.same(rest, [])
})

t.test('each change of wanted, ready or problem makes a row, also after the load', async (t) => {
  const timeline = new Timeline(300, 5)
  timeline.addSample(at(-1), sample(5, 5))
  steady(timeline, 0, 5)
  timeline.addSample(at(0.5), sample(2, 2))
  timeline.addSample(at(1), sample(2, 2))
  timeline.addSample(at(3), sample(3, 2))
  t.match(timeline.takeRows(at(5.5)), [
    { second: 1, sample: { wanted: 2 } },
    { second: 3, rate: 2, sample: { wanted: 3, ready: 2 } },
  ])
  timeline.addSample(at(5.2), sample(3, 3, 'FailedGetResourceMetric'))
  timeline.endLoad(at(6))
  timeline.addSample(at(7), sample(null, null, 'the API does not answer'))
  timeline.addSample(at(20), sample(2, 3))
  timeline.addSample(at(22), sample(2, 2))
  timeline.addSample(at(23), sample(2, 2))
  t.match(timeline.takeRows(at(30)), [
    { second: 5, sample: { wanted: 3, ready: 2 } },
    { second: 5, sample: { ready: 3, problem: 'FailedGetResourceMetric' } },
    { second: 7, sample: { wanted: null, problem: 'the API does not answer' } },
    { second: 20, rate: 0, p95Ms: null, sample: { ready: 3 } },
    { second: 22, sample: { ready: 2 } },
  ])
})

t.test('without an answered request there are no rows and no measurements', async (t) => {
  const timeline = new Timeline(300, 5)
  timeline.addSample(at(0), sample(2, 2))
  timeline.addSample(at(2), sample(3, 2))
  timeline.endLoad(at(5))
  t.same(timeline.takeRows(at(10)), [])
  t.match(timeline.summary(), { requests: 0, errorRate: null, p95Ms: null, maxMs: null })
  t.same(timeline.series(5).second, [])
})

t.test('the summary counts requests, causes of failure and failed checks', async (t) => {
  const timeline = new Timeline(300, 5)
  addRequests(timeline, [
    [0, 10],
    [1, 20, 'HTTP 503'],
    [2, 30, 'dial: connection refused'],
    [3, 40, 'HTTP 503'],
  ])
  timeline.addPoint({ kind: 'dropped', time: start })
  timeline.addPoint({ kind: 'failed check', time: start, name: 'read: status 200' })
  t.match(timeline.summary(), {
    requests: 4,
    failed: 3,
    failures: { 'HTTP 503': 2, 'dial: connection refused': 1 },
    errorRate: 0.75,
    droppedIterations: 1,
    maxMs: 40,
    checksFailed: { 'read: status 200': 1 },
  })
})

t.test('causes that differ in each failure do not take more and more memory', async (t) => {
  const timeline = new Timeline(300, 5)
  for (let port = 0; port < 60; port++) addRequests(timeline, [[0, 1, `port ${port}`]])
  const { failures } = timeline.summary()
  t.equal(Object.keys(failures).length, 51)
  t.equal(failures['others'], 10)
})

t.test('windows over the bounds have a start and an end', async (t) => {
  const timeline = new Timeline(300, 40)
  steady(timeline, 0, 10)
  steady(timeline, 10, 15, 400)
  addRequests(timeline, [[16, 10, 'HTTP 503']])
  timeline.takeRows(at(22))
  t.match(timeline.windows, { violatedSecond: 10, holdsAgainSecond: null, violatedInARow: 2, carriedRate: 2 })
  steady(timeline, 20, 25)
  steady(timeline, 25, 30, 10)
  t.equal(timeline.takeRows(at(32)).length, 2)
  t.match(timeline.windows, { violatedSecond: 10, holdsAgainSecond: 20, violatedInARow: 0, carriedRate: 2 })
  timeline.takeRows(at(37))
  t.match(timeline.windows, { violatedInARow: 1, holdsAgainSecond: null }, 'no answer at all')
  timeline.endLoad(at(60))
  t.match(timeline.windows, { holdsAgainSecond: 35 }, 'after the planned end, no answer is missing')
})

t.test('the series has the traffic and the last state of each step', async (t) => {
  const timeline = new Timeline(300, 12)
  timeline.addSample(at(-1), sample(2, 2))
  steady(timeline, 0, 12)
  timeline.addSample(at(1), sample(2, 2))
  timeline.addSample(at(4), { ...sample(4, 2), podsPending: 2, nodes: 3, karpenterNodes: 1 })
  timeline.addPoint({ kind: 'dropped', time: at(7) })
  timeline.endLoad(at(12))
  timeline.addPoint({ kind: 'request', time: at(1), failure: 'late' })
  timeline.addSample(at(16), sample(2, 2))
  t.match(timeline.series(18), {
    stepSeconds: 5,
    second: [5, 10, 15, 20],
    rate: [2.2, 2, 0.8, 0],
    failed: [1, 0, 0, 0],
    dropped: [0, 1, 0, 0],
    maxMs: undefined,
    p95Ms: [250, 250, 250, null],
    replicasWanted: [4, 4, 4, 2],
    podsPending: [2, 2, 2, 0],
    karpenterNodes: [1, 1, 1, 0],
    cpuPercent: [50, 50, 50, 50],
    eventLoopUtilization: [null, null, null, null],
  })
})

t.test('six hours take at most 720 rows, and lose nothing', async (t) => {
  const timeline = new Timeline(300, 6 * 3_600)
  const seconds = 6 * 3_600
  for (let second = 0; second < seconds; second++) {
    addRequests(timeline, [[second, second === 0 ? 0 : 100]])
    if (second % 100 === 0) timeline.addSample(at(second), sample(2, 2))
  }
  timeline.endLoad(at(seconds))
  const { stepSeconds, second, rate, replicasReady } = timeline.series(seconds)
  t.equal(stepSeconds, 40)
  t.equal(second.length, 540)
  t.equal(second.at(-1), seconds)
  t.ok(rate.every((value) => value === 1))
  t.ok(replicasReady.every((value) => value === 2))
  t.equal(timeline.summary().requests, seconds)
})

t.test('the recovery lasts from the first to the last window over the bounds', async (t) => {
  const windows = { violatedInARow: 0, carriedRate: null }
  t.equal(recoverySeconds({ ...windows, violatedSecond: null, holdsAgainSecond: null }), 0)
  t.equal(recoverySeconds({ ...windows, violatedSecond: 10, holdsAgainSecond: null }), null)
  t.equal(recoverySeconds({ ...windows, violatedSecond: 10, holdsAgainSecond: 35 }), 25)
})
