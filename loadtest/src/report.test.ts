import t from 'tap'
import { formatHeading, formatMarkdown, formatRow, formatSummary, type Report, sparkline } from './report.ts'
import type { Row } from './timeline.ts'

const autoscaler = { deployment: 'app', minReplicas: 2, maxReplicas: 10, targetPercent: 70 }
const row: Row = {
  second: 25,
  rate: 19.6,
  p95Ms: 84.4,
  failed: 0,
  cpuPercent: 121,
  desired: 4,
  ready: 2,
  problem: null,
}
const report: Report = {
  scenario: 'scaling',
  baseUrl: 'http://127.0.0.1:8080',
  startedAt: '2026-01-02T03:04:05.000Z',
  autoscaler,
  interrupted: false,
  summary: {
    requests: 5325,
    failed: 3,
    failures: { 'HTTP 503': 2, 'request timeout': 1 },
    errorRate: 3 / 5325,
    droppedIterations: 0,
    p95Ms: 84.4,
    maxMs: 412,
    replicas: { from: 2, max: 4, firstScaleUpSecond: 24, readySeconds: { 3: 26, 4: 40 }, backSecond: 230 },
  },
  verdicts: [
    { name: 'p95 in ms', value: 84.4444, comparison: '<=', bound: 500, met: true },
    { name: 'ready replicas', value: null, comparison: '>=', bound: 4, met: false },
  ],
  timeline: [row, { ...row, second: 230, rate: 0, p95Ms: null, desired: 2, ready: 2 }],
}

t.test('rows line up with the heading', async (t) => {
  t.equal(formatHeading(), '    time   req/s  p95 ms  failed     CPU desired   ready')
  t.equal(formatRow(row, autoscaler), '     25s    19.6      84       0 121/70%       4       2')
  const unknown = { ...row, p95Ms: null, cpuPercent: null, desired: null, ready: null, problem: 'no answer' }
  t.equal(formatRow(unknown, null), '     25s    19.6       -       0       -       -       -  no answer')
  t.match(formatRow(row, { ...autoscaler, targetPercent: null }), '121/-%')
})

t.test('the summary has traffic, replicas, charts and verdicts', async (t) => {
  t.same(formatSummary(report), [
    '5325 requests, 3 failed, 0 dropped; p95 84 ms, max 412 ms',
    'failed 2 times: HTTP 503',
    'failed 1 times: request timeout',
    'replicas 2 -> 4',
    'first scale-up decision after 24 s',
    'ready: 3 after 26 s, 4 after 40 s',
    'back at 2 replicas after 230 s',
    '',
    'req/s █▁',
    'p95   █ ',
    'ready ██',
    '',
    'SLO met    p95 in ms: 84.4444 (bound <= 500)',
    'SLO MISSED ready replicas: nothing measured (bound >= 4)',
  ])
})

t.test('an interrupted run that never scaled has no verdict and no times', async (t) => {
  const lines = formatSummary({
    ...report,
    interrupted: true,
    verdicts: [],
    summary: {
      ...report.summary,
      failures: {},
      replicas: { from: 2, max: 2, firstScaleUpSecond: null, readySeconds: {}, backSecond: null },
    },
  })
  t.same(lines.slice(1, 2), ['replicas 2 -> 2'])
  t.equal(lines.at(-1), 'interrupted: no verdict')
})

t.test('the Markdown report contains summary and timeline', async (t) => {
  const text = formatMarkdown(report)
  t.match(text, '# Load test scaling, 2026-01-02T03:04:05.000Z')
  t.match(text, 'Target http://127.0.0.1:8080; Deployment app, 2 to 10 replicas at 70 % CPU')
  t.match(text, formatRow(row, autoscaler))
  t.match(formatMarkdown({ ...report, autoscaler: null }), 'Target http://127.0.0.1:8080\n')
  t.match(
    formatMarkdown({ ...report, autoscaler: { ...autoscaler, targetPercent: null } }),
    '2 to 10 replicas\n',
  )
})

t.test('a sparkline scales from zero to the largest value', async (t) => {
  t.equal(sparkline([0, 1, 7]), '▁▂█')
  t.equal(sparkline([null, 5]), ' █')
  t.equal(sparkline([0, 0]), '▁▁')
})
