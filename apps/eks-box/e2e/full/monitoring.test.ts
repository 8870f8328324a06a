/**
 * `make monitoring` in a box of its own: Prometheus reaches every target, the HPA scales by the adapter's metrics, and
 * every expression of the chart's alerts and dashboards returns data after a load.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'
import type { KubernetesObject } from '../objects.ts'
import { eventually, operate, repository } from '../operator.ts'

const { config, make, kubectl, list, killAndRecover } = await operate('e2e-monitoring', 25_300)
const results = t.testdir()
const prometheus = `http://127.0.0.1:${config.ports.prometheus}`
const service = `http://127.0.0.1:${config.ports.service}`
const inService = '--namespace=fastify-app'

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
for (const target of ['box', 'apply', 'build', 'push', 'deploy', 'monitoring']) await make(target)

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
    // For longer than the minute that the rate covers, so that it hardly changes.
    await sleep(75_000)
    const metrics = await customMetric('http_requests_per_second')
    t.ok(metrics.length >= 2)
    for (const { pod, value, time } of metrics) {
      const expression = `sum by (namespace, pod) (rate(http_request_duration_seconds_count{namespace="fastify-app", pod="${pod}"}[1m]))`
      const [sample] = await query(expression, time)
      const expected = Number(sample?.value[1])
      t.ok(Math.abs(value - expected) <= 0.05 * expected + 0.01, `${pod}: ${value}, Prometheus: ${expected}`)
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

/** Expressions that may return nothing, with the reason. */
const withoutData: readonly [pattern: RegExp, reason: string][] = [
  [/^absent\(/, 'returns a value only while the series is missing'],
  [/\bALERTS\b/, 'exists only while an alert is pending or firing'],
  [
    /karpenter_nodeclaims_(created|disrupted|terminated)/,
    'exists only after Karpenter launched or removed a node',
  ],
  [/karpenter_cloudprovider_errors_total/, 'exists only after an error of EC2'],
]

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
  targets?: { expr?: string }[]
  panels?: Panel[]
}

function panelExpressions(panels: readonly Panel[]): [where: string, expression: string][] {
  return panels.flatMap(({ title = '', targets = [], panels: inner = [] }) => [
    ...targets.flatMap(({ expr }): [string, string][] => (expr ? [[title, resolved(expr)]] : [])),
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
  const dashboards = join(repository, 'helm', 'fastify-app', 'dashboards')
  const expressions = [
    ...rules.flatMap(({ spec }) =>
      spec.groups.flatMap(({ rules }) =>
        rules.map(({ alert, record, expr }): [string, string] => [alert ?? record ?? '', unfiltered(expr)]),
      ),
    ),
    ...readdirSync(dashboards)
      .filter((file) => file.endsWith('.json'))
      .flatMap((file) => {
        const { panels } = JSON.parse(readFileSync(join(dashboards, file), 'utf8')) as { panels: Panel[] }
        return panelExpressions(panels).map(([title, expr]): [string, string] => [`${file}: ${title}`, expr])
      }),
  ]
  t.ok(expressions.length > 20)
  // Four scrapes of the service, and two evaluations of the rules. The summary is read through the cache.
  await underLoad('/api/v1/tasks/summary', 20, () => sleep(60_000))
  let executed = 0
  for (const [where, expression] of expressions) {
    const samples = await query(expression)
    executed++
    const reason = withoutData.find(([pattern]) => pattern.test(expression))?.[1]
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
