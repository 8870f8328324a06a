/**
 * How Karpenter behaves with the project's NodePool, one subtest for each behaviour. Karpenter and the nodes are real;
 * EC2, SQS and EventBridge are the box's. The NodePool allows two instance types on demand, removes empty and
 * underutilised nodes after 30 s, and lets one node at a time be disrupted for another reason than being empty.
 */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import {
  CreateTagsCommand,
  DeleteTagsCommand,
  DescribeInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { PAUSE_IMAGE } from 'shared/tools'
import t, { type Test } from 'tap'
import { onDemandPrices } from '../../src/aws/ec2/instance-catalogue.ts'
import {
  type Change,
  type Deployment,
  type Event,
  hasCondition,
  type KubernetesObject,
  type Node,
  type NodeClaim,
  type NodePool,
  type Pod,
} from '../objects.ts'
import { eventually, operate } from '../operator.ts'

const { config, make, aws, kubectl, apply, list, observe, ec2, killAndRecover } = await operate(
  'e2e-karpenter',
  24_800,
)

/** Name of the NodePool and of its EC2NodeClass. */
const pool = 'karpenter-nodes'
/** The types that the NodePool allows on this machine. One of these nodes has room for 1930m of CPU. */
const [cheapest, other] =
  process.arch === 'x64' ? (['t3a.small', 't3.small'] as const) : (['t4g.small', 'c6g.medium'] as const)

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
await make('box')
await make('apply')

const instances = ec2()
const read = async <Item>(kind: string, name: string) =>
  JSON.parse(await kubectl('get', kind, name, '--output=json')) as Item
const original = {
  nodepool: (await read<NodePool>('nodepool', pool)).spec,
  ec2nodeclass: (await read<NodePool>('ec2nodeclass', pool)).spec,
}

/** A Deployment whose pods only run on Karpenter's nodes. */
function deployment(
  name: string,
  replicas: number,
  { cpu, nodeSelector = {}, ...podSpec }: { cpu: string; nodeSelector?: object; [field: string]: unknown },
) {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: podSpecOf({ cpu, nodeSelector, ...podSpec }) },
    },
  }
}

function podSpecOf({
  cpu,
  nodeSelector = {},
  lifecycle,
  ...podSpec
}: {
  cpu: string
  nodeSelector?: object
  [field: string]: unknown
}) {
  return {
    nodeSelector: { 'karpenter.sh/nodepool': pool, ...nodeSelector },
    terminationGracePeriodSeconds: 1,
    ...podSpec,
    containers: [{ name: 'pause', image: PAUSE_IMAGE, lifecycle, resources: { requests: { cpu } } }],
  }
}

/** Lets one pod of a Deployment be evicted at a time. */
function disruptionBudget(name: string) {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name, namespace: 'default' },
    spec: { maxUnavailable: 1, selector: { matchLabels: { app: name } } },
  }
}

const nodes = () => list<Node>('nodes', '--selector', `karpenter.sh/nodepool=${pool}`)
const claims = () => list<NodeClaim>('nodeclaims')
/** The pods of a Deployment, without those that are ending. */
const pods = async (app: string) =>
  (await list<Pod>('pods', '--selector', `app=${app}`)).filter(
    ({ metadata }) => metadata.deletionTimestamp === undefined,
  )
const instanceOf = (providerId = '') => providerId.split('/').at(-1) ?? ''

const inSystem = ['--namespace=kube-system']
const ofKarpenter = ['--selector', 'app.kubernetes.io/name=karpenter']

/** Waits until a Deployment has as many available pods as it wants. */
const available = (name: string) => kubectl('rollout', 'status', `deployment/${name}`, '--timeout=600s')

/** Waits until an object is deleted. */
const gone = (kind: string, name: string) =>
  eventually(`${kind} ${name} is gone`, async () =>
    (await kubectl('get', kind, name, '--ignore-not-found')) === '' ? true : undefined,
  )

