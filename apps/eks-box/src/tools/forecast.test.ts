import { TOOLS } from 'shared/tools'
import t from 'tap'
import { Forecast, formatLeft } from './forecast.ts'

const { kubernetes, helm, aws } = TOOLS

t.test('at the start, the forecast is the measured seconds', async (t) => {
  t.equal(new Forecast(['kubernetes', 'helm'], 2).secondsLeft(0), kubernetes.coldSeconds + helm.coldSeconds)
})

t.test('more processors shorten the build, up to a limit', async (t) => {
  const left = (processors: number) => new Forecast(['kubernetes'], processors).secondsLeft(0)
  t.equal(left(4), left(2) / 2)
  t.equal(left(1), left(2) * 2)
  t.equal(left(64), left(32), 'the linker and the largest packages keep one processor busy')
})

t.test('Go and pip work at the same time, so the longer one counts', async (t) => {
  t.equal(new Forecast(['kubernetes', 'aws'], 2).secondsLeft(0), kubernetes.coldSeconds)
  t.equal(new Forecast(['aws'], 2).secondsLeft(0), aws.coldSeconds)
})

t.test('a machine at half the speed takes twice the measured seconds', async (t) => {
  const forecast = new Forecast(['kubernetes', 'helm'], 2)
  forecast.update('kubernetes', 0, 0)
  const half = kubernetes.coldSeconds * 1000
  forecast.update('kubernetes', 0.5, half)
  const first = forecast.secondsLeft(half)
  const rest = kubernetes.coldSeconds / 2 + helm.coldSeconds
  t.ok(first > 1.5 * rest && first < 2 * rest, `${first} s, of measured ${rest} s`)
  forecast.update('kubernetes', 1, 2 * half)
  forecast.update('helm', 0, 2 * half)
  const second = forecast.secondsLeft(2 * half)
  t.ok(second > 1.7 * helm.coldSeconds && second < 2 * helm.coldSeconds, 'and is surer the more it has seen')
})

t.test('packages that Go has already compiled shorten the rest', async (t) => {
  const forecast = new Forecast(['kubernetes', 'helm'], 2)
  forecast.update('kubernetes', 0, 0)
  forecast.update('kubernetes', 1, 5000)
  t.ok(forecast.secondsLeft(5000) < helm.coldSeconds / 2)
})

t.test('the pace of a finished lane does not change', async (t) => {
  const forecast = new Forecast(['aws', 'helm'], 2)
  forecast.update('aws', 0, 0)
  forecast.update('aws', 1, 1000)
  forecast.update('helm', 1, 1000)
  t.equal(forecast.secondsLeft(900_000), 0)
})

t.test('the remaining time is rounded to its precision', async (t) => {
  t.equal(formatLeft(3), 'a few seconds left')
  t.equal(formatLeft(44), 'about 40 s left')
  t.equal(formatLeft(89), 'about 90 s left')
  t.equal(formatLeft(400), 'about 7 min left')
})
