import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { SLO } from '../../../loadtest/src/slo.ts'
import {
  type AlertCase,
  CLUSTER_CASES,
  CLUSTER_QUIET,
  type QuietCase,
  SERVICE_CASES,
  SERVICE_QUIET,
  STEP_SECONDS,
  type Values,
} from './alert-cases.ts'
import { runPromtool } from './promtool.ts'
import { ALL_ALERTS, type RuleGroups, renderRules } from './write-monitoring.ts'

const RUNBOOKS = join(REPOSITORY_ROOT, 'docs', 'runbooks')

/** The rules and their cases of each chart. */
const CHARTS = {
  'helm/fastify-app': { overrides: ALL_ALERTS, cases: SERVICE_CASES, quiet: SERVICE_QUIET },
  'infrastructure-hcl/platform/releases/charts/cluster-monitoring': {
    overrides: {},
    cases: CLUSTER_CASES,
    quiet: CLUSTER_QUIET,
  },
} as const

type Chart = keyof typeof CHARTS

function alertsOf({ groups }: RuleGroups) {
  return groups.flatMap(({ rules }) => rules.filter(({ alert }) => alert !== undefined))
}

/** The name of an alert, with its window if it has one. */
const nameOf = ({ alert, window }: { alert?: string | undefined; window?: string | undefined }) =>
  window === undefined ? String(alert) : `${alert} ${window}`

const charts = Object.keys(CHARTS) as Chart[]

/** The rendered rules of each chart. */
const rendered = new Map<Chart, RuleGroups>()
for (const chart of charts) {
  rendered.set(chart, await renderRules(process.env, join(REPOSITORY_ROOT, chart), CHARTS[chart].overrides))
}

const rulesOf = (chart: Chart): RuleGroups => rendered.get(chart) ?? { groups: [] }

t.test('every alert has a case, and every case an alert', async (t) => {
  for (const chart of charts) {
    const alerts = alertsOf(rulesOf(chart))
    const rules = alerts.map(({ alert, labels }) => nameOf({ alert, window: labels?.['window'] }))
    t.strictSame(CHARTS[chart].cases.map(nameOf).sort(), rules.sort(), chart)
    const unknown = CHARTS[chart].quiet.filter(({ alert }) => !alerts.some((rule) => rule.alert === alert))
    t.strictSame(unknown, [], chart)
  }
})

/** A test in the format of promtool. `expected` is the number of alerts that fire at each time. */
function promtoolTest(
  name: string,
  { alert, window }: Pick<AlertCase, 'alert' | 'window'>,
  series: Readonly<Record<string, Values>>,
  expected: readonly (readonly [minute: number, firing: number])[],
) {
  const labels = [`alertname="${alert}"`, 'alertstate="firing"']
  if (window !== undefined) labels.push(`window="${window}"`)
  const expr = `count(ALERTS{${labels.join(', ')}})`
  return {
    name,
    interval: `${STEP_SECONDS}s`,
    input_series: Object.entries(series).map(([metric, { text }]) => ({ series: metric, values: text })),
    promql_expr_test: expected.map(([minute, firing]) => ({
      expr,
      // The last sample of a phase is one step before its end.
      eval_time: `${minute * 60 - STEP_SECONDS}s`,
      exp_samples: firing === 0 ? [] : [{ labels: '{}', value: firing }],
    })),
  }
}

const faultTest = (fault: AlertCase) =>
  promtoolTest(nameOf(fault), fault, fault.series, [
    [fault.quietAt, 0],
    [fault.firesAt, 1],
    [fault.recoveredAt, 0],
  ])

function quietTest({ alert, why, series }: QuietCase) {
  const end = Math.max(...Object.values(series).map(({ minutes }) => minutes))
  // One evaluation in five minutes finds every alert that fires for longer.
  const times = Array.from({ length: Math.floor(end / 5) }, (_, index) => (index + 1) * 5)
  return promtoolTest(
    `${alert}: ${why}`,
    { alert },
    series,
    times.map((minute) => [minute, 0] as const),
  )
}

/** The rules that one test needs: the recorded rates and its alert. The others would only cost time. */
function only({ groups }: RuleGroups, { alert, window }: { alert: string; window?: string }): RuleGroups {
  const isNeeded = (rule: RuleGroups['groups'][number]['rules'][number]) =>
    rule.alert === undefined ||
    (rule.alert === alert && (window === undefined || rule.labels?.['window'] === window))
  return { groups: groups.map((group) => ({ ...group, rules: group.rules.filter(isNeeded) })) }
}