/** The only node of Karpenter, with its claim. */
async function onlyNode(): Promise<{ node: Node; claim: NodeClaim }> {
  const [node, ...otherNodes] = await nodes()
  const claim = (await claims()).find(({ status }) => status?.nodeName === node?.metadata.name)
  if (node === undefined || claim === undefined || otherNodes.length > 0)
    throw new Error(`Karpenter has ${otherNodes.length + 1} nodes`)
  return { node, claim }
}

/** Waits for an event of an object. */
const eventOf = (name: string, reason: string, message = /./) =>
  eventually(`event ${reason} of ${name}: ${message}`, async () =>
    (await list<Event>('events', '--field-selector', `involvedObject.name=${name}`)).find(
      (event) => event.reason === reason && message.test(event.message),
    ),
  )

const patch = (kind: keyof typeof original, spec: object) =>
  kubectl('patch', kind, pool, '--type=merge', '--patch', JSON.stringify({ spec }))

/** Sends an event as AWS would. */
const announce = (Source: string, DetailType: string, detail: object) =>
  aws(
    ...['events', 'put-events', '--output=json', '--entries'],
    JSON.stringify([{ Source, DetailType, Detail: JSON.stringify(detail) }]),
  )

/** The instances that Karpenter has launched and not terminated. */
async function runningInstances(): Promise<string[]> {
  const { Reservations = [] } = await instances.send(
    new DescribeInstancesCommand({
      Filters: [
        { Name: 'tag:karpenter.sh/nodepool', Values: [pool] },
        { Name: 'instance-state-name', Values: ['pending', 'running', 'stopping', 'stopped'] },
      ],
    }),
  )
  return Reservations.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId = '' }) => InstanceId))
}

async function stateOf(instance: string): Promise<string> {
  const { Reservations = [] } = await instances.send(
    new DescribeInstancesCommand({ InstanceIds: [instance] }),
  )
  return Reservations[0]?.Instances?.[0]?.State?.Name ?? 'unknown'
}

/** The position of a change among all changes of the cluster; undefined if it did not happen. */
function positionOf<Item extends KubernetesObject>(
  changes: Change<Item>[],
  happened: (change: Change<Item>) => boolean,
): number | undefined {
  const change = changes.find(happened)
  return change === undefined ? undefined : Number(change.object.metadata.resourceVersion)
}

/** The fewest available pods that a Deployment had while it was observed. */
function fewestAvailable(changes: Change<Deployment>[]): number {
  if (changes.length === 0) throw new Error('the Deployment was not observed')
  return Math.min(...changes.map(({ object }) => object.status?.availableReplicas ?? 0))
}

/** Waits until each observation has its first change. */
const begun = (...observations: { changes: unknown[] }[]) =>
  eventually('the observations have begun', async () =>
    observations.every(({ changes }) => changes.length > 0) ? true : undefined,
  )

/** Whether a node counts towards the NodePool's disruption budgets: from the decision until it is drained. */
const isBeingDisrupted = (claim: NodeClaim) =>
  (claim.metadata.deletionTimestamp !== undefined || hasCondition(claim, 'DisruptionReason')) &&
  !hasCondition(claim, 'InstanceTerminating')

/** Prints the seconds since its last call. */
function stopwatch(t: Test) {
  let since = Date.now()
  return (what: string) => {
    t.comment(`${((Date.now() - since) / 1000).toFixed(1)} s: ${what}`)
    since = Date.now()
  }
}

/** Runs a subtest, and then removes its pods and nodes, and its changes of the NodePool. */
async function behaviour(description: string, test: (t: Test, lap: (what: string) => void) => Promise<void>) {
  await t.test(description, async (t) => {
    try {
      await test(t, stopwatch(t))
    } finally {
      await kubectl('delete', 'deployments,poddisruptionbudgets,pods', '--all', '--wait=false')
      for (const kind of ['nodepool', 'ec2nodeclass'] as const) await patch(kind, original[kind])
      await kubectl('delete', 'nodeclaims', '--all', '--timeout=600s')
      await eventually('all nodes of Karpenter are gone', async () =>
        (await nodes()).length === 0 && (await runningInstances()).length === 0 ? true : undefined,
      )
    }
  })
}

