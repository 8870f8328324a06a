import t from 'tap'
import { type Inventory, ScalingFigures } from './scaling.ts'

const start = 1_800_000_000_000
const at = (second: number) => start + second * 1_000
const autoscaler = { deployment: 'app', minReplicas: 2, maxReplicas: 10, targets: [] }
const windows = { violatedSecond: 10, holdsAgainSecond: 40, violatedInARow: 0, carriedRate: 5 }
const times = { start, peakEnd: at(60), loadEnd: at(70), end: at(100) }

function inventory(wanted: number, ready: number, others: Partial<Inventory> = {}): Inventory {
  return { wanted, ready, pods: wanted, nodes: 2, usdPerHour: 0.036, ...others }
}

t.test('it has the times, the overshoot and the price of a run that scales up and down', async (t) => {
  const figures = new ScalingFigures()
  figures.newPodReady(at(-5))
  figures.change(at(-3), inventory(2, 2))
  figures.begin(start)
  figures.begin(at(1))
  figures.change(at(20), inventory(6, 2, { nodes: 3, usdPerHour: 0.072 }))
  figures.change(at(25), inventory(6, 6, { nodes: 3, usdPerHour: 0.072 }))
  figures.newPodReady(at(24.5))
  figures.newPodReady(at(25))
  figures.change(at(50), inventory(5, 5))
  figures.change(at(65), inventory(2, 5))
  figures.change(at(80), inventory(2, 2))
  figures.change(at(90), inventory(2, 2))
  t.same(figures.report(autoscaler, times, windows), {
    autoscaler,
    replicas: { from: 2, max: 6, end: 2 },
    firstDecisionSecond: 20,
    firstNewPodReadySecond: 24.5,
    sloViolatedSecond: 10,
    sloHoldsAgainSecond: 40,
    overshootReplicas: 1,
    backSecond: 80,
    podSeconds: 2 * 20 + 6 * 30 + 5 * 15 + 2 * 35,
    nodeSeconds: 2 * 100 + 30,
    price: { usd: 0.0013, perHourAtPeak: 0.072 },
  })
})

t.test('a release that never scales has no such times', async (t) => {
  const figures = new ScalingFigures()
  figures.begin(start)
  figures.change(at(0.2), inventory(2, 2))
  t.match(figures.report(autoscaler, times, windows), {
    replicas: { from: 2, max: 2, end: 2 },
    firstDecisionSecond: null,
    firstNewPodReadySecond: null,
    overshootReplicas: 0,
    backSecond: null,
    podSeconds: 200,
  })
})

t.test('a release that is back before the load ends is back when it ends', async (t) => {
  const figures = new ScalingFigures()
  figures.change(at(-1), inventory(2, 2))
  figures.begin(start)
  figures.change(at(10), inventory(4, 4))
  figures.change(at(50), inventory(2, 2))
  t.match(figures.report(autoscaler, times, windows), { backSecond: 70 })
})

t.test('a node without a known price makes the price unknown', async (t) => {
  const figures = new ScalingFigures()
  figures.change(at(-1), inventory(2, 2))
  figures.begin(start)
  figures.change(at(10), inventory(2, 2, { usdPerHour: null }))
  figures.change(at(20), inventory(2, 2))
  t.match(figures.report(autoscaler, times, windows), { price: null })
})

t.test('without a cluster or a request there are no figures', async (t) => {
  t.equal(new ScalingFigures().report(autoscaler, times, windows), null)
  const figures = new ScalingFigures()
  figures.change(start, inventory(2, 2))
  t.equal(figures.report(autoscaler, times, windows), null)
})
