import t from 'tap'
import { day, TRAFFIC } from './curve.ts'

t.test('the day begins at its peak and has 24 hours', async (t) => {
  t.equal(TRAFFIC.length, 24)
  const hours = day(1000)
  t.strictSame(hours[0], { hour: 12, pods: 1000 })
  t.strictSame(
    hours.map(({ hour }) => hour).toSorted((a, b) => a - b),
    TRAFFIC.map((_, hour) => hour),
  )
  t.strictSame(hours.at(-1), { hour: 11, pods: 960 })
  t.strictSame(
    hours.find(({ hour }) => hour === 4),
    { hour: 4, pods: 230 },
  )
})

t.test('every hour has pods, also with the smallest peak', async (t) => {
  t.ok(day(1).every(({ pods }) => pods === 1))
})