await behaviour('a pending pod gets the cheapest type of the NodePool on which it fits', async (t, lap) => {
  const [price, otherPrice] = [onDemandPrices.get(cheapest) ?? 0, onDemandPrices.get(other) ?? 0]
  t.ok(price < otherPrice, `${price} USD an hour instead of ${otherPrice}`)
  await apply(deployment('any', 1, { cpu: '500m' }))
  await available('any')
  lap('a pod runs on a new node')
  const { node, claim } = await onlyNode()
  t.match(node.metadata.labels, {
    'node.kubernetes.io/instance-type': cheapest,
    'karpenter.sh/capacity-type': 'on-demand',
    'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : 'arm64',
  })
  const offered = claim.spec.requirements.find(({ key }) => key === 'node.kubernetes.io/instance-type')
  t.strictSame(offered?.values?.toSorted(), [cheapest, other].toSorted(), 'it had the choice')

  const nodeSelector = { 'node.kubernetes.io/instance-type': other }
  await apply(deployment('picky', 1, { cpu: '500m', nodeSelector }))
  await available('picky')
  const [pod] = await pods('picky')
  const [chosen] = (await nodes()).filter(({ metadata }) => metadata.name === pod?.spec.nodeName)
  t.equal(chosen?.metadata.labels?.['node.kubernetes.io/instance-type'], other, 'a pod may demand the other')
})

await behaviour('pods are packed on few nodes, and empty nodes are removed', async (t, lap) => {
  await apply(deployment('packed', 6, { cpu: '600m' }))
  await available('packed')
  lap('six pods run')
  const used = (await pods('packed')).map(({ spec }) => spec.nodeName)
  const launched = await claims()
  t.equal(new Set(used).size, 2, 'three pods fit on a node')
  t.equal(launched.length, 2, 'no other node was launched')

  await kubectl('delete', 'deployment', 'packed')
  for (const { metadata } of launched)
    await eventOf(metadata.name, 'DisruptionTerminating', /Disrupting NodeClaim: Empty/)
  lap('Karpenter removes the empty nodes')
  for (const { metadata } of launched) await gone('nodeclaim', metadata.name)
  t.strictSame(await nodes(), [])
  for (const { status } of launched) t.equal(await stateOf(instanceOf(status?.providerID)), 'terminated')
  lap('nodes and instances are gone')
})

await behaviour('two half-empty nodes become one, and the pods move one at a time', async (t, lap) => {
  await apply(deployment('halves', 4, { cpu: '800m' }), disruptionBudget('halves'))
  await available('halves')
  lap('four pods run on two nodes')
  const before = await nodes()
  t.equal(before.length, 2)
  for (const { metadata } of before) {
    const [first] = (await pods('halves')).filter(({ spec }) => spec.nodeName === metadata.name)
    const cheaper = 'controller.kubernetes.io/pod-deletion-cost=-1'
    await kubectl('annotate', 'pod', String(first?.metadata.name), cheaper)
  }
  await kubectl('scale', 'deployment/halves', '--replicas=2')
  await available('halves')
  t.equal(new Set((await pods('halves')).map(({ spec }) => spec.nodeName)).size, 2, 'one pod on each')

  const observed = observe<Deployment>('deployment', 'halves')
  const launched = (await claims()).map(({ metadata }) => metadata.name)
  await eventually('both nodes may be removed', async () =>
    (await claims()).every((claim) => hasCondition(claim, 'Consolidatable')) ? true : undefined,
  )
  // Karpenter may have examined the first node while the pods of the second could not be moved yet. It examines a
  // cluster again when something changes, or after five minutes.
  await patch('nodepool', { limits: { cpu: '9' } })
  lap('both have been unchanged for 30 s')
  const [one] = await eventually('one node is left', async () => {
    const left = await nodes()
    return left.length === 1 ? left : undefined
  })
  lap('one node is left')
  await available('halves')
  await observed.stop()
  t.ok(
    before.some(({ metadata }) => metadata.name === one?.metadata.name),
    'no new node was needed',
  )
  const reasons = (await list<Event>('events')).filter(
    ({ involvedObject, reason }) =>
      launched.includes(involvedObject.name) && reason === 'DisruptionTerminating',
  )
  t.match(
    reasons.map(({ message }) => message),
    ['Disrupting NodeClaim: Underutilized'],
  )
  t.ok(fewestAvailable(observed.changes) >= 1, 'the PodDisruptionBudget was respected')
})

