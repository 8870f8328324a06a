import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROFILES, SIZES } from 'loadtest/profiles'
import t from 'tap'
import { parse } from 'yaml'
import { CHART } from '../deploy/release.ts'
import { CPU_PERCENT, DEFAULT_SETTING, LOADS, planRounds, RemainingTime, releaseValues } from './plan.ts'

t.test('every signal runs once before any of them repeats', async (t) => {
  const rounds = planRounds(['cpu', 'elu'], ['spike', 'climb'], 2)
  t.strictSame(
    rounds.map(({ run, load, signal }) => `${run} ${load} ${signal}`),
    [
      ...['1 spike cpu', '1 spike elu', '1 climb cpu', '1 climb elu'],
      ...['2 spike cpu', '2 spike elu', '2 climb cpu', '2 climb elu'],
    ],
  )
})

t.test('a signal sets its own targets and disables the others', async (t) => {
  const targets = (signal: Parameters<typeof releaseValues>[0]) => {
    const { autoscaling } = releaseValues(signal, { ...DEFAULT_SETTING, eluPercent: 8 })
    const { targetCPUUtilizationPercentage, targetEventLoopUtilizationPercentage, targetRequestsPerSecond } =
      autoscaling
    return [targetCPUUtilizationPercentage, targetEventLoopUtilizationPercentage, targetRequestsPerSecond]
  }
  t.strictSame(targets('cpu'), [70, 0, 0])
  t.strictSame(targets('elu'), [0, 8, 0])
  t.strictSame(targets('requests'), [0, 0, 7])
  t.strictSame(targets('cpu+elu'), [70, 8, 0])
  t.strictSame(targets('cpu+requests'), [70, 0, 7])
})

t.test('the values are known to the chart, and cpu has its default target', async (t) => {
  const chart = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'))
  const values = releaseValues('cpu', DEFAULT_SETTING)
  t.equal(chart.autoscaling.targetCPUUtilizationPercentage, CPU_PERCENT)
  for (const name of Object.keys(values.autoscaling)) t.ok(name in chart.autoscaling, name)
  for (const name of Object.keys(values.autoscaling.behavior.scaleDown)) {
    t.ok(name in chart.autoscaling.behavior.scaleDown, name)
  }
  t.ok('podAnnotations' in chart)
})

t.test('the loads rise at the second from which the figures count', async (t) => {
  const spike = PROFILES.spike(SIZES.local, LOADS.spike.variables)
  t.match(spike, { traffic: 'work', moments: [{ second: LOADS.spike.risesAt }] })
  const { stages } = PROFILES.scaling(SIZES.local, LOADS.climb.variables).scenario as {
    stages: { duration: string }[]
  }
  t.equal(stages[0]?.duration, `${LOADS.climb.risesAt}s`)
  const ramp = PROFILES.ramp(SIZES.local, LOADS.ramp.variables).scenario as { stages: { duration: string }[] }
  t.equal(ramp.stages[0]?.duration, `${LOADS.ramp.risesAt}s`)
})

t.test('the remaining time follows from the loads, and then from the rounds that have ended', async (t) => {
  const rounds = planRounds(['cpu', 'elu'], ['spike'], 1)
  const remaining = new RemainingTime()
  t.equal(remaining.minutes(rounds), Math.ceil((2 * (240 + 75)) / 60))
  remaining.add('spike', 300)
  remaining.add('spike', 420)
  t.equal(remaining.minutes(rounds), 12)
})
