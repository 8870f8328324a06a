import { setTimeout as sleep } from 'node:timers/promises'
import { KubeConfig } from '@kubernetes/client-node'
import { ActionableError } from 'shared/errors'
import t, { type Test } from 'tap'
import { Cluster } from './cluster.ts'
import { type FakeCluster, fakeNode, kubeconfig, startCluster } from './test-servers.ts'

interface Started {
  api: FakeCluster
  cluster: Cluster
  /** What the cluster has reported. */
  events: string[]
  signal: AbortSignal
}

async function start(t: Test, prepare: (api: FakeCluster) => void = () => {}): Promise<Started> {
  const api = await startCluster()
  prepare(api)
  const config = new KubeConfig()
  config.loadFromString(kubeconfig(api.url))
  const stop = new AbortController()
  t.teardown(async () => {
    stop.abort()
    await api.close()
  })
  const cluster = new Cluster(config, 'shop', 'app')
  const events: string[] = []
  cluster.observe({
    changed: () => {},
    event: (kind, text) => events.push(`${kind}: ${text}`),
    newPodReady: () => events.push('new pod ready'),
  })
  return { api, cluster, events, signal: stop.signal }
}

/** Waits until `isTrue`, at most 15 s. */
async function until(t: Test, isTrue: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!isTrue() && Date.now() < deadline) await sleep(20)
  t.ok(isTrue(), what)
}

t.test('it describes the autoscaler and the present state', async (t) => {
  const { api, cluster, signal } = await start(t, (api) => {
    api.replicas = () => ({ desired: 4, ready: 3 })
    api.nodes = [fakeNode('a'), fakeNode('b', { karpenter: true })]
  })
  await cluster.start(signal)
  t.same(cluster.autoscaler, {
    deployment: 'app',
    minReplicas: 2,
    maxReplicas: 10,
    targets: [{ metric: 'cpu', target: 70, unit: '%' }],
  })
  t.same(cluster.sample(), {
    wanted: 4,
    ready: 3,
    podsPending: 1,
    nodes: 2,
    karpenterNodes: 1,
    cpuPercent: 41,
    problem: null,
  })
  t.same(cluster.inventory(), { wanted: 4, ready: 3, pods: 4, nodes: 2, usdPerHour: 0.0432 })
  t.ok(
    api.asked.has(
      '/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers?labelSelector=app.kubernetes.io/instance=app',
    ),
  )
})

t.test('it follows the autoscaler, the pods, the nodes and the NodeClaims', async (t) => {
  const { api, cluster, events, signal } = await start(t)
  await cluster.start(signal)
  api.replicas = () => ({ desired: 3, ready: 2 })
  await until(
    t,
    () => cluster.sample().podsPending === 1 && cluster.sample().wanted === 3,
    'a pod is pending',
  )
  api.claims = [{ metadata: { name: 'default-x' } }]
  api.nodes = [...api.nodes, fakeNode('node-2', { karpenter: true })]
  await until(t, () => cluster.sample().karpenterNodes === 1, 'a node joins')
  api.replicas = () => ({ desired: 3, ready: 3 })
  await until(t, () => cluster.sample().ready === 3 && events.includes('new pod ready'), 'the pod is ready')
  api.replicas = () => ({ desired: 2, ready: 2 })
  api.nodes = api.nodes.slice(0, 1)
  await until(t, () => cluster.sample().ready === 2 && cluster.sample().nodes === 1, 'it scales down')
  api.claims = []
  await sleep(200)
  await until(t, () => events.includes('pod: pod app-2 is gone'), 'the pod is gone')
  for (const event of [
    'scale: the autoscaler wants 3 replicas instead of 2',
    'node: Karpenter launches a node for NodeClaim default-x',
    'node: node node-2 (t3a.small) is ready',
    'scale: the autoscaler wants 2 replicas instead of 3',
    'node: node node-2 is gone',
  ]) {
    t.ok(events.includes(event), event)
  }
  t.match(
    events.find((event) => event.includes('app-2 is ready')),
    /after it was created/,
  )
})