await behaviour('beyond the limits of the NodePool, pods stay pending, with the reason', async (t, lap) => {
  await patch('nodepool', { limits: { cpu: '2' } })
  await apply(deployment('many', 3, { cpu: '1500m' }))
  const pending = async () => (await pods('many')).filter((pod) => !hasCondition(pod, 'Ready'))
  await eventually('one pod is ready', async () => ((await pending()).length === 2 ? true : undefined))
  lap('one of three pods runs')
  for (const { metadata } of await pending()) {
    const message = /all available instance types exceed limits for nodepool/
    t.match((await eventOf(metadata.name, 'FailedScheduling', message)).message, message)
  }
  t.equal((await pending()).length, 2)
  t.equal((await claims()).length, 1)

  await patch('nodepool', { limits: { cpu: '4' } })
  await eventually('another pod is ready', async () => ((await pending()).length === 1 ? true : undefined))
  lap('a higher limit allows one more')
  t.equal((await claims()).length, 2)
})

await behaviour('an interruption moves the pods to another node before the instance ends', async (t, lap) => {
  const worker = deployment('worker', 2, {
    cpu: '600m',
    terminationGracePeriodSeconds: 30,
    lifecycle: { preStop: { sleep: { seconds: 5 } } },
  })
  await apply(worker, disruptionBudget('worker'))
  await available('worker')
  const messages: [type: string, source: string, reason: string, detail: (instance: string) => object][] = [
    [
      'EC2 Spot Instance Interruption Warning',
      'aws.ec2',
      'SpotInterrupted',
      (id) => ({ 'instance-id': id, 'instance-action': 'terminate' }),
    ],
    [
      'AWS Health Event',
      'aws.health',
      'InstanceUnhealthy',
      (id) => ({
        service: 'EC2',
        eventTypeCategory: 'scheduledChange',
        affectedEntities: [{ entityValue: id }],
      }),
    ],
  ]
  for (const [type, source, reason, detail] of messages) {
    await t.test(type, async (t) => {
      const { node, claim } = await onlyNode()
      const old = node.metadata.name
      const evicted = (await pods('worker')).map(({ metadata }) => metadata.name)
      const observed = {
        nodes: observe<Node>('nodes'),
        claims: observe<NodeClaim>('nodeclaims'),
        pods: observe<Pod>('pods'),
        deployment: observe<Deployment>('deployment', 'worker'),
      }
      await begun(...Object.values(observed))
      await announce(source, type, detail(instanceOf(node.spec.providerID)))
      await eventOf(claim.metadata.name, reason)
      lap(`${type} has arrived`)
      await gone('node', old)
      await gone('nodeclaim', claim.metadata.name)
      await available('worker')
      lap('the node is replaced')
      for (const { stop } of Object.values(observed)) await stop()

      t.equal(await stateOf(instanceOf(node.spec.providerID)), 'terminated')
      t.not((await onlyNode()).node.metadata.name, old)
      const replaced = positionOf(
        observed.nodes.changes,
        ({ object }) => object.metadata.name !== old && hasCondition(object, 'Ready') && isOfPool(object),
      )
      const leaving = observed.pods.changes.filter(({ object }) => evicted.includes(object.metadata.name))
      const left = leaving.filter(({ type }) => type === 'DELETED')
      const lastPod = Math.max(...left.map(({ object }) => Number(object.metadata.resourceVersion)))
      // Karpenter terminates the instance of a drained node.
      const drained = positionOf(
        observed.claims.changes,
        ({ type, object }) =>
          object.metadata.name === claim.metadata.name &&
          (type === 'DELETED' || hasCondition(object, 'Drained')),
      )
      t.ok(replaced && replaced < lastPod, 'the last pod left when the replacement was ready')
      t.ok(drained && lastPod < drained, 'the node was drained when all pods had left')
      t.equal(left.length, 2)
      for (const { object, time } of left) {
        const { name } = object.metadata
        const eviction = leaving.find(
          (change) => change.object.metadata.name === name && change.object.metadata.deletionTimestamp,
        )
        const { deletionTimestamp = '', deletionGracePeriodSeconds = 0 } = eviction?.object.metadata ?? {}
        t.equal(deletionGracePeriodSeconds, 30, 'the pod kept its own grace period')
        const requested = Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000
        t.ok(time - requested >= 5000, `its preStop hook of 5 s ran to its end: ${time - requested} ms`)
      }
      t.ok(fewestAvailable(observed.deployment.changes) >= 1, 'the PodDisruptionBudget was respected')
    })
  }

  await t.test('a rebalance recommendation is only recorded', async (t) => {
    const { node, claim } = await onlyNode()
    const detail = { 'instance-id': instanceOf(node.spec.providerID) }
    await announce('aws.ec2', 'EC2 Instance Rebalance Recommendation', detail)
    await eventOf(claim.metadata.name, 'SpotRebalanceRecommendation')
    const now = await onlyNode()
    t.equal(now.claim.metadata.name, claim.metadata.name)
    t.notOk(isBeingDisrupted(now.claim))
  })

  await t.test('a terminated instance is replaced', async (t) => {
    const { node, claim } = await onlyNode()
    t.notOk(isBeingDisrupted(claim))
    const InstanceIds = [instanceOf(node.spec.providerID)]
    await instances.send(new TerminateInstancesCommand({ InstanceIds }))
    await eventOf(claim.metadata.name, 'InstanceTerminating')
    lap('the state change has arrived')
    await gone('nodeclaim', claim.metadata.name)
    await available('worker')
    lap('the pods run on another node')
    t.not((await onlyNode()).node.metadata.name, node.metadata.name)
  })
})

