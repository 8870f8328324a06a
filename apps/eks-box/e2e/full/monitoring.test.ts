/**
 * `make monitoring` in a box of its own: Prometheus reaches every target, the HPA scales by the adapter's metrics, the
 * report of a load test agrees with Prometheus, and every expression of the charts' alerts and dashboards returns data
 * after a load.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { kubeconfigPath } from 'shared/box'
import { programPath } from 'shared/tools'
import t from 'tap'
import { eventLoopExpression } from '../../../../loadtest/src/prometheus.ts'
import type { RunReport } from '../../../../loadtest/src/run-report.ts'
import { METRIC_SOURCES } from '../../../../scripts/src/monitoring/metric-sources.ts'
import type { KubernetesObject } from '../objects.ts'
import { eventually, operate, repository } from '../operator.ts'

const { environment, config, make, kubectl, list, killAndRecover } = await operate('e2e-monitoring', 25_300)
const results = t.testdir()
const prometheus = `http://127.0.0.1:${config.ports.prometheus}`
const service = `http://127.0.0.1:${config.ports.service}`
const inService = '--namespace=fastify-app'
/** The platform stack installs this chart on EKS. */
const clusterMonitoring = join(
  repository,
  ...['infrastructure-hcl', 'platform', 'releases', 'charts', 'cluster-monitoring'],
)

interface Sample {
  metric: Record<string, string>
  value: [time: number, value: string]
}

/** The result of an instant query; those of a scalar have no labels. */
async function query(expression: string, time?: number): Promise<Sample[]> {
  const parameters = new URLSearchParams({ query: expression, ...(time && { time: String(time) }) })
  const response = await fetch(`${prometheus}/api/v1/query?${parameters}`)
  const body = (await response.json()) as {
    error?: string
    data?: { resultType: string; result: Sample[] | Sample['value'] }
  }
  if (body.data === undefined) throw new Error(`${expression}: ${body.error}`)
  const { resultType, result } = body.data
  return resultType === 'scalar' ? [{ metric: {}, value: result as Sample['value'] }] : (result as Sample[])
}

interface Reading {
  /** Seconds since the start of the run. */
  second: number
  value: number
}

/** The values of an expression with one series, every `step` seconds until `end`. */
async function readings(
  expression: string,
  { start, end, step }: { start: number; end: number; step: number },
): Promise<Reading[]> {
  const parameters = new URLSearchParams({
    query: expression,
    start: String(start + step),
    end: String(start + end),
    step: String(step),
  })
  const response = await fetch(`${prometheus}/api/v1/query_range?${parameters}`)
  const { data } = (await response.json()) as { data: { result: { values: Sample['value'][] }[] } }
  return (data.result[0]?.values ?? []).map(([time, value]) => ({
    second: Math.round(time - start),
    value: Number(value),
  }))
}

/** Deploys the service with other values. */
async function deploy(values: object): Promise<void> {
  const file = join(results, 'values.json')
  writeFileSync(file, JSON.stringify(values))
  await make('deploy', { VALUES: file })
}

/** Sends requests to the service while `action` runs. */
async function underLoad<Result>(path: string, rate: number, action: () => Promise<Result>): Promise<Result> {
  const client = join(repository, 'apps', 'eks-box', 'e2e', 'steady-client.ts')
  const load = execa('node', [client, `${service}${path}`, String(rate), '8'], { stdin: 'pipe' })
  try {
    return await action()
  } finally {
    load.stdin.end()
    t.comment(`${path}: ${(await load).stdout}`)
  }
}

interface Autoscaler {
  status: {
    currentReplicas?: number
    desiredReplicas?: number
    currentMetrics?: {
      type: string
      pods?: { metric: { name: string }; current: { averageValue: string } }
    }[]
  }
}

async function autoscaler(): Promise<Autoscaler> {
  return JSON.parse(await kubectl('get', 'hpa', 'fastify-app', inService, '--output=json'))
}

