import t from 'tap'
import {
  formatAutoscaler,
  formatHeading,
  formatMarkdown,
  formatRow,
  formatSummary,
  sparkline,
} from './report.ts'
import type { RunReport } from './run-report.ts'
import type { Row } from './timeline.ts'

const autoscaler = {
  deployment: 'app',
  minReplicas: 2,
  maxReplicas: 10,
  targets: [{ metric: 'cpu', target: 70, unit: '%' }],
}
const sample = {
  wanted: 4,
  ready: 2,
  podsPending: 2,
  nodes: 2,
  karpenterNodes: 0,
  cpuPercent: 121,
  problem: null,
}
const row: Row = { second: 25, rate: 19.6, p95Ms: 84.4, failed: 0, sample }
const nothing = [null, null, null]
const report: RunReport = {
  version: 1,
  profile: 'scaling',
  description: 'Rises to 40 requests/s of 8 ms CPU in 60 s and holds them for 90 s.',
  environment: 'local',
  baseUrl: 'http://127.0.0.1:8080',
  startedAt: '2026-01-02T03:04:05.000Z',
  loadSeconds: 180,
  seconds: 230,
  interrupted: false,
  verdicts: [
    { name: 'p95', value: 84.44444, comparison: '<=', bound: 300, unit: 'ms', met: true },
    { name: 'ready replicas', value: null, comparison: '>=', bound: 4, unit: '', met: false },
  ],
  summary: {
    requests: 5325,
    failed: 3,
    failures: { 'HTTP 503': 2, 'request timeout': 1 },
    errorRate: 3 / 5325,
    droppedIterations: 0,
    p50Ms: 12,
    p95Ms: 84.4,
    p99Ms: 150.2,
    maxMs: 412,
    checksFailed: { 'read: status 200': 7 },
  },
  generator: { cpuShare: 0.124 },
  scaling: {
    autoscaler,
    replicas: { from: 2, max: 4, end: 2 },
    firstDecisionSecond: 24,
    firstNewPodReadySecond: 26.5,
    sloViolatedSecond: 30,
    sloHoldsAgainSecond: 45,
    overshootReplicas: 1,
    backSecond: 230,
    podSeconds: 700,
    nodeSeconds: 460,
    price: { usd: 0.0028, perHourAtPeak: 0.0432 },
  },
  series: {
    stepSeconds: 5,
    second: [5, 10, 15],
    rate: [5, 10, 0],
    failed: [0, 0, 3],
    dropped: [0, 0, 0],
    p50Ms: nothing,
    p95Ms: [80, null, 40],
    p99Ms: nothing,
    replicasWanted: nothing,
    replicasReady: [2, 4, 4],
    podsPending: nothing,
    nodes: nothing,
    karpenterNodes: nothing,
    cpuPercent: nothing,
    eventLoopUtilization: nothing,
  },
  events: [{ second: 24, kind: 'scale', text: 'the autoscaler wants 4 | 5 replicas' }],
}

t.test('rows line up with the heading', async (t) => {
  t.equal(formatHeading(), '    time   req/s  p95 ms  failed     CPU desired   ready')
  t.equal(formatRow(row, autoscaler), '     25s    19.6      84       0 121/70%       4       2')
  const unknown = { ...sample, wanted: null, ready: null, cpuPercent: null, problem: 'no answer' }
  t.equal(
    formatRow({ ...row, p95Ms: null, sample: unknown }, null),
    '     25s    19.6       -       0       -       -       -  no answer',
  )
  t.equal(
    formatRow({ ...row, sample: null }, null),
    '     25s    19.6      84       0       -       -       -',
  )
  t.match(formatRow(row, { ...autoscaler, targets: [] }), '121/-%')
})