t.test('it recovers from a restart of the API server, and reports what happened meanwhile', async (t) => {
  const existing = { metadata: { name: 'existing' } }
  const { api, cluster, events, signal } = await start(t, (api) => {
    api.claims = [existing]
  })
  await cluster.start(signal)
  api.status = 500
  await until(
    t,
    () => cluster.sample().wanted === null && cluster.sample().ready === null,
    'the state is unknown',
  )
  t.match(cluster.sample(), { problem: /answers 500 when asked for release app/ })
  t.match(cluster.inventory(), { wanted: 2, pods: 2 }, 'the last known state')
  api.replicas = () => ({ desired: 3, ready: 3 })
  api.claims = [existing, { metadata: { name: 'meanwhile' } }]
  api.status = 200
  await until(
    t,
    () => cluster.sample().problem === null && cluster.sample().ready === 3,
    'the state is known again',
  )
  t.match(events[0], /^problem: the Kubernetes API .* answers 500/)
  t.ok(events.includes('problem: the Kubernetes API answers again'))
  t.ok(events.includes('scale: the autoscaler wants 3 replicas instead of 2'))
  t.ok(events.includes('node: Karpenter launches a node for NodeClaim meanwhile'))
  t.equal(
    events.filter((event) => event.includes('answers 500')).length,
    1,
    'one report for all kinds of objects',
  )
})

t.test('a cut connection and an expired version make it list the objects again', async (t) => {
  const { api, cluster, signal } = await start(t)
  await cluster.start(signal)
  await sleep(300)
  api.send('pods', { type: 'BOOKMARK', object: { metadata: { resourceVersion: '7' } } })
  api.send('pods', { type: 'ERROR', object: { code: 410, message: 'too old resource version' } })
  await sleep(2_000)
  t.equal(cluster.sample().problem, null, 'an expired version is no problem')
  api.disconnect()
  api.replicas = () => ({ desired: 3, ready: 3 })
  await until(
    t,
    () => cluster.sample().ready === 3 && cluster.inventory().pods === 3,
    'it knows the new state',
  )
  await until(t, () => cluster.sample().problem === null, 'no problem remains')
})

t.test('a context that must not see nodes, and a cluster without Karpenter, are fine', async (t) => {
  const { cluster, signal } = await start(t, (api) => {
    api.statuses = { nodes: 403, nodeclaims: 404 }
  })
  await cluster.start(signal)
  t.match(cluster.sample(), { wanted: 2, nodes: null, karpenterNodes: null })
  t.match(cluster.inventory(), { nodes: 0, usdPerHour: null })
  const failing = await start(t, (api) => {
    api.statuses = { nodes: 500 }
  })
  await t.rejects(failing.cluster.start(failing.signal), { message: /answers 500/ })
})

t.test('no ready replicas means zero, not unknown', async (t) => {
  const { cluster, signal } = await start(t, (api) => {
    api.replicas = () => ({ desired: 2, ready: 0 })
  })
  await cluster.start(signal)
  t.match(cluster.sample(), { wanted: 2, ready: 0 })
})

t.test('a release without an autoscaler is reported', async (t) => {
  const { api, cluster, signal } = await start(t, (api) => {
    api.deployed = false
  })
  const expected = {
    name: 'ActionableError',
    message: 'release app has no HorizontalPodAutoscaler in namespace shop',
    nextStep: /make deploy/,
  }
  await t.rejects(cluster.start(signal), expected)
  api.deployed = true
  await cluster.start(signal)
  // Until the watches have begun; otherwise the list already lacks the autoscaler.
  await sleep(500)
  api.deployed = false
  await until(
    t,
    () => cluster.sample().wanted === null && cluster.sample().ready === 0,
    'the autoscaler and the Deployment are deleted',
  )
  t.throws(() => cluster.autoscaler, expected)
  t.match(cluster.sample(), { problem: 'NotYetEvaluated', ready: 0 })
  t.match(cluster.inventory(), { wanted: 0 })
})

t.test('a refusal and an internal error of the API have different next steps', async (t) => {
  const { api, cluster, signal } = await start(t)
  api.status = 403
  await t.rejects(cluster.start(signal), { message: /answers 403/, nextStep: /context that may list/ })
  api.status = 500
  await t.rejects(cluster.start(signal), { message: /answers 500/, nextStep: /log of the API server/ })
})

t.test('an unreachable API is an error at the start', async (t) => {
  const { api, cluster, signal } = await start(t)
  await api.close()
  const message = new RegExp(`the Kubernetes API at ${api.url} does not answer: .*ECONNREFUSED`)
  await t.rejects(cluster.start(signal), { message, nextStep: /make up/ })
})

