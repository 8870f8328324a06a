import t from 'tap'
import { PROFILES, SIZES } from './profiles.ts'

const { local, prod } = SIZES

t.test('scaling ramps up from a low rate, holds the peak and ramps down', async (t) => {
  const load = PROFILES.scaling(local, {})
  t.match(load.scenario, {
    executor: 'ramping-arrival-rate',
    startRate: 5,
    stages: [
      { duration: '15s', target: 5 },
      { duration: '60s', target: 40 },
      { duration: '90s', target: 40 },
      { duration: '15s', target: 0 },
    ],
  })
  t.equal(load.seconds, 180)
  t.equal(load.peakEnds, 165)
  t.equal(load.requests, 15 * 5 + 60 * 22.5 + 90 * 40 + 15 * 20)
  t.same(load.moments, [
    { second: 75, text: 'the load reaches 40 requests/s' },
    { second: 165, text: 'the load falls' },
  ])
})

t.test('loads that rise are configured with environment variables', async (t) => {
  const { scenario, seconds } = PROFILES.scaling(local, { PEAK_RATE: '200', RAMP: '2m', HOLD: '10s' })
  t.match(scenario, {
    startRate: 25,
    stages: [
      { duration: '30s', target: 25 },
      { duration: '120s', target: 200 },
      { duration: '10s', target: 200 },
      { duration: '30s', target: 0 },
    ],
    preAllocatedVUs: 800,
  })
  t.equal(seconds, 190)
})

t.test('a spike is a step to four times the ordinary rate, and back', async (t) => {
  const load = PROFILES.spike(local, {})
  t.match(load.scenario, {
    startRate: 20,
    stages: [
      { duration: '60s', target: 20 },
      { duration: '0s', target: 80 },
      { duration: '120s', target: 80 },
      { duration: '0s', target: 20 },
      { duration: '60s', target: 20 },
    ],
  })
  t.match(load, {
    seconds: 240,
    requests: 60 * 20 + 120 * 80 + 60 * 20,
    peakEnds: 180,
    moments: [{ second: 60 }, { second: 180 }],
  })
})

t.test('a spike can consist of CPU work', async (t) => {
  t.match(PROFILES.spike(local, { TRAFFIC: 'work', PEAK_RATE: '40' }), {
    traffic: 'work',
    description: 'Jumps from 10 to 40 requests/s of 8 ms CPU for 120 s.',
    scenario: { startRate: 10 },
  })
  t.match(PROFILES.spike(local, { TRAFFIC: 'mix' }), { traffic: 'mix' })
  t.match(PROFILES.spike(local, { TRAFFIC: '' }), { traffic: 'mix' }, 'an empty variable counts as unset')
  t.throws(
    () => PROFILES.spike(local, { TRAFFIC: 'root' }),
    new RangeError('TRAFFIC is "root": use mix or work'),
  )
})

t.test('a ramp rises to a quarter of its peak in 20 s and to the peak in another 120 s', async (t) => {
  const load = PROFILES.ramp(local, { TRAFFIC: 'work', PEAK_RATE: '80' })
  t.match(load, {
    traffic: 'work',
    description: 'Rises from 1 to 80 requests/s of 8 ms CPU in 140 s and holds them for 40 s.',
    scenario: {
      startRate: 1,
      stages: [
        { duration: '30s', target: 1 },
        { duration: '20s', target: 20 },
        { duration: '120s', target: 80 },
        { duration: '40s', target: 80 },
      ],
    },
    seconds: 210,
    peakEnds: 210,
    moments: [{ second: 170, text: 'the load reaches 80 requests/s' }],
  })
  t.match(PROFILES.ramp(prod, { RAMP: '70s', HOLD: '5s' }), {
    traffic: 'mix',
    description: 'Rises from 3 to 200 requests/s in 70 s and holds them for 5 s.',
    seconds: 105,
  })
})

t.test('sizes follow the environment', async (t) => {
  t.equal(PROFILES.average(local, {}).description, 'Rises to 20 requests/s in 30 s and holds them for 240 s.')
  t.equal(PROFILES.average(prod, {}).description, 'Rises to 50 requests/s in 30 s and holds them for 240 s.')
  t.match(PROFILES.stress(prod, {}).scenario, { preAllocatedVUs: 800 })
  t.match(PROFILES.soak(prod, {}), { seconds: 6 * 3_600, scenario: { rate: 50 } })
  t.match(PROFILES.smoke(prod, {}), { seconds: 30, scenario: { rate: 2 } })
})

t.test('breakpoint rises to the limit and requires the peak rate, unless the limit is lower', async (t) => {
  t.match(PROFILES.breakpoint(local, {}), {
    requiredRate: 60,
    peakEnds: 600,
    scenario: { startRate: 20, stages: [{ duration: '600s', target: 240 }] },
  })
  t.match(PROFILES.breakpoint(local, { PEAK_RATE: '10', RAMP: '5s' }), {
    requiredRate: 10,
    scenario: { startRate: 10 },
  })
})

t.test('steady sends more than 5,000 requests by default', async (t) => {
  t.match(PROFILES.steady(local, {}), {
    scenario: { rate: 60, duration: '90s' },
    seconds: 90,
    peakEnds: 90,
    requests: 5400,
  })
  t.match(PROFILES.steady(local, { RATE: '10', DURATION: '3s' }), {
    scenario: { rate: 10, duration: '3s' },
    requests: 30,
  })
  t.match(
    PROFILES.steady(local, { RATE: '', DURATION: '' }),
    { requests: 5400 },
    'an empty variable counts as unset',
  )
})

t.test('an invalid rate or duration is refused with the name of the variable', async (t) => {
  for (const value of ['0', '-1', '1.5', 'fast', '100000']) {
    t.throws(
      () => PROFILES.steady(local, { RATE: value }),
      new RangeError(`RATE is "${value}": use whole requests per second, 1 to 99999`),
    )
  }
  for (const value of ['90', '0s', '1h', '1.5m', 's']) {
    t.throws(() => PROFILES.scaling(local, { HOLD: value }), {
      name: 'RangeError',
      message: `HOLD is "${value}"`,
    })
  }
})
