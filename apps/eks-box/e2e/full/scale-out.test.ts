/**
 * From load to nodes and back, with the times of each step: the HPA asks for more pods than the system nodes hold, so
 * Karpenter launches nodes, and removes them after the load. The pods request so much memory that a node holds few of
 * them. All other values are those of the environment `local`.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { PRICES } from 'shared/prices'
import t from 'tap'
import { type Deployment, hasCondition, type Node, type NodeClaim, type Pod } from '../objects.ts'
import { eventually, operate, repository, WITHOUT_LOAD_SHEDDING } from '../operator.ts'

const { environment, config, make, list, observe } = await operate('e2e-scale-out', 24_900)
const results = t.testdir()
/** The load ramps up in seconds, faster than the HPA follows, and holds its peak until the new nodes serve. */
const [ramp, hold] = [30, 180]
/** The scenario begins and ends with a quarter of the ramp. */
const loadSeconds = 1.5 * ramp + hold

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push']) await make(target)
const values = join(results, 'values.json')
const memory = '512Mi'
writeFileSync(
  values,
  JSON.stringify({ ...WITHOUT_LOAD_SHEDDING, resources: { requests: { memory }, limits: { memory } } }),
)
await make('deploy', { VALUES: values })

interface Autoscaler extends Deployment {
  status?: Deployment['status'] & { desiredReplicas?: number }
}

interface Report {
  startedAt: string
  summary: {
    requests: number
    failed: number
    failures: Record<string, number>
    p95Ms: number
  }
  scaling: {
    replicas: { from: number; max: number }
    sloHoldsAgainSecond: number | null
    sloViolatedSecond: number | null
    backSecond: number | null
  }
  verdicts: { name: string; bound: number; met: boolean }[]
}

const isOfKarpenter = ({ metadata }: Node) => metadata.labels?.['karpenter.sh/nodepool'] !== undefined

/** The recorded price of an hour in USD. */
function hourlyPrice(type: string): number {
  return PRICES.instances[type]?.usd ?? Number.NaN
}

await t.test('load launches nodes, no request fails, and the nodes are removed after the load', async (t) => {
  const inService = '--namespace=fastify-app'
  const observed = {
    autoscaler: observe<Autoscaler>('hpa', 'fastify-app', inService),
    deployment: observe<Deployment>('deployment', 'fastify-app', inService),
    pods: observe<Pod>('pods', inService),
    claims: observe<NodeClaim>('nodeclaims'),
    nodes: observe<Node>('nodes'),
  }
  const file = join(results, 'report.json')
  const load = ['loadtest/src/run.ts', 'scaling', '--until-scaled-down', '--summary', file]
  const { all } = await execa('node', load, {
    cwd: repository,
    env: { ...environment, RAMP: `${ramp}s`, HOLD: `${hold}s` },
    all: true,
    reject: false,
  })
  t.comment(all)
  await eventually('all nodes of Karpenter are gone', async () =>
    (await list('nodeclaims')).length + (await list('nodes', '--selector=karpenter.sh/nodepool')).length === 0
      ? true
      : undefined,
  )
  for (const { stop } of Object.values(observed)) await stop()
  const { startedAt, summary, scaling, verdicts } = JSON.parse(readFileSync(file, 'utf8')) as Report

  const started = Date.parse(startedAt)
  const second = (change: { time: number } | undefined) =>
    change === undefined ? Number.NaN : Math.round((change.time - started) / 1000)
  const desired = observed.autoscaler.changes.map(({ time, object }) => ({
    time,
    count: object.status?.desiredReplicas ?? 0,
  }))
  const most = Math.max(...desired.map(({ count }) => count))
  const p95Bound = verdicts.find(({ name }) => name === 'p95')?.bound ?? 0
  const pending = observed.pods.changes.filter(({ object }) =>
    object.status?.conditions?.some(
      ({ type, status, reason }) =>
        type === 'PodScheduled' && status === 'False' && reason === 'Unschedulable',
    ),
  )
  const launched = observed.claims.changes.filter(({ type }) => type === 'ADDED')
  const joined = new Map(
    observed.nodes.changes
      .filter(({ object }) => isOfKarpenter(object) && hasCondition(object, 'Ready'))
      .toReversed()
      .map((change) => [change.object.metadata.name, change]),
  )
  const removed = observed.nodes.changes.filter(
    ({ type, object }) => type === 'DELETED' && isOfKarpenter(object),
  )
  const ready = observed.deployment.changes.find(({ object }) => object.status?.readyReplicas === most)
  const instances = launched.map(({ time, object }) => {
    const { name } = object.metadata
    const last = observed.claims.changes.findLast((change) => change.object.metadata.name === name)
    const type = last?.object.metadata.labels?.['node.kubernetes.io/instance-type'] ?? ''
    // EC2 charges at least a minute.
    const seconds = Math.max(60, ((last?.time ?? time) - time) / 1000)
    return { type, seconds, usd: (seconds * hourlyPrice(type)) / 3600 }
  })
  const nodeSeconds = Math.round(instances.reduce((sum, { seconds }) => sum + seconds, 0))
  const usd = instances.reduce((sum, instance) => sum + instance.usd, 0)
  const types = [...new Set(instances.map(({ type }) => type))].join(', ')
  const times = [...joined.values()].map(second).sort((a, b) => a - b)
  const rows: [step: string, second: number | string][] = [
    ['the load starts', 0],
    [
      `the HPA wants more than ${scaling.replicas.from} replicas`,
      second(desired.find(({ count }) => count > scaling.replicas.from)),
    ],
    ['the first pod is pending', second(pending[0])],
    ['Karpenter creates the first NodeClaim', second(launched[0])],
    [`nodes of Karpenter are ready (${joined.size})`, times.join(', ')],
    [`the HPA wants ${most} replicas`, second(desired.find(({ count }) => count === most))],
    [`all ${most} pods are ready`, second(ready)],
    [
      `p95 is below ${p95Bound} ms again`,
      scaling.sloViolatedSecond === null ? 'never above it' : (scaling.sloHoldsAgainSecond ?? Number.NaN),
    ],
    ['the load ends', loadSeconds],
    [`${scaling.replicas.from} replicas again`, scaling.backSecond ?? Number.NaN],
    ['the last node is gone', second(removed.at(-1))],
  ]
  t.comment(
    [
      '| step | second |',
      '| --- | --- |',
      ...rows.map(([step, at]) => `| ${step} | ${at} |`),
      '',
      `${summary.requests} requests, ${summary.failed} failed, p95 ${Math.round(summary.p95Ms)} ms`,
      `${instances.length} nodes (${types}) for ${nodeSeconds} s in all: ${usd.toFixed(4)} USD`,
    ].join('\n'),
  )
  t.strictSame(summary.failures, {}, 'no request failed')
  t.ok(launched.length > 0, 'Karpenter launched nodes')
  t.ok(pending.length > 0, 'because pods were pending')
  t.equal(joined.size, launched.length, 'each of them was ready')
  t.equal(removed.length, launched.length, 'and each of them was removed')
  t.equal(scaling.replicas.max, most, 'all pods that the HPA wanted were ready')
  const holdsAgain = scaling.sloViolatedSecond === null ? 0 : scaling.sloHoldsAgainSecond
  t.ok(holdsAgain !== null && holdsAgain < loadSeconds - 30, 'the SLO held again before the load ended')
  t.type(scaling.backSecond, 'number')
})