t.test('it waits for an autoscaler that has no metrics yet', async (t) => {
  const { api, cluster, events, signal } = await start(t)
  const { conditions } = api
  api.conditions = undefined
  await cluster.start(signal)
  const waiting = cluster.waitUntilActive(signal)
  t.match(cluster.sample(), { problem: 'NotYetEvaluated', wanted: null })
  api.conditions = conditions
  await waiting
  t.same(events, [], 'the first decision is no change')
})

t.test('an autoscaler that gets no metrics is reported with its condition', async (t) => {
  const { api, cluster, events, signal } = await start(t)
  await cluster.start(signal)
  const message =
    'the HPA was unable to compute the replica count: no metrics returned from resource metrics API'
  api.conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
    { type: 'ScalingActive', status: 'False', reason: 'FailedGetResourceMetric', message },
  ]
  await until(t, () => events.length > 0, 'an event')
  t.same(events, ['problem: the autoscaler does not scale: FailedGetResourceMetric'])
  await t.rejects(cluster.waitUntilActive(signal, -1), {
    message: `the autoscaler of release app does not scale (FailedGetResourceMetric): ${message}`,
    nextStep: /metrics-server/,
  })
})

t.test('it does not wait for a disabled autoscaler', async (t) => {
  const { cluster, signal } = await start(t, (api) => {
    api.conditions = [
      { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
      { type: 'ScalingActive', status: 'False', reason: 'ScalingDisabled', message: 'scaling is disabled' },
    ]
  })
  await cluster.start(signal)
  await t.rejects(cluster.waitUntilActive(signal), {
    message: /ScalingDisabled/,
    nextStep: /from 0 replicas/,
  })
})

t.test('a reason without a known next step refers to kubectl', async (t) => {
  const { cluster, signal } = await start(t, (api) => {
    api.conditions = [
      { type: 'AbleToScale', status: 'False', reason: 'FailedGetScale', message: 'not found' },
    ]
  })
  await cluster.start(signal)
  const error = await cluster.waitUntilActive(signal, -1).catch((error: unknown) => error)
  t.ok(error instanceof ActionableError)
  t.match(error, { message: /FailedGetScale/, nextStep: /kubectl describe hpa --namespace shop/ })
})

t.test('an autoscaler with other metrics and without a minimum is supported', async (t) => {
  const metric = (name: string) => ({ metric: { name } })
  const { cluster, signal } = await start(t, (api) => {
    api.minReplicas = undefined
    api.metrics = [
      { type: 'Pods', pods: { ...metric('event_loop_utilization'), target: { averageValue: '700m' } } },
      { type: 'Object', object: { ...metric('requests'), target: { value: '2k' } } },
      { type: 'External', external: { ...metric('queue'), target: { averageValue: '30' } } },
      { type: 'Resource', resource: { name: 'memory', target: { averageValue: '100Mi' } } },
    ]
  })
  await cluster.start(signal)
  t.match(cluster.autoscaler, {
    minReplicas: 1,
    targets: [
      { metric: 'event_loop_utilization', target: 0.7, unit: '' },
      { metric: 'requests', target: 2_000, unit: '' },
      { metric: 'queue', target: 30, unit: '' },
    ],
  })
  t.match(cluster.sample(), { cpuPercent: null, wanted: 2, ready: 2 })
})

t.test('waiting ends when the condition holds, after the time limit, or on abort', async (t) => {
  const { api, cluster, signal } = await start(t)
  await cluster.start(signal)
  const waiting = cluster.waitUntil(signal, 15_000, ({ ready }) => ready === 1)
  api.replicas = () => ({ desired: 2, ready: 1 })
  t.match(await waiting, { ready: 1 })
  t.match(await cluster.waitUntil(AbortSignal.abort(), 15_000, () => false), { ready: 1 })
  t.match(await cluster.waitUntil(signal, 0, () => false), { ready: 1 })
  await cluster.waitUntilActive(AbortSignal.abort())
})

t.test('nothing is followed after an abort', async (t) => {
  const { api, cluster } = await start(t)
  await cluster.start(AbortSignal.abort())
  await sleep(300)
  t.notOk([...api.asked].some((path) => path.includes('watch=true')))
})

t.test('a context without a cluster is reported', async (t) => {
  const config = new KubeConfig()
  config.loadFromOptions({ clusters: [], users: [], contexts: [], currentContext: 'gone' })
  t.throws(() => new Cluster(config, 'shop', 'app'), { message: 'the context gone has no cluster' })
})
