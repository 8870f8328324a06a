import t from 'tap'
import { LOADS } from './load.ts'

t.test('scaling ramps up from a low rate, holds the peak and ramps down', async (t) => {
  const { scenario, seconds, requests } = LOADS.scaling({})
  t.match(scenario, {
    executor: 'ramping-arrival-rate',
    startRate: 5,
    stages: [
      { duration: '15s', target: 5 },
      { duration: '60s', target: 40 },
      { duration: '90s', target: 40 },
      { duration: '15s', target: 0 },
    ],
  })
  t.equal(seconds, 180)
  t.equal(requests, 15 * 5 + 60 * 22.5 + 90 * 40 + 15 * 20)
})

t.test('scaling is configured with environment variables', async (t) => {
  const { scenario, seconds } = LOADS.scaling({ PEAK_RATE: '200', RAMP: '2m', HOLD: '10s' })
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

t.test('steady sends more than 5,000 requests by default', async (t) => {
  t.match(LOADS.steady({}), { scenario: { rate: 60, duration: '90s' }, seconds: 90, requests: 5400 })
  t.match(LOADS.steady({ RATE: '10', DURATION: '3s' }), {
    scenario: { rate: 10, duration: '3s' },
    requests: 30,
  })
  t.match(LOADS.steady({ RATE: '', DURATION: '' }), { requests: 5400 }, 'an empty variable counts as unset')
})

t.test('an invalid rate or duration is refused with the name of the variable', async (t) => {
  for (const value of ['0', '-1', '1.5', 'fast', '100000']) {
    t.throws(
      () => LOADS.steady({ RATE: value }),
      new RangeError(`RATE is "${value}": use whole requests per second, 1 to 99999`),
    )
  }
  for (const value of ['90', '0s', '1h', '1.5m', 's']) {
    t.throws(() => LOADS.scaling({ HOLD: value }), { name: 'RangeError', message: `HOLD is "${value}"` })
  }
})
