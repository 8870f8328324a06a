import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { PROFILES, SIZES } from './profiles.ts'
import { evaluate, type ProfileName, SERVICE_SLO, SLO, thresholds } from './slo.ts'

const slo = { p95Ms: 500, errorRate: 0.001, droppedIterations: 0, failedChecks: 0, readyReplicas: 4 }
const good = {
  p95Ms: 500,
  errorRate: 0.001,
  droppedIterations: 0,
  failedChecks: 0,
  readyReplicas: 4,
  recoverySeconds: 0,
  carriedRate: 60,
}

const missed = (measured: Partial<typeof good>) =>
  evaluate(slo, { ...good, ...measured })
    .filter(({ met }) => !met)
    .map(({ name, value }) => [name, value])

t.test('the alerts of the chart have the same objectives', async (t) => {
  const values = readFileSync(join(REPOSITORY_ROOT, 'helm/fastify-app/values.yaml'), 'utf8')
  const value = (name: string) => Number(new RegExp(`^ +${name}: ([0-9.]+)$`, 'm').exec(values)?.[1])
  t.equal(value('availabilityPercent'), 100 * (1 - SERVICE_SLO.errorRate))
  t.equal(value('p95Milliseconds'), SERVICE_SLO.p95Ms)
})

t.test('bounds are inclusive', async (t) => {
  t.same(missed({}), [])
})

t.test('each bound is checked independently', async (t) => {
  t.same(missed({ p95Ms: 500.1 }), [['p95', 500.1]])
  t.same(missed({ errorRate: 0.0011 }), [['error rate', 0.0011]])
  t.same(missed({ droppedIterations: 1 }), [['dropped iterations', 1]])
  t.same(missed({ failedChecks: 1 }), [['failed checks', 1]])
  t.same(missed({ readyReplicas: 3 }), [['ready replicas', 3]])
})

t.test('a missing measurement meets no bound', async (t) => {
  const nothing = { ...good, p95Ms: null, errorRate: null }
  t.match(evaluate(slo, nothing), [
    { name: 'p95', value: null, met: false },
    { name: 'error rate', value: null, met: false },
  ])
})

t.test('replicas count only if a cluster was watched and the SLO has a bound for them', async (t) => {
  t.equal(evaluate(slo, { ...good, readyReplicas: null }).length, 4)
  const { readyReplicas: _, ...withoutReplicas } = slo
  t.equal(evaluate(withoutReplicas, { ...good, readyReplicas: 1 }).length, 4)
})

t.test('a spike is judged by the time until the bounds hold again', async (t) => {
  const recovering = { ...slo, recoverySeconds: 60 }
  const first = (recoverySeconds: number | null) =>
    evaluate(recovering, { ...good, p95Ms: 900, recoverySeconds })[0]
  t.match(first(60), { name: 'p95 within 500 ms again', value: 60, bound: 60, unit: 's', met: true })
  t.match(first(65), { met: false })
  t.match(first(null), { met: false })
})

t.test('a breakpoint is judged by the rate before the bounds were exceeded', async (t) => {
  const broken = { ...good, p95Ms: 9_000, errorRate: 0.5, droppedIterations: 100 }
  t.match(evaluate(slo, broken, 60), [
    { name: 'rate before the SLO was missed', value: 60, comparison: '>=', unit: 'req/s', met: true },
    { name: 'failed checks', met: true },
  ])
  t.match(evaluate(slo, { ...broken, carriedRate: null }, 60), [{ met: false }, { met: true }])
})

t.test('every profile has an SLO', async (t) => {
  t.same(Object.keys(SLO), Object.keys(PROFILES))
  for (const profile of Object.keys(SLO)) {
    const { requiredRate } = PROFILES[profile as ProfileName](SIZES.local, {})
    t.equal(requiredRate !== undefined, profile === 'breakpoint')
  }
})

t.test('k6 thresholds name the profile and the bounds', async (t) => {
  t.same(thresholds('scaling'), {
    'iteration_duration{scenario:scaling}': ['p(95)<=300'],
    'http_req_failed{scenario:scaling}': ['rate<=0.001'],
    'dropped_iterations{scenario:scaling}': ['count<=0'],
    'checks{scenario:scaling}': ['rate>=1'],
  })
  t.notOk('iteration_duration{scenario:spike}' in thresholds('spike'))
})
