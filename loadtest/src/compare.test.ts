import t from 'tap'
import { compareRuns, describeAutoscaler, formatComparison, listMarked } from './compare.ts'
import type { RunReport } from './run-report.ts'
import { sampleRun, withScaling } from './sample-runs.ts'

/** The marked differences of two runs. */
function marked(a: RunReport, b: RunReport): string[] {
  return listMarked(
    compareRuns([
      { name: 'a', run: a },
      { name: 'b', run: b },
    ]),
  ).map(({ effect, text }) => `${effect}: ${text}`)
}

function withSummary(changes: Partial<RunReport['summary']>): RunReport {
  const run = sampleRun()
  return { ...run, summary: { ...run.summary, ...changes } }
}

t.test('a run equals itself', async (t) => {
  t.strictSame(marked(sampleRun(), sampleRun()), [])
})

t.test('a change matters above 10 % and from the floor of the figure', async (t) => {
  t.strictSame(marked(withSummary({ p95Ms: 100 }), withSummary({ p95Ms: 111 })), [
    'worse: p95: 100 ms → 111 ms; +11 ms (+11 %)',
  ])
  t.strictSame(marked(withSummary({ p95Ms: 100 }), withSummary({ p95Ms: 110 })), [], 'exactly 10 %')
  t.strictSame(marked(withSummary({ p95Ms: 10 }), withSummary({ p95Ms: 19 })), [], 'below the floor')
  t.strictSame(marked(withSummary({ failed: 0 }), withSummary({ failed: 1 })), [
    'worse: failed requests: 0 → 1; +1',
  ])
  t.strictSame(marked(withSummary({ requests: 100 }), withSummary({ requests: 80 })), [
    'different: requests: 100 → 80; −20 (−20 %)',
  ])
})

t.test('for a moment, only the floor counts', async (t) => {
  t.strictSame(marked(withScaling({ backSecond: 500 }), withScaling({ backSecond: 485 })), [
    'better: back at the first number of replicas: 500 s → 485 s; −15 s',
  ])
  t.strictSame(marked(withScaling({ firstDecisionSecond: 10 }), withScaling({ firstDecisionSecond: 14 })), [])
})

t.test('a later first violation of the SLO is better', async (t) => {
  t.match(marked(sampleRun(), withScaling({ sloViolatedSecond: 80 })), [
    'better: SLO first missed: 70 s → 80 s; +10 s',
    'better: time outside the SLO: 25 s → 15 s; −10 s (−40 %)',
  ])
})

t.test('a value that only one run has matters', async (t) => {
  t.strictSame(marked(sampleRun(), withScaling({ backSecond: null })), [
    'different: back at the first number of replicas: 490 s → not during the recording; one run only',
  ])
  t.match(marked(withScaling({ backSecond: null }), sampleRun()), [
    'different: back at the first number of replicas: not during the recording → 490 s; one run only',
  ])
})

t.test('a changed verdict matters, however close the values are', async (t) => {
  const run = sampleRun()
  const [p95, ...others] = run.verdicts
  if (p95 === undefined) throw new Error('the sample has verdicts')
  const met = { ...run, verdicts: [{ ...p95, value: 500, met: true }, ...others] }
  const missed = { ...run, verdicts: [{ ...p95, value: 501, met: false }, ...others] }
  const unchecked = { ...run, verdicts: others }
  t.strictSame(marked(missed, met), [
    'better: SLO p95: missed: 501 ms, bound ≤ 500 ms → met: 500 ms, bound ≤ 500 ms; met now',
  ])
  t.strictSame(marked(met, missed), [
    'worse: SLO p95: met: 500 ms, bound ≤ 500 ms → missed: 501 ms, bound ≤ 500 ms; missed now',
  ])
  t.strictSame(marked(met, unchecked), [
    'different: SLO p95: met: 500 ms, bound ≤ 500 ms → not checked; one run only',
  ])
  t.match(marked(unchecked, met), [/^different: SLO p95: not checked → met/])
  t.match(marked(met, { ...run, verdicts: [{ ...p95, value: null, met: false }, ...others] }), [
    /missed: nothing measured, bound/,
  ])
})

t.test('conditions that are not the same are listed', async (t) => {
  const run = sampleRun()
  t.match(marked(run, { ...run, environment: 'dev', interrupted: true }), [
    'different: environment: local → dev; not the same',
    'different: complete: yes → interrupted; not the same',
  ])
  t.equal(describeAutoscaler({ ...run, scaling: null }), 'no cluster watched')
})

t.test('the Markdown has a table for each part, with the marked differences in bold', async (t) => {
  const text = formatComparison(
    compareRuns([
      { name: 'a', run: sampleRun() },
      { name: 'b', run: sampleRun('sample-event-loop') },
    ]),
  )
  const lines = text.split('\n')
  t.ok(lines.includes('- A: `a`, spike, 2026-01-02T03:04:05.000Z'))
  t.ok(lines.includes('| SLO | A | B | B against A |'))
  t.ok(lines.includes('| --- | ---: | ---: | --- |'))
  t.ok(lines.includes('| p95 | 2,031 ms | 379 ms | **better**: −1,652 ms (−81 %) |'))
  t.ok(lines.includes('| requests | 32,099 | 32,120 | +21 (+0 %) |'))
  t.match(text, '| not the same | A | B |')
})

t.test('several runs are each compared with the first', async (t) => {
  const run = sampleRun()
  const comparison = compareRuns([
    { name: 'a', run },
    { name: 'b', run },
    { name: 'c', run: withSummary({ failed: 20 }) },
  ])
  t.strictSame(listMarked(comparison), [
    { effect: 'worse', text: 'failed requests of C: 9 → 20; +11 (+122 %)' },
  ])
  const text = formatComparison(comparison)
  t.match(text, '| figure | A | B | C | B against A | C against A |')
  t.notMatch(text, 'not the same |')
})

t.test('text of a run cannot break the Markdown', async (t) => {
  const run = { ...sampleRun(), baseUrl: 'http://a|b\n<img>' }
  t.match(
    formatComparison(
      compareRuns([
        { name: 'a', run: sampleRun() },
        { name: 'b', run },
      ]),
    ),
    '| http://a\\|b &lt;img> |',
  )
})
