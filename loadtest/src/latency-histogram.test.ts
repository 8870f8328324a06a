import t from 'tap'
import { LatencyHistogram } from './latency-histogram.ts'

t.test('an empty histogram has no percentile', async (t) => {
  const histogram = new LatencyHistogram()
  t.equal(histogram.percentile(0.95), null)
  t.equal(histogram.maxMs, null)
})

t.test('percentiles are within 1 % of the exact ones, and the maximum is exact', async (t) => {
  const histogram = new LatencyHistogram()
  for (let ms = 1; ms <= 10_000; ms++) histogram.add(ms)
  for (const share of [0.01, 0.5, 0.95, 0.99, 1]) {
    const error = (histogram.percentile(share) ?? 0) / (share * 10_000) - 1
    t.ok(Math.abs(error) < 0.01, `${share}: ${error}`)
  }
  t.equal(histogram.maxMs, 10_000)
  const one = new LatencyHistogram()
  one.add(7)
  t.equal(one.percentile(0.5), 7, 'no percentile is above the maximum')
  one.add(0)
  t.ok((one.percentile(0.5) ?? 1) < 0.01)
})

t.test('merged histograms count like one', async (t) => {
  const [odd, even, all] = [new LatencyHistogram(), new LatencyHistogram(), new LatencyHistogram()]
  for (let ms = 1; ms <= 500; ms++) {
    all.add(ms)
    const half = ms % 2 === 0 ? even : odd
    half.add(ms)
  }
  odd.merge(even)
  odd.merge(new LatencyHistogram())
  for (const share of [0.1, 0.5, 0.99]) t.equal(odd.percentile(share), all.percentile(share))
  t.equal(odd.maxMs, 500)
})