/** The adapter's values of a metric by pod, and when it read them. */
async function customMetric(name: string): Promise<{ pod: string; value: number; time: number }[]> {
  const path = `/apis/custom.metrics.k8s.io/v1beta1/namespaces/fastify-app/pods/*/${name}`
  const { items } = JSON.parse(await kubectl('get', '--raw', path)) as {
    items: { describedObject: { name: string }; value: string; timestamp: string }[]
  }
  return items.map(({ describedObject, value, timestamp }) => ({
    pod: describedObject.name,
    value: value.endsWith('m') ? Number.parseInt(value, 10) / 1000 : Number(value),
    time: Date.parse(timestamp) / 1000,
  }))
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push', 'deploy']) await make(target)
await execa(programPath(config, 'helm'), [
  ...['install', 'cluster-monitoring', clusterMonitoring, '--namespace=monitoring', '--create-namespace'],
  ...['--kubeconfig', kubeconfigPath(config)],
])
await make('monitoring')

await t.test('a second `make monitoring` replaces no pod', async (t) => {
  const pods = async () =>
    (await list<KubernetesObject>('pods', '--namespace=monitoring')).map(({ metadata }) => metadata.name)
  const before = await pods()
  t.equal(before.length, 3)
  t.match(await make('monitoring'), `Prometheus is served at ${prometheus}`)
  t.strictSame(await pods(), before)
})

await t.test('Prometheus reaches every target', async (t) => {
  const nodes = (await list('nodes')).length
  /** How many targets each job has. */
  const wanted = {
    apiserver: 1,
    'aws-load-balancer-controller': 1,
    coredns: 2,
    'fastify-app': 2,
    karpenter: 1,
    'kube-prometheus-stack-prometheus': 1,
    'kube-state-metrics': 1,
    // The kubelet and cAdvisor of each node.
    kubelet: 2 * nodes,
  }
  const counts = await eventually('every target has been scraped', async () => {
    const samples = await query('up == 1').catch(() => [])
    const found: Record<string, number> = {}
    for (const { metric } of samples) {
      const job = metric['job'] ?? ''
      found[job] = (found[job] ?? 0) + 1
    }
    return Object.entries(wanted).every(([job, count]) => found[job] === count) ? found : undefined
  })
  t.strictSame(counts, wanted)
  t.strictSame(await query('up == 0'), [])
})

await t.test('the HPA scales by requests per second, and the adapter agrees with Prometheus', async (t) => {
  const target = { targetCPUUtilizationPercentage: 0, targetRequestsPerSecond: 10, maxReplicas: 6 }
  await deploy({ autoscaling: target })
  await underLoad('/api/v1/tasks', 60, async () => {
    const started = Date.now()
    const scaled = await eventually('the HPA wants more pods', async () => {
      const { status } = await autoscaler()
      return (status.desiredReplicas ?? 0) > 2 ? status : undefined
    })
    t.comment(`the HPA wants ${scaled.desiredReplicas} pods after ${(Date.now() - started) / 1000} s`)
    t.equal(scaled.currentMetrics?.[0]?.pods?.metric.name, 'http_requests_per_second')
    // Until the new pods have been scraped, too.
    await sleep(30_000)
    const metrics = await customMetric('http_requests_per_second')
    t.ok(metrics.length >= 2)
    for (const { pod, value, time } of metrics) {
      const expression = `sum by (namespace, pod) (irate(http_request_duration_seconds_count{namespace="fastify-app", pod="${pod}"}[20s]))`
      // The time is in whole seconds, and a scrape may have happened in the rest of the second.
      const samples = await Promise.all([query(expression, time), query(expression, time + 1)])
      const expected = samples.map(([sample]) => Number(sample?.value[1]))
      t.ok(
        expected.some((rate) => Math.abs(value - rate) <= 0.001),
        `${pod}: ${value}, Prometheus: ${expected.join(' or ')}`,
      )
    }
  })
})

await t.test('the HPA scales by event loop utilisation', async (t) => {
  const target = {
    targetCPUUtilizationPercentage: 0,
    targetEventLoopUtilizationPercentage: 20,
    maxReplicas: 6,
  }
  await deploy({ autoscaling: target })
  await eventually('without load, there are two pods again', async () => {
    const { status } = await autoscaler()
    return status.currentReplicas === 2 && status.desiredReplicas === 2 ? true : undefined
  })
  await underLoad('/api/v1/work?ms=20', 40, async () => {
    const started = Date.now()
    const scaled = await eventually('the HPA wants more pods', async () => {
      const { status } = await autoscaler()
      return (status.desiredReplicas ?? 0) > 2 ? status : undefined
    })
    t.comment(`the HPA wants ${scaled.desiredReplicas} pods after ${(Date.now() - started) / 1000} s`)
    const metric = scaled.currentMetrics?.[0]?.pods
    t.equal(metric?.metric.name, 'nodejs_eventloop_utilization')
    const values = await customMetric('nodejs_eventloop_utilization')
    for (const { pod, value } of values) t.ok(value >= 0 && value <= 1, `${pod}: ${value}`)
  })
})

/** How often Prometheus scrapes the service's pods, and kube-state-metrics. In seconds. */
const [podScrape, stateScrape] = [5, 30]

/** Columns of the report, and where Prometheus has the same. */
const stateColumns = [
  ['replicasReady', 'max(kube_deployment_status_replicas_ready{deployment="fastify-app"})'],
  [
    'replicasWanted',
    'max(kube_horizontalpodautoscaler_status_desired_replicas{horizontalpodautoscaler="fastify-app"})',
  ],
] as const

await t.test('the report of a load test agrees with Prometheus', async (t) => {
  // By CPU, which the profile `scaling` loads.
  await deploy({ autoscaling: { maxReplicas: 6 } })
  await eventually('Prometheus has the minimum of replicas', async () => {
    const found = await Promise.all(stateColumns.map(([, expression]) => query(expression)))
    return found.every(([sample]) => sample?.value[1] === '2') ? true : undefined
  })
  const file = join(results, 'run.json')
  const { all, exitCode } = await execa(
    'node',
    ['loadtest/src/run.ts', 'scaling', '--until-scaled-down', '--summary', file],
    { cwd: repository, env: { ...environment, RAMP: '30s', HOLD: '120s' }, all: true, reject: false },
  )
  t.comment(all)
  t.ok(exitCode === 0 || exitCode === 1, 'whether the SLO was met depends on the machine')
  const { startedAt, seconds, summary, series } = JSON.parse(readFileSync(file, 'utf8')) as RunReport
  const start = Date.parse(startedAt) / 1000
  const step = series.stepSeconds
  // Until Prometheus has scraped the state in which the run ended.
  await sleep((stateScrape + 2 * step) * 1000)

  // The counters at the last scrape of each pod, which was after its last request: a pod that the HPA removes has been
  // idle for longer than an interval. Their difference is exact; `increase` would extrapolate. The recorder probes the
  // route once, before the first request. A request that failed may not have reached a pod.
  const counter = 'http_request_duration_seconds_count{job="fastify-app", route="/api/v1/work"}'
  const now = Date.now() / 1000
  const before = new Map(
    (await query(`sum by (pod) (${counter})`, start)).map(({ metric, value }) => [metric['pod'], value[1]]),
  )
  const after = await query(`sum by (pod) (max_over_time(${counter}[${Math.ceil(now - start)}s]))`, now)
  const counted = after.reduce(
    (sum, { metric, value }) => sum + Number(value[1]) - Number(before.get(metric['pod']) ?? 0),
    0,
  )
  const { requests, failed } = summary
  t.ok(
    counted >= requests - failed && counted <= requests + 1,
    `${requests} requests, ${failed} failed; Prometheus: ${counted}`,
  )

  // A row has the state at its end, and Prometheus that of its last scrape, so it may be behind by an interval and a
  // step, and may have a value between those of two rows.
  for (const [column, expression] of stateColumns) {
    const recorded = series.second.map((second, row) => ({ second, value: Number(series[column][row]) }))
    const end = series.second.length * step + stateScrape
    const scraped = await readings(expression, { start, end, step })
    t.ok(new Set(recorded.map(({ value }) => value)).size > 1, `${column} changes`)
    t.equal(scraped.length, end / step, `${column}: Prometheus has no gap`)
    for (const { second, value } of scraped) {
      const values = recorded
        .filter((row) => row.second >= second - stateScrape - step && row.second <= second + step)
        .map((row) => row.value)
      t.ok(
        value >= Math.min(...values) && value <= Math.max(...values),
        `${column} until ${second} s: ${values}, Prometheus: ${value}`,
      )
    }
  }

  // The same expression, but later and not through the API server, so the values are equal except for rounding.
  // Prometheus notices up to three intervals later that a pod has ended, so the last rows can change after the run.
  const utilization = await readings(eventLoopExpression('fastify-app', 'fastify-app'), {
    ...{ start, step },
    end: Math.floor((seconds - 4 * podScrape) / step) * step,
  })
  t.ok(utilization.length > 0)
  for (const { second, value } of utilization) {
    const recorded = series.eventLoopUtilization[second / step - 1] ?? Number.NaN
    t.ok(Math.abs(recorded - value) <= 0.001, `${second} s: ${recorded}, Prometheus: ${value}`)
  }
  // CPU cannot be compared: the HPA's value is from the metrics server, covers its last 15 s, and leaves out pods that
  // are not ready; Prometheus' covers at least two scrapes of cAdvisor, which is a minute.
})

/** Expressions that may return nothing, with the reason. */
const withoutData: readonly [pattern: RegExp, reason: string][] = [
  [/^absent\(/, 'returns a value only while the series is missing'],
  [/\bALERTS\b/, 'exists only while an alert is pending or firing'],
  [
    /karpenter_nodeclaims_(created|disrupted|terminated)/,
    'exists only after Karpenter launched or removed a node',
  ],
  [/karpenter_cloudprovider_errors_total/, 'exists only after an error of EC2'],
  [
    /karpenter_scheduler_(queue_depth|unschedulable_pods_count)/,
    'exists only after Karpenter looked for room for a pod',
  ],
  [/operator_nodeclaim_status_condition_count/, 'exists only while Karpenter has a NodeClaim'],
  [/karpenter_interruption_received_messages_total/, 'exists only after a message of EC2'],
  [/awslbc_readiness_gate_ready_seconds/, 'exists only after a pod with a readiness gate became ready'],
  [/controller_runtime_reconcile_errors_total.* > 0$/, 'shows only controllers with an error'],
]

/** Metrics that only a cluster on AWS has, with the reason. */
const onlyOnAws: readonly [metrics: readonly string[], reason: string][] = [
  [METRIC_SOURCES.node_exporter, 'all nodes of the box are one machine, so it has no node-exporter'],
  [METRIC_SOURCES.kubelet, "the box has no volumes of EBS, and its kubelets' certificates are self-signed"],
  [
    ['apiserver_request_duration_seconds_bucket'],
    "the box's Prometheus drops most buckets of the API server, to save memory",
  ],
]

/** Why an expression may return nothing; undefined if it has to return data. */
function reasonForNoData(expression: string): string | undefined {
  return (
    withoutData.find(([pattern]) => pattern.test(expression))?.[1] ??
    onlyOnAws.find(([metrics]) => metrics.some((metric) => expression.includes(metric)))?.[1]
  )
}

/**
 * An alert's expression as one that returns data whenever its series exist: its comparisons result in 0 or 1 instead of
 * filtering.
 */
function unfiltered(expression: string): string {
  return expression
    .split(/(\{[^}]*\}|"[^"]*")/)
    .map((part, index) =>
      index % 2 === 1 ? part : part.replaceAll(/(==|!=|>=|<=|>|<)(?!\s*bool)/g, '$1 bool'),
    )
    .join('')
}

/** Expressions of dashboards contain variables. */
function resolved(expression: string): string {
  const values: Record<string, string> = {
    job: 'fastify-app',
    namespace: '.*',
    availability: '99.9',
    __range: '15m',
    __interval: '1m',
    __rate_interval: '2m',
  }
  return expression.replaceAll(/\$\{?(\w+)\}?/g, (variable, name: string) => values[name] ?? variable)
}

interface Panel {
  title?: string
  targets?: { expr?: string; datasource?: { type?: string } }[]
  panels?: Panel[]
}

function panelExpressions(panels: readonly Panel[]): [where: string, expression: string][] {
  return panels.flatMap(({ title = '', targets = [], panels: inner = [] }) => [
    // Not the queries of logs: the box has no store of logs.
    ...targets.flatMap(({ expr, datasource }): [string, string][] =>
      expr && datasource?.type === 'prometheus' ? [[title, resolved(expr)]] : [],
    ),
    ...panelExpressions(inner),
  ])
}

interface Rule extends KubernetesObject {
  spec: { groups: { rules: { alert?: string; record?: string; expr: string }[] }[] }
}

await t.test('every expression of the alerts and dashboards returns data', async (t) => {
  // So that requests fail, too: the database hangs.
  await underLoad('/api/v1/tasks', 20, () => killAndRecover('postgres', 'STOP'))
  const rules = await list<Rule>('prometheusrules.monitoring.coreos.com', '--all-namespaces')
  const dashboards = [join(repository, 'helm', 'fastify-app'), clusterMonitoring].flatMap((chart) =>
    readdirSync(join(chart, 'dashboards')).map((file) => join(chart, 'dashboards', file)),
  )
  const expressions = [
    ...rules.flatMap(({ spec }) =>
      spec.groups.flatMap(({ rules }) =>
        rules.map(({ alert, record, expr }): [string, string] => [alert ?? record ?? '', unfiltered(expr)]),
      ),
    ),
    ...dashboards.flatMap((file) => {
      const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { panels: Panel[] }
      return panelExpressions(panels).map(([title, expr]): [string, string] => [
        `${basename(file)}: ${title}`,
        expr,
      ])
    }),
  ]
  for (const place of ['KarpenterDown', 'cluster.json: Nodes ready']) {
    t.ok(
      expressions.some(([where]) => where === place),
      place,
    )
  }
  // Four scrapes of the service, and two evaluations of the rules. The summary is read through the cache.
  await underLoad('/api/v1/tasks/summary', 20, () => sleep(60_000))
  let executed = 0
  for (const [where, expression] of expressions) {
    const samples = await query(expression)
    executed++
    const reason = reasonForNoData(expression)
    if (reason === undefined) t.ok(samples.length > 0, `${where}: ${expression}`)
    else t.comment(`${where}: ${samples.length} samples; ${reason}`)
  }
  t.comment(`${executed} expressions executed`)
  const evaluated = (await (await fetch(`${prometheus}/api/v1/rules`)).json()) as {
    data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] }
  }
  const failing = evaluated.data.groups.flatMap((group) =>
    group.rules.filter(({ health }) => health === 'err'),
  )
  t.strictSame(failing, [], 'Prometheus evaluates every rule')
})