await behaviour('without capacity for the cheapest type, Karpenter launches the other', async (t, lap) => {
  const { status } = await read<{ status: { subnets: { id: string }[] } }>('ec2nodeclass', pool)
  const Resources = status.subnets.map(({ id }) => id)
  const Key = 'eks-box/unavailable-types'
  await instances.send(new CreateTagsCommand({ Resources, Tags: [{ Key, Value: cheapest }] }))
  try {
    await apply(deployment('fallback', 1, { cpu: '500m' }))
    await available('fallback')
    lap('the pod runs')
    t.equal((await onlyNode()).node.metadata.labels?.['node.kubernetes.io/instance-type'], other)
  } finally {
    await instances.send(new DeleteTagsCommand({ Resources, Tags: [{ Key }] }))
  }
  // Karpenter remembers for three minutes that EC2 had no capacity. After a restart, it tries again.
  await kubectl(...inSystem, 'delete', 'pods', ...ofKarpenter)
  await kubectl(...inSystem, 'rollout', 'status', 'deployment/karpenter', '--timeout=600s')
  await kubectl('delete', 'nodeclaims', '--all', '--timeout=600s')
  await available('fallback')
  lap('its node was deleted, and the pod runs on another')
  t.equal((await onlyNode()).node.metadata.labels?.['node.kubernetes.io/instance-type'], cheapest)
})

