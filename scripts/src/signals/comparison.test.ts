import { ActionableError } from 'shared/errors'
import t from 'tap'
import { compareSignals, type Steps } from './comparison.ts'
import { planRounds } from './plan.ts'
import type { Figures, Outcome } from './results.ts'

const figures: Figures = {
  sloHoldsAgainSecond: 40,
  failedRequests: 0,
  droppedRequests: 0,
  p50Ms: 15,
  p99Ms: 800,
  firstDecisionSecond: 18,
  firstNewPodReadySecond: 30,
  mostReplicas: 7,
  overshootReplicas: 0,
  podSeconds: 1_480,
}

/** Steps that only record that they were called, unless a test replaces them. */
function fakeComparison(changes: Partial<Steps> = {}) {
  const done: string[] = []
  const lines: string[] = []
  const outcomes: Outcome[] = []
  const stop = new AbortController()
  const steps: Steps = {
    prepare: async (signal) => {
      done.push(`prepare ${signal}`)
    },
    measure: async ({ load, signal, run }) => {
      done.push(`measure ${load} ${signal} ${run}`)
      return { report: `${load}-${signal}-${run}.json`, figures }
    },
    restore: async () => {
      done.push('restore')
    },
    ...changes,
  }
  const compare = () =>
    compareSignals(planRounds(['cpu', 'elu'], ['spike'], 2), steps, {
      stop: stop.signal,
      print: (line) => lines.push(line),
      report: (outcome) => outcomes.push(outcome),
    })
  return { compare, stop, done, lines, outcomes }
}

const failure = new ActionableError('the autoscaler has no value of cpu', 'look at it')

t.test('each round deploys its signal, then measures it; the release is restored at the end', async (t) => {
  const { compare, done, outcomes } = fakeComparison()
  await compare()
  t.strictSame(done, [
    ...['prepare cpu', 'measure spike cpu 1', 'prepare elu', 'measure spike elu 1'],
    ...['prepare cpu', 'measure spike cpu 2', 'prepare elu', 'measure spike elu 2'],
    'restore',
  ])
  t.match(outcomes[3], { load: 'spike', signal: 'elu', run: 2, report: 'spike-elu-2.json', figures })
})

t.test('progress names the round, the time left and the main figures', async (t) => {
  const { compare, lines } = fakeComparison()
  await compare()
  t.match(lines[0], /^\[1\/4\] spike, cpu, run 1; about 21 min left$/)
  t.equal(lines[1], '  first decision after 18 s, SLO holds again after 40 s, 7 replicas')
  t.match(lines[2], /^\[2\/4\] spike, elu, run 1; about \d+ min left$/)
})

t.test('what did not happen is reported as never', async (t) => {
  const late = { ...figures, firstDecisionSecond: null, sloHoldsAgainSecond: null }
  const { compare, lines } = fakeComparison({ measure: async () => ({ report: 'a.json', figures: late }) })
  await compare()
  t.equal(lines[1], '  first decision never, SLO holds again never, 7 replicas')
})

t.test('a failed round is reported, and the rest goes on', async (t) => {
  const { compare, done, lines, outcomes } = fakeComparison({
    prepare: async (signal) => {
      if (signal === 'cpu') throw failure
    },
  })
  await compare()
  t.strictSame(done, ['measure spike elu 1', 'measure spike elu 2', 'restore'])
  t.match(outcomes[0], { signal: 'cpu', failure: 'the autoscaler has no value of cpu; look at it' })
  t.equal(lines[1], '  failed: the autoscaler has no value of cpu; look at it')
})

t.test('an interruption during the load drops the round and restores the release', async (t) => {
  const { compare, stop, done, outcomes } = fakeComparison({
    measure: async () => {
      stop.abort()
      return { report: 'half.json', figures }
    },
  })
  await compare()
  t.strictSame(done, ['prepare cpu', 'restore'])
  t.strictSame(outcomes, [])
})

t.test('an interruption during a deployment starts no load', async (t) => {
  const { compare, stop, done, outcomes } = fakeComparison({ prepare: async () => stop.abort() })
  await compare()
  t.strictSame(done, ['restore'])
  t.strictSame(outcomes, [])
})

t.test('a step that fails because it was interrupted is no failed round', async (t) => {
  const { compare, stop, outcomes } = fakeComparison({
    measure: async () => {
      stop.abort()
      throw failure
    },
  })
  await compare()
  t.strictSame(outcomes, [])
})

t.test('a bug ends the comparison, but the release is restored', async (t) => {
  const { compare, done } = fakeComparison({ prepare: () => Promise.reject(new TypeError('a bug')) })
  await t.rejects(compare(), new TypeError('a bug'))
  t.strictSame(done, ['restore'])
})

t.test('a release that cannot be restored is an error after the outcomes were reported', async (t) => {
  const { compare, outcomes } = fakeComparison({ restore: () => Promise.reject(failure) })
  await t.rejects(compare(), failure)
  t.equal(outcomes.length, 4)
})
