import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RunReport } from 'loadtest/run-report'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { DEFAULT_SETTING } from './plan.ts'
import { type Figures, figuresOf, formatComparison, formatSpread, type Outcome } from './results.ts'

/** The load test's sample with other figures of scaling. */
function reportWith(scaling: Partial<RunReport['scaling']> | null): RunReport {
  const sample: RunReport = JSON.parse(
    readFileSync(join(REPOSITORY_ROOT, 'loadtest', 'fixtures', 'sample-cpu.json'), 'utf8'),
  )
  return {
    ...sample,
    scaling: scaling === null || sample.scaling === null ? null : { ...sample.scaling, ...scaling },
  }
}

t.test('figures count from the rise of the load', async (t) => {
  const report = reportWith({
    firstDecisionSecond: 78.3,
    firstNewPodReadySecond: 90,
    sloViolatedSecond: 65,
    sloHoldsAgainSecond: 105,
  })
  const { summary, scaling } = report
  t.strictSame(figuresOf(report, 'spike'), {
    sloHoldsAgainSecond: 45,
    failedRequests: summary.failed,
    droppedRequests: summary.droppedIterations,
    p50Ms: summary.p50Ms,
    p99Ms: summary.p99Ms,
    firstDecisionSecond: 18.3,
    firstNewPodReadySecond: 30,
    mostReplicas: scaling?.replicas.max,
    overshootReplicas: scaling?.overshootReplicas,
    podSeconds: scaling?.podSeconds,
  })
})

t.test('an SLO that always held, or was missed only before the rise, holds again at once', async (t) => {
  const always = reportWith({ sloViolatedSecond: null, sloHoldsAgainSecond: null })
  t.equal(figuresOf(always, 'spike').sloHoldsAgainSecond, 0)
  const before = reportWith({ sloViolatedSecond: 5, sloHoldsAgainSecond: 15 })
  t.equal(figuresOf(before, 'spike').sloHoldsAgainSecond, 0)
})

t.test('what did not happen has no second', async (t) => {
  const report = reportWith({
    firstDecisionSecond: null,
    firstNewPodReadySecond: null,
    sloViolatedSecond: 65,
    sloHoldsAgainSecond: null,
  })
  t.match(figuresOf(report, 'climb'), {
    sloHoldsAgainSecond: null,
    firstDecisionSecond: null,
    firstNewPodReadySecond: null,
  })
})

t.test('a report without an autoscaler is refused', async (t) => {
  t.throws(() => figuresOf(reportWith(null), 'spike'), { message: 'the load test saw no autoscaler' })
})

t.test('a spread is the median, and the range if the values differ', async (t) => {
  t.equal(formatSpread([30, 10, 20], ' s'), '20 s (10 to 30)')
  t.equal(formatSpread([10, 15], ' s'), '12.5 s (10 to 15)')
  t.equal(formatSpread([3, 3, 3], ''), '3')
  t.equal(formatSpread([41.26], ' s'), '41.3 s')
  t.equal(formatSpread([], ' s'), 'none')
})

t.test('what never happened is later than everything else', async (t) => {
  t.equal(formatSpread([null, 20, 10], ' s'), '20 s (10 to never)')
  t.equal(formatSpread([null, 20], ' s'), 'never (20 to never)')
  t.equal(formatSpread([null, null], ' s'), 'never')
})

const figures: Figures = {
  sloHoldsAgainSecond: 40,
  failedRequests: 0,
  droppedRequests: 2,
  p50Ms: 14.2,
  p99Ms: 812.4,
  firstDecisionSecond: 18.3,
  firstNewPodReadySecond: 30,
  mostReplicas: 7,
  overshootReplicas: 1,
  podSeconds: 1_480,
}

t.test('the table has a row for each load and signal', async (t) => {
  const outcomes: Outcome[] = [
    { load: 'spike', signal: 'cpu', run: 1, report: 'spike-cpu-1.json', figures },
    { load: 'spike', signal: 'elu', run: 1, failure: 'no metrics; install them' },
    {
      load: 'spike',
      signal: 'cpu',
      run: 2,
      report: 'spike-cpu-2.json',
      figures: { ...figures, sloHoldsAgainSecond: 60 },
    },
  ]
  const lines = formatComparison({ startedAt: '', setting: DEFAULT_SETTING, outcomes }).split('\n')
  t.equal(
    lines[0],
    '| load | signal | runs | SLO holds again | failed | dropped | p50 | p99 | first decision | first new pod ready | most replicas | overshoot | pod-seconds |',
  )
  t.equal(
    lines[2],
    '| spike | cpu | 2 | 50 s (40 to 60) | 0 | 2 | 14.2 ms | 812 ms | 18.3 s | 30 s | 7 | 1 | 1,480 |',
  )
  t.match(lines[3], /^\| spike \| elu \| 0 \| none \|/)
  t.match(lines[5], 'CPU limit 220m; targets: elu 9 %, requests 7/s.')
  t.equal(lines[7], '- spike, elu, run 1 failed: no metrics; install them')
  const columns = lines.slice(0, 4).map((line) => line.split('|').length)
  t.equal(new Set(columns).size, 1, 'all rows have the same columns')
})
