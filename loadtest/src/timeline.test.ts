import t from 'tap'
import { percentile, type ReplicaSample, Timeline } from './timeline.ts'

/** Start of the loads below, in milliseconds since the epoch. */
const start = 1_800_000_000_000

/** Adds a request for each entry: the second and duration of its answer, and the cause if it failed. */
function addRequests(timeline: Timeline, requests: [second: number, ms: number, failure?: string][]): void {
  for (const [second, ms, failure] of requests) {
    const time = start + second * 1_000
    timeline.addPoint({ kind: 'request', time, failure: failure ?? null })
    timeline.addPoint({ kind: 'latency', time, ms })
  }
}

function sample(second: number, desired: number | null, ready: number | null, problem: string | null = null) {
  return { time: start + second * 1_000, cpuPercent: desired === null ? null : 50, desired, ready, problem }
}

function timelineOf(samples: ReplicaSample[], seconds: number): Timeline {
  const timeline = new Timeline()
  addRequests(
    timeline,
    Array.from({ length: seconds * 2 + 1 }, (_, index) => [index / 2, 10]),
  )
  for (const entry of samples) timeline.addSample(entry)
  timeline.endLoad(start + seconds * 1_000)
  return timeline
}

t.test('percentile interpolates between the closest ranks', async (t) => {
  t.equal(percentile([], 0.95), null)
  t.equal(percentile([7], 0.95), 7)
  t.equal(percentile([4, 1, 3, 2], 0.5), 2.5)
  t.equal(percentile([20, 10], 1), 20)
  t.equal(
    percentile(
      Array.from({ length: 101 }, (_, index) => index),
      0.95,
    ),
    95,
  )
})

t.test('there is a row every 5 s with the traffic of those seconds', async (t) => {
  const timeline = new Timeline()
  addRequests(timeline, [
    [0, 1],
    [1, 10],
    [5, 20],
    [5.1, 30, 'HTTP 503'],
    [9, 40],
    [10, 50],
    [12, 60],
  ])
  t.match(timeline.rows(0, start + 14_999), [
    { second: 5, rate: 0.4, p95Ms: 19.5, failed: 0, desired: null, ready: null },
    { second: 10, rate: 0.6, p95Ms: 49, failed: 1 },
  ])
})

t.test('rows can be taken in consecutive intervals, without gaps or duplicates', async (t) => {
  const timeline = timelineOf([sample(-1, 2, 2), sample(7, 3, 2)], 12)
  const taken = [0, 4_999, 5_000, 6_000, 9_000, 99_000].flatMap((until, index, all) =>
    timeline.rows(start + (all[index - 1] ?? -1), start + until),
  )
  t.same(taken, timeline.rows(0, Number.POSITIVE_INFINITY))
  t.same(
    taken.map(({ second, desired }) => [second, desired]),
    [
      [5, 2],
      [7, 3],
      [10, 3],
    ],
  )
})

t.test('each change of desired, ready or problem makes a row, also after the load', async (t) => {
  const samples = [
    sample(-3, 5, 5),
    sample(-1, 2, 2),
    sample(1, 2, 2),
    sample(3, 3, 2),
    sample(6, 3, 3, 'FailedGetResourceMetric'),
    sample(8, null, null, 'the API does not answer'),
    sample(20, 2, 3),
    sample(22, 2, 2),
  ]
  const rows = timelineOf(samples, 5).rows(0, Number.POSITIVE_INFINITY)
  t.match(rows, [
    { second: 3, desired: 3, ready: 2, cpuPercent: 50, problem: null },
    { second: 5, desired: 3, ready: 2 },
    { second: 6, desired: 3, ready: 3, problem: 'FailedGetResourceMetric' },
    { second: 8, desired: null, ready: null, cpuPercent: null, problem: 'the API does not answer' },
    { second: 20, desired: 2, ready: 3, rate: 0, p95Ms: null },
    { second: 22, desired: 2, ready: 2 },
  ])
})

t.test('without an answered request there are no rows and no measurements', async (t) => {
  const timeline = new Timeline()
  timeline.addSample(sample(0, 2, 2))
  timeline.addSample(sample(2, 3, 2))
  t.same(timeline.rows(0, Number.POSITIVE_INFINITY), [])
  t.match(timeline.summary(), { requests: 0, errorRate: null, p95Ms: null, maxMs: null, replicas: null })
})

t.test('the summary counts all requests and the causes of failure', async (t) => {
  const timeline = new Timeline()
  addRequests(timeline, [
    [0, 10],
    [1, 20, 'HTTP 503'],
    [2, 30, 'dial: connection refused'],
    [3, 40, 'HTTP 503'],
  ])
  timeline.addPoint({ kind: 'dropped', time: start })
  t.same(timeline.summary(), {
    requests: 4,
    failed: 3,
    failures: { 'HTTP 503': 2, 'dial: connection refused': 1 },
    errorRate: 0.75,
    droppedIterations: 1,
    p95Ms: 38.5,
    maxMs: 40,
    replicas: null,
  })
})

t.test('the summary has the times of scaling up and down', async (t) => {
  const samples = [
    sample(-2, 2, 2),
    sample(0, 2, 2),
    sample(24, 4, 2),
    sample(26, 4, 3),
    sample(30, null, null, 'the API does not answer'),
    sample(40, 6, 6),
    sample(70, 2, 6),
    sample(72, 2, 2),
    sample(74, 2, 2),
  ]
  t.same(timelineOf(samples, 60).summary().replicas, {
    from: 2,
    max: 6,
    firstScaleUpSecond: 24,
    readySeconds: { 3: 26, 4: 40, 5: 40, 6: 40 },
    backSecond: 72,
  })
})

t.test('the summary of a release that never scaled has no such times', async (t) => {
  t.same(timelineOf([sample(1, 2, 2), sample(90, 2, 2)], 60).summary().replicas, {
    from: 2,
    max: 2,
    firstScaleUpSecond: null,
    readySeconds: {},
    backSecond: null,
  })
})
