import { createHash } from 'node:crypto'
import { parseHTML } from 'linkedom'
import t from 'tap'
import { compareRuns } from './compare.ts'
import { renderComparison, renderRun } from './html-report.ts'
import type { RunReport } from './run-report.ts'
import { sampleRun, withoutColumns, withScaling } from './sample-runs.ts'

/** A rendered page, as far as a test reads it. */
interface Page {
  html: string
  /** Text of all elements that match. */
  texts: (selector: string) => string[]
  /** Values of an attribute of all elements that match. */
  attributes: (selector: string, name: string) => string[]
}

function parse(html: string): Page {
  const { document } = parseHTML(html)
  const all = (selector: string) => [...document.querySelectorAll(selector)]
  return {
    html,
    texts: (selector) => all(selector).map((element) => element.textContent ?? ''),
    attributes: (selector, name) => all(selector).map((element) => element.getAttribute(name) ?? ''),
  }
}

function render(run: RunReport): Page {
  return parse(renderRun(run, 'sample'))
}

function renderCompared(...runs: [RunReport, RunReport, ...RunReport[]]): Page {
  const [a, b, ...others] = runs.map((run, index) => ({ name: `run-${index}`, run }))
  if (a === undefined || b === undefined) throw new Error('a comparison has two runs')
  return parse(renderComparison(compareRuns([a, b, ...others])))
}

/** Data that the page embeds. */
function embedded(page: Page, id: string) {
  return JSON.parse(page.texts(`script#${id}`)[0] ?? '')
}

const charts = 'svg[role=img]'

t.test('the page of a run has verdicts, figures, charts, events, failures and data', async (t) => {
  const run = sampleRun()
  const page = render(run)
  t.strictSame(page.texts('.verdict'), ['✗ 2 of 5 SLOs missed'])
  t.match(page.texts('#slos + .scroll tbody tr')[0], /^p952,031 ms≤ 500 ms\s+✗ missed$/)
  t.match(page.texts('.figures div'), ['requests32,099', 'highest rate161/s', 'failed requests9'])
  t.strictSame(page.texts('figcaption h3'), [
    ...['Events', 'Requests per second', 'Latency ms', 'Replicas pods', 'Nodes nodes'],
    ...["CPU % of the pods' request", 'Event-loop utilisation %'],
  ])
  t.ok(page.texts('td').includes('autoscaler wants 4 replicas, was 2'))
  t.match(page.texts('#failures ~ .scroll caption'), ['Failed requests by cause', 'Failed checks'])
  t.match(page.texts('#generator ~ p')[0], 'It dropped 0 iterations. It used 14 % of its CPU time.')
  t.equal(page.texts('.data tbody tr').length, run.series.second.length)
  t.strictSame(embedded(page, 'runs'), [run])
})

t.test('each chart has a text alternative and the same time axis', async (t) => {
  const page = render(sampleRun())
  const labels = page.attributes(charts, 'aria-label')
  t.match(labels[0], /^Events on the time axis, \d+ in all/)
  t.match(labels[2], /^Latency in ms, from 0:00 to 8:21\. p99: /)
  t.match(labels[2], /\. SLO: p99 at most 3,000 ms\. .*\. SLO missed from 1:10 to 1:35$/)
  t.match(labels[2], /p95: \d+ to 3,410, the most at 1:25/)
  t.equal(labels.length, 7)
  const lines = embedded(page, 'chart-data').lines
  t.equal(lines['failed-0'].values[16], 1.8, 'failed requests per second')
})

