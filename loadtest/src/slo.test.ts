import t from 'tap'
import { evaluate, thresholds } from './slo.ts'

const slo = { p95Ms: 500, errorRate: 0.001, droppedIterations: 0, readyReplicas: 4 }
const good = { p95Ms: 500, errorRate: 0.001, droppedIterations: 0, readyReplicas: 4 }

const missed = (measured: Partial<Parameters<typeof evaluate>[1]>) =>
  evaluate(slo, { ...good, ...measured })
    .filter(({ met }) => !met)
    .map(({ name, value }) => [name, value])

t.test('bounds are inclusive', async (t) => {
  t.same(missed({}), [])
})

t.test('each bound is checked independently', async (t) => {
  t.same(missed({ p95Ms: 500.1 }), [['p95 in ms', 500.1]])
  t.same(missed({ errorRate: 0.0011 }), [['error rate', 0.0011]])
  t.same(missed({ droppedIterations: 1 }), [['dropped iterations', 1]])
  t.same(missed({ readyReplicas: 3 }), [['ready replicas', 3]])
})

t.test('a missing measurement meets no bound', async (t) => {
  t.same(missed({ p95Ms: null, errorRate: null }), [
    ['p95 in ms', null],
    ['error rate', null],
  ])
})

t.test('replicas count only if a cluster was watched and the SLO has a bound for them', async (t) => {
  t.equal(evaluate(slo, { ...good, readyReplicas: null }).length, 3)
  const { readyReplicas: _, ...withoutReplicas } = slo
  t.equal(evaluate(withoutReplicas, { ...good, readyReplicas: 1 }).length, 3)
})

t.test('k6 thresholds name the scenario and the bounds', async (t) => {
  t.same(thresholds('scaling'), {
    'iteration_duration{scenario:scaling}': ['p(95)<=300'],
    'http_req_failed{scenario:scaling}': ['rate<=0.001'],
    'dropped_iterations{scenario:scaling}': ['count<=0'],
  })
})