await behaviour('after a change of the AMI, nodes are replaced one at a time', async (t, lap) => {
  await apply(deployment('service', 3, { cpu: '1500m' }), disruptionBudget('service'))
  await available('service')
  lap('three pods run, each on its own node')
  const before = await claims()
  t.equal(before.length, 3)

  const budgets = [{ nodes: '0', reasons: ['Drifted'] }]
  await patch('nodepool', { disruption: { budgets } })
  await patch('ec2nodeclass', { amiSelectorTerms: [{ alias: 'al2023@v20260801' }] })
  await eventually('all nodes have drifted', async () =>
    (await claims()).every((claim) => hasCondition(claim, 'Drifted')) ? true : undefined,
  )
  await eventOf(pool, 'DisruptionBlocked', /disruption reason Drifted due to blocking budget/)
  const names = (objects: NodeClaim[]) => objects.map(({ metadata }) => metadata.name).sort()
  t.strictSame(names(await claims()), names(before), 'a budget of 0 keeps the nodes')
  lap('a budget of 0 keeps the drifted nodes')

  const observed = {
    claims: observe<NodeClaim>('nodeclaims'),
    service: observe<Deployment>('deployment', 'service'),
  }
  await begun(...Object.values(observed))
  await patch('nodepool', { disruption: original.nodepool['disruption'] as object })
  await eventually('all nodes are replaced', async () => {
    const left = (await claims()).map(({ metadata }) => metadata.name)
    return before.some(({ metadata }) => left.includes(metadata.name)) ? undefined : true
  })
  await available('service')
  lap('all three are replaced')
  for (const { stop } of Object.values(observed)) await stop()

  const disrupted = new Set<string>()
  let most = 0
  for (const { type, object } of observed.claims.changes) {
    const { name } = object.metadata
    if (type !== 'DELETED' && isBeingDisrupted(object)) disrupted.add(name)
    else disrupted.delete(name)
    most = Math.max(most, disrupted.size)
  }
  t.equal(most, 1, 'never more than one node was disrupted')
  t.ok(fewestAvailable(observed.service.changes) >= 2, 'the PodDisruptionBudget was respected')
  const after = await claims()
  t.equal(after.length, 3)
  const images = new Set(after.map(({ status }) => status?.imageID))
  t.equal(images.size, 1)
  t.notOk(
    before.some(({ status }) => images.has(status?.imageID)),
    'the new nodes have the new image',
  )
  for (const { metadata } of before) await eventOf(metadata.name, 'DisruptionTerminating', /Drifted/)
})

await behaviour('nothing is launched for a pod that no node could run', async (t, lap) => {
  const foreign = process.arch === 'x64' ? 'arm64' : 'amd64'
  const impossible: Record<string, [spec: Parameters<typeof podSpecOf>[0], reason: RegExp]> = {
    large: [{ cpu: '64' }, /no instance type .*enough resources/],
    architecture: [
      { cpu: '100m', nodeSelector: { 'kubernetes.io/arch': foreign } },
      new RegExp(`incompatible requirements, key kubernetes.io/arch, .*${foreign}`),
    ],
    zone: [
      { cpu: '100m', nodeSelector: { 'topology.kubernetes.io/zone': 'eu-west-1a' } },
      /topology\.kubernetes\.io\/zone In \[eu-west-1a\]/,
    ],
  }
  const impossiblePods = Object.entries(impossible).map(([name, [spec]]) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: podSpecOf(spec),
  }))
  await apply(...impossiblePods)
  for (const [name, [, reason]] of Object.entries(impossible)) {
    // The scheduler has events with the same reason.
    const { message } = await eventOf(name, 'FailedScheduling', /^Failed to schedule pod, /)
    t.match(message, reason, name)
  }
  lap('Karpenter says why')
  t.strictSame(await claims(), [])

  await apply(deployment('possible', 1, { cpu: '100m' }))
  await available('possible')
  t.equal((await claims()).length, 1, 'a pod beside them gets a node')
  for (const name of Object.keys(impossible))
    t.notOk(hasCondition(await read<Pod>('pod', name), 'PodScheduled'))
})

await behaviour('Karpenter does not run on nodes that it manages', async (t) => {
  await apply(deployment('little', 1, { cpu: '100m' }))
  await available('little')
  const karpenter = () => list<Pod>('pods', ...inSystem, ...ofKarpenter)
  const systemNodes = await list<Node>('nodes', '--selector', 'node.fastify-eks/role=system')
  const names = systemNodes.map(({ metadata }) => metadata.name)
  const [before] = await karpenter()
  t.ok(names.includes(String(before?.spec.nodeName)))

  await kubectl('cordon', ...names)
  try {
    await kubectl(...inSystem, 'delete', 'pod', String(before?.metadata.name))
    const waiting = await eventually('a new pod', async () =>
      (await karpenter()).find(({ metadata }) => metadata.name !== before?.metadata.name),
    )
    const ofPod = ['--field-selector', `involvedObject.name=${waiting.metadata.name}`]
    const { message } = await eventually('the scheduler refuses all nodes', async () =>
      (await list<Event>('events', ...inSystem, ...ofPod)).find(
        ({ reason }) => reason === 'FailedScheduling',
      ),
    )
    t.match(message, /2 node\(s\) were unschedulable/)
    t.match(message, /1 node\(s\) didn't match Pod's node affinity\/selector/, 'although there is room')
  } finally {
    await kubectl('uncordon', ...names)
  }
  await kubectl(...inSystem, 'rollout', 'status', 'deployment/karpenter', '--timeout=600s')
  const [after] = await karpenter()
  t.ok(names.includes(String(after?.spec.nodeName)))
})

