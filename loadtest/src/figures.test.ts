import t from 'tap'
import { FIGURES, type Figure, formatFigure, formatMoment, formatQuantity, largest } from './figures.ts'
import { sampleRun, withScaling } from './sample-runs.ts'

function figure(name: string): Figure {
  return FIGURES.find((known) => known.name === name) as Figure
}

t.test('figures have units, separators and as many digits as matter', async (t) => {
  const run = sampleRun()
  t.equal(formatFigure(figure('requests'), run), '32,099')
  t.equal(formatFigure(figure('highest rate'), run), '161/s')
  t.equal(formatFigure(figure('p50'), run), '10.4 ms')
  t.equal(formatFigure(figure('p95'), run), '2,031 ms')
  t.equal(formatFigure(figure('failed checks'), run), '9')
  t.equal(formatFigure(figure('CPU share of the generator'), run), '14 %')
  t.equal(formatFigure(figure('first decision'), run), '77 s')
  t.equal(formatFigure(figure('price of the nodes'), run), '0.0081 USD')
  t.equal(formatFigure(figure('price per hour at the peak'), run), '0.0772 USD')
  t.equal(formatQuantity(0.5, { digits: 1, unit: '/s' }), '0.5/s')
})

t.test('the time outside the SLO ends with the load if the SLO does not hold again', async (t) => {
  const outside = figure('time outside the SLO')
  t.equal(formatFigure(outside, sampleRun()), '25 s')
  t.equal(formatFigure(outside, withScaling({ sloHoldsAgainSecond: null })), '200 s')
  t.equal(formatFigure(outside, withScaling({ sloViolatedSecond: null, sloHoldsAgainSecond: null })), '0 s')
})

t.test('a missing figure says why it is missing', async (t) => {
  const missing = (name: string, run = sampleRun()) => formatFigure(figure(name), run)
  t.equal(missing('p99', { ...sampleRun(), scaling: null }), '4,284 ms')
  t.equal(missing('first decision', { ...sampleRun(), scaling: null }), 'no cluster watched')
  t.equal(missing('first decision', withScaling({ firstDecisionSecond: null })), 'never scaled up')
  t.equal(missing('overshoot', withScaling({ overshootReplicas: null })), 'not measured')
  t.equal(missing('price of the nodes', withScaling({ price: null })), 'unknown node type')
  t.equal(missing('price per hour at the peak', withScaling({ price: null })), 'unknown node type')
  const never = withScaling({ sloViolatedSecond: null, sloHoldsAgainSecond: null })
  t.equal(missing('SLO holds again', never), 'always held')
  t.equal(missing('SLO first missed', never), 'never')
  t.equal(missing('SLO holds again', withScaling({ sloHoldsAgainSecond: null })), 'not before the load ended')
  t.equal(
    missing('CPU share of the generator', { ...sampleRun(), generator: { cpuShare: null } }),
    'not measured',
  )
})

t.test('moments have minutes, and hours when needed', async (t) => {
  t.equal(formatMoment(0), '0:00')
  t.equal(formatMoment(83.4), '1:23')
  t.equal(formatMoment(3723), '1:02:03')
})

t.test('the largest value ignores what was not measured', async (t) => {
  t.equal(largest([null, 1, 3, null, 2]), 3)
  t.equal(largest([null]), null)
  t.equal(largest([-2, -1]), -1)
})