interface UnitTest {
  rules: RuleGroups
  test: ReturnType<typeof promtoolTest>
}

/** Runs promtool's unit tests and returns the output of those that fail, by their names. */
async function failures(t: Test, tests: readonly UnitTest[]): Promise<Record<string, string>> {
  const directory = t.testdir()
  const files = tests.map(({ rules, test }, index) => {
    const ruleFile = `rules-${index}.json`
    writeFileSync(join(directory, ruleFile), JSON.stringify(rules))
    const file = join(directory, `test-${index}.json`)
    const content = { rule_files: [ruleFile], evaluation_interval: `${STEP_SECONDS}s`, tests: [test] }
    writeFileSync(file, JSON.stringify(content))
    return file
  })
  const { output } = await runPromtool(['test', 'rules', ...files])
  const results = output.split('Unit Testing:').slice(1)
  if (results.length !== tests.length) throw new Error(`promtool did not run all tests: ${output}`)
  return Object.fromEntries(
    results.flatMap((result, index) =>
      result.includes('SUCCESS') ? [] : [[tests[index]?.test.name ?? '', result.trim()]],
    ),
  )
}

for (const chart of charts) {
  const { cases, quiet } = CHARTS[chart]

  t.test(`${chart}: promtool accepts the rules`, async (t) => {
    const file = join(t.testdir({ 'rules.json': JSON.stringify(rulesOf(chart)) }), 'rules.json')
    const { passed, output } = await runPromtool(['check', 'rules', file])
    t.ok(passed, output)
  })

  t.test(`${chart}: every alert is quiet, fires during its fault, and recovers`, async (t) => {
    const rules = rulesOf(chart)
    const tests = [
      ...cases.map((fault) => ({ rules: only(rules, fault), test: faultTest(fault) })),
      ...quiet.map((harmless) => ({ rules: only(rules, harmless), test: quietTest(harmless) })),
    ]
    t.strictSame(await failures(t, tests), {})
  })

  t.test(`${chart}: the cases notice alerts that always or never fire`, async (t) => {
    const alerts = alertsOf(rulesOf(chart))
    for (const expr of ['vector(1)', 'vector(1) > 1']) {
      const broken = { groups: [{ name: 'broken', rules: alerts.map((rule) => ({ ...rule, expr })) }] }
      // The objectives' cases last hours; one of them is enough.
      const short = cases.filter(({ window }) => window === undefined || window === '1h')
      const tests = short.map((fault) => ({ rules: only(broken, fault), test: faultTest(fault) }))
      t.strictSame(Object.keys(await failures(t, tests)).sort(), short.map(nameOf).sort(), expr)
    }
  })

  t.test(`${chart}: every alert says what is wrong and links to its runbook`, async (t) => {
    for (const { alert = '', labels, annotations } of alertsOf(rulesOf(chart))) {
      t.match(labels?.['severity'], /^(critical|warning)$/, alert)
      t.ok(annotations?.['summary'] && annotations['description'], alert)
      t.match(annotations?.['runbook_url'], new RegExp(`^https://.*/docs/runbooks/${alert}\\.md$`), alert)
      const page = join(RUNBOOKS, `${alert}.md`)
      if (!t.ok(existsSync(page), `${alert} has a runbook`)) continue
      const text = readFileSync(page, 'utf8')
      for (const heading of [`# ${alert}`, '## Meaning', '## Impact', '## Diagnosis', '## Mitigation']) {
        t.ok(text.split('\n').includes(heading), `${alert}: ${heading}`)
      }
    }
  })
}

t.test('the alerts and the load test have the same objectives', async (t) => {
  const file = join(REPOSITORY_ROOT, 'helm', 'fastify-app', 'values.yaml')
  const { prometheusRule } = parse(readFileSync(file, 'utf8')) as {
    prometheusRule: { availabilityPercent: number; p95Milliseconds: number }
  }
  t.equal(prometheusRule.availabilityPercent, 100 * (1 - SLO.scaling.errorRate))
  t.equal(prometheusRule.p95Milliseconds, SLO.scaling.p95Ms)
})