await behaviour('a node is replaced when it reaches its maximum age', async (t, lap) => {
  const seconds = 90
  await patch('nodepool', { template: { spec: { expireAfter: `${seconds}s` } } })
  await apply(deployment('ageing', 1, { cpu: '500m' }), disruptionBudget('ageing'))
  await available('ageing')
  const { node, claim } = await onlyNode()
  const observed = observe<NodeClaim>('nodeclaim', claim.metadata.name)
  await gone('nodeclaim', claim.metadata.name)
  lap('the node is gone')
  await available('ageing')
  await observed.stop()
  const expired = observed.changes.find(({ object }) => object.metadata.deletionTimestamp !== undefined)
  const { creationTimestamp = '', deletionTimestamp = '' } = expired?.object.metadata ?? {}
  const age = (Date.parse(deletionTimestamp) - Date.parse(creationTimestamp)) / 1000
  t.ok(age >= seconds, `it was replaced after ${age} s`)
  const [pod] = await pods('ageing')
  t.not(pod?.spec.nodeName, node.metadata.name)
})

/** The process of Karpenter, as this machine sees it. */
async function karpenterProcess(): Promise<number> {
  for (const entry of await readdir('/proc')) {
    const readProcess = (file: string) => readFile(`/proc/${entry}/${file}`, 'utf8').catch(() => '')
    if ((await readProcess('comm')).trim() !== 'karpenter') continue
    if ((await readProcess('cgroup')).includes(`/eks-box-${config.name}/`)) return Number(entry)
  }
  throw new Error('Karpenter does not run')
}

/** Waits until Karpenter's instances are exactly those of its claims, each of them a node. */
const consistent = () =>
  eventually('each instance has a NodeClaim and a node', async () => {
    const running = (await runningInstances()).sort().join()
    const claimed = (await claims()).map(({ status }) => instanceOf(status?.providerID)).sort()
    const joined = (await nodes()).map(({ spec }) => instanceOf(spec.providerID)).sort()
    return running === claimed.join() && running === joined.join() ? claimed : undefined
  })

await behaviour('Karpenter killed during a launch leaves no instance behind', async (t, lap) => {
  const pid = await karpenterProcess()
  await apply(deployment('late', 1, { cpu: '500m' }))
  // Without a pause: the request that launches the instance has no response yet.
  while ((await runningInstances()).length === 0);
  process.kill(pid, 'SIGKILL')
  const [claim] = await claims()
  t.comment(
    `the NodeClaim ${claim?.status?.providerID === undefined ? 'does not know' : 'knows'} its instance`,
  )
  await available('late')
  lap('the pod runs')
  t.equal((await consistent()).length, 1)
  lap('instances, NodeClaims and nodes agree')
})

await behaviour('the emulated AWS killed during a launch comes back with the instance', async (t, lap) => {
  await apply(deployment('late', 1, { cpu: '500m' }))
  await eventually('a NodeClaim', async () => (await claims())[0])
  await killAndRecover('aws')
  lap('AWS is back')
  await available('late')
  lap('the pod runs')
  t.equal((await consistent()).length, 1)
  lap('instances, NodeClaims and nodes agree')
})

/** Whether the node is one of Karpenter's. */
function isOfPool({ metadata }: Node): boolean {
  return metadata.labels?.['karpenter.sh/nodepool'] === pool
}