t.test('only the style sheet and the program of the page may run', async (t) => {
  const page = render(sampleRun())
  const policy = page.attributes('meta[http-equiv=Content-Security-Policy]', 'content')[0] ?? ''
  t.match(policy, /^default-src 'none'; /)
  const hash = (text = '') => createHash('sha256').update(text).digest('base64')
  t.match(policy, `style-src 'sha256-${hash(page.texts('style')[0])}'`)
  t.match(policy, `script-src 'sha256-${hash(page.texts('script').at(-1))}'`)
  t.equal(page.texts('style').length, 1)
  t.strictSame(page.attributes('[style]', 'style'), [])
  t.notMatch(page.html, /\b(?:src|href)="(?!#)/)
})

t.test('HTML in a run is text', async (t) => {
  const hostile = `</script><b title='x' class="y">&`
  const run = sampleRun()
  const page = render({
    ...run,
    profile: hostile,
    description: hostile,
    summary: { ...run.summary, failures: { [hostile]: 1 }, checksFailed: { [hostile]: 1 } },
    events: [{ second: 1, kind: 'problem', text: hostile }],
  })
  t.equal(page.texts('b.y').length, 0)
  t.equal(page.texts('script').length, 3)
  t.equal(page.texts('h1')[0], `Load test ${hostile}`)
  t.equal(embedded(page, 'runs')[0].profile, hostile)
  t.equal(embedded(page, 'chart-data').events[0].text, hostile)
})

t.test('a run without a cluster has no charts and figures of scaling', async (t) => {
  const page = render({
    ...withoutColumns(sampleRun(), [
      ...(['replicasWanted', 'replicasReady', 'podsPending', 'nodes', 'karpenterNodes'] as const),
      ...(['cpuPercent', 'eventLoopUtilization'] as const),
    ]),
    scaling: null,
    events: [],
  })
  t.strictSame(page.texts('figcaption h3'), ['Requests per second', 'Latency ms'])
  t.match(
    page.texts('p').join('\n'),
    'Not measured in this run: Replicas, Nodes, CPU, Event-loop utilisation.',
  )
  t.match(page.texts('.facts').join(''), 'no cluster watched')
  t.strictSame(page.texts('#figures ~ h3'), ['Requests'])
  t.strictSame(page.texts('#events'), [])
  t.match(page.texts('.data td').join(), '–')
})

t.test('the verdict of the whole run', async (t) => {
  const run = sampleRun()
  const overall = (changes: Partial<RunReport>) => render({ ...run, ...changes }).texts('.verdict')[0]
  t.equal(render(sampleRun('sample-event-loop')).texts('.verdict')[0], '✓ All 5 SLOs met')
  t.equal(overall({ interrupted: true, verdicts: [] }), 'Interrupted: no verdict')
  t.equal(overall({ verdicts: [] }), 'No SLO was checked')
})

t.test('the shade ends with the load if the SLO does not hold again', async (t) => {
  t.match(
    render(withScaling({ sloHoldsAgainSecond: null })).attributes(charts, 'aria-label')[1],
    'SLO missed from 1:10 to 4:30',
  )
  const never = render(withScaling({ sloViolatedSecond: null, sloHoldsAgainSecond: null }))
  t.notMatch(never.attributes(charts, 'aria-label')[1], 'SLO missed')
  t.notMatch(never.html, 'shaded')
})

t.test('a generator that may have limited the load is reported', async (t) => {
  const run = sampleRun()
  const text = (cpuShare: number | null, droppedIterations: number) =>
    render({ ...run, generator: { cpuShare }, summary: { ...run.summary, droppedIterations } }).texts(
      '#generator ~ p',
    )[0]
  t.match(text(0.2, 0), 'did not limit')
  t.match(text(0.9, 0), 'may have limited')
  t.match(text(0.2, 4), 'may have limited')
  t.match(text(null, 0), 'Its CPU time was not measured.')
  t.notMatch(text(null, 0), 'limit')
})

t.test('a run without failures has no table of them', async (t) => {
  const page = render(sampleRun('sample-event-loop'))
  t.strictSame(page.texts('#failures ~ .scroll'), [])
  t.match(page.texts('#failures ~ p')[0], '0 of 32,120 requests failed. No check failed.')
})

t.test('charts have the bounds that belong to them', async (t) => {
  const labels = (run: RunReport) => render(run).texts('.bound-label text')
  t.strictSame(labels(sampleRun('sample-event-loop')), [
    ...['SLO: p99 at most 3,000 ms', 'SLO: p95 at most 500 ms'],
    ...["autoscaler's target 70 %", "autoscaler's target 60 %"],
  ])
  const percent = { targets: [{ metric: 'event-loop', target: 55, unit: '%' }] }
  const { autoscaler } = sampleRun().scaling ?? {}
  if (autoscaler === undefined) throw new Error('the sample has an autoscaler')
  t.match(labels(withScaling({ autoscaler: { ...autoscaler, ...percent } })), /target 55 %/)
  const recovery = {
    name: 'p95 within 250 ms again',
    value: 20,
    comparison: '<=',
    bound: 30,
    unit: 's',
    met: true,
  } as const
  const other = { ...recovery, name: 'p95 within bounds' }
  t.strictSame(labels({ ...sampleRun(), verdicts: [recovery, other] }).slice(0, 1), [
    'SLO: p95 at most 250 ms',
  ])
})

t.test('runs of any length have few labels on the time axis', async (t) => {
  const run = sampleRun()
  for (const seconds of [1, 600, 21_600, 400_000]) {
    const { second } = run.series
    const last = second.length - 1
    const stretched = second.map((_, index) => (index / last) * seconds)
    const page = render({
      ...run,
      seconds,
      loadSeconds: seconds,
      series: { ...run.series, second: stretched },
    })
    const labels = page.texts('svg:first-of-type text').filter((text) => /:\d\d$/.test(text))
    t.ok(labels.length / page.texts(charts).length <= 13, labels.join(' '))
    t.notMatch(page.html, 'NaN')
  }
})

t.test('a run without any row can be rendered', async (t) => {
  const run = sampleRun()
  const empty = Object.fromEntries(Object.keys(run.series).map((column) => [column, []]))
  const page = render({
    ...run,
    interrupted: true,
    seconds: 0,
    series: { ...run.series, ...empty, stepSeconds: 5 },
  })
  t.strictSame(page.texts('figcaption h3'), ['Events'])
})

t.test('a comparison has marked differences, tables and charts with a line for each run', async (t) => {
  const page = renderCompared(sampleRun(), sampleRun('sample-event-loop'))
  t.match(page.texts('#marked + ul li').join('\n'), /▲ better SLO p95: missed: 2,031 ms/)
  t.strictSame(page.texts('#compared ~ .scroll caption'), [
    ...['What the runs should have in common', 'Measured values against the SLOs', 'Key figures'],
  ])
  t.ok(page.texts('tr.marked th').includes('p95'))
  t.notOk(page.texts('tr.marked th').includes('requests'))
  t.strictSame(page.texts('figcaption h3').length, 9)
  t.match(page.texts('.legend li')[1], /^B: run-1/)
  // The targets for event-loop utilisation differ.
  t.strictSame(page.texts('.bound-label text'), [
    ...['SLO: p95 at most 500 ms', 'SLO: p99 at most 3,000 ms', "autoscaler's target 70 %"],
  ])
  t.equal(embedded(page, 'runs').length, 2)
  t.equal(page.attributes('[data-download]', 'data-download')[1], 'run-1.json')
})

t.test('a comparison of equal runs marks nothing', async (t) => {
  const page = renderCompared(sampleRun(), sampleRun(), sampleRun())
  t.match(page.texts('#marked ~ p')[0], 'None.')
  t.strictSame(page.texts('tr.marked'), [])
})

t.test('a comparison draws what some runs measured', async (t) => {
  const page = renderCompared(
    withoutColumns({ ...sampleRun(), verdicts: [] }, ['eventLoopUtilization', 'nodes']),
    withoutColumns({ ...sampleRun(), verdicts: [] }, ['nodes']),
  )
  const titles = page.texts('figcaption h3')
  t.notOk(titles.includes('Nodes nodes'))
  t.ok(titles.includes('Event-loop utilisation %'))
})