t.test('the summary has traffic, replicas, charts and verdicts', async (t) => {
  t.same(formatSummary(report), [
    '5325 requests, 3 failed, 0 dropped; p50 12, p95 84, p99 150, max 412 ms',
    'failed 2 times: HTTP 503',
    'failed 1 times: request timeout',
    'wrong 7 times: read: status 200',
    'replicas 2 -> 4',
    'first scale-up decision after 24 s',
    'first new pod ready after 26.5 s',
    'p95 or failures over the bounds from 30 s',
    'within the bounds again from 45 s',
    'back at 2 replicas after 230 s',
    'overshoot: 1 replicas',
    '700 pod-seconds, 460 node-seconds: 0.0028 USD, 0.0432 USD/h at the peak',
    "k6 used 12 % of this machine's CPU time",
    '',
    'req/s ▅█▁',
    'p95   █ ▅',
    'ready ▅██',
    '',
    'SLO met    p95: 84.4444 ms (bound <= 300 ms)',
    'SLO MISSED ready replicas: nothing measured (bound >= 4)',
  ])
})

t.test('an interrupted run that never scaled has no verdict and no times', async (t) => {
  const { scaling } = report
  const lines = formatSummary({
    ...report,
    interrupted: true,
    verdicts: [],
    generator: { cpuShare: null },
    summary: { ...report.summary, failures: {}, checksFailed: {} },
    scaling: scaling && {
      ...scaling,
      firstDecisionSecond: null,
      firstNewPodReadySecond: null,
      sloViolatedSecond: null,
      sloHoldsAgainSecond: null,
      overshootReplicas: 0,
      backSecond: null,
      price: null,
    },
  })
  t.same(lines.slice(1, 3), ['replicas 2 -> 4', '700 pod-seconds, 460 node-seconds'])
  t.equal(lines.at(-1), 'interrupted: no verdict')
})

t.test('the Markdown report contains verdicts, summary and events', async (t) => {
  const text = formatMarkdown(report)
  t.match(text, '# Load test scaling, 2026-01-02T03:04:05.000Z: SLO missed\n')
  t.match(
    text,
    'for 90 s. Target http://127.0.0.1:8080 (local); Deployment app, 2 to 10 replicas at 70 % CPU\n',
  )
  t.match(text, '| p95 | 84.4444 ms | <= 300 ms | met |\n')
  t.match(text, '| ready replicas | nothing measured | >= 4 | **missed** |\n')
  t.match(text, 'first scale-up decision after 24 s\n')
  t.match(text, '| 24 | the autoscaler wants 4 \\| 5 replicas |\n')
  t.notMatch(text, 'SLO met    p95')
  const bare = formatMarkdown({ ...report, scaling: null, events: [], verdicts: [] })
  t.match(bare, ': SLO met\n')
  t.match(bare, 'Target http://127.0.0.1:8080 (local)\n')
  t.notMatch(bare, '| second | event |')
  t.match(formatMarkdown({ ...report, interrupted: true, verdicts: [] }), ': interrupted\n')
})

t.test('targets have their units', async (t) => {
  const targets = [
    { metric: 'requests_per_second', target: 20, unit: '' },
    { metric: 'memory', target: 80, unit: '%' },
  ]
  t.equal(
    formatAutoscaler({ ...autoscaler, targets }),
    'Deployment app, 2 to 10 replicas at 20 requests_per_second, 80 % memory',
  )
  t.equal(formatAutoscaler({ ...autoscaler, targets: [] }), 'Deployment app, 2 to 10 replicas')
})

t.test('a chart of a long run keeps its peaks', async (t) => {
  const long = Array.from({ length: 720 }, (_, index) => (index === 300 ? 80 : 10))
  const rate = [...long.slice(0, 700), ...Array.from({ length: 20 }, () => null)]
  const lines = formatSummary({ ...report, series: { ...report.series, rate } })
  const chart = lines.find((line) => line.startsWith('req/s')) ?? ''
  t.equal(chart.length, 'req/s '.length + 72)
  t.match(chart, /^req\/s ▂{30}█▂{39} {2}$/)
})

t.test('a sparkline scales from zero to the largest value', async (t) => {
  t.equal(sparkline([0, 1, 7]), '▁▂█')
  t.equal(sparkline([null, 5]), ' █')
  t.equal(sparkline([0, 0]), '▁▁')
})
