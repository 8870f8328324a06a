import { KubeConfig } from '@kubernetes/client-node'
import { ActionableError } from 'shared/errors'
import t, { type Test } from 'tap'
import { Cluster } from './cluster.ts'
import { type FakeCluster, kubeconfig, startCluster } from './test-servers.ts'

async function start(t: Test): Promise<{ api: FakeCluster; cluster: Cluster }> {
  const api = await startCluster()
  t.teardown(api.close)
  const config = new KubeConfig()
  config.loadFromString(kubeconfig(api.url))
  return { api, cluster: new Cluster(config, 'shop', 'app') }
}

const never = new AbortController().signal

t.test('finds the autoscaler of the release and samples it', async (t) => {
  const { api, cluster } = await start(t)
  api.replicas = () => ({ desired: 4, ready: 3 })
  t.same(await cluster.autoscaler(), {
    deployment: 'app',
    minReplicas: 2,
    maxReplicas: 10,
    targetPercent: 70,
  })
  t.match(await cluster.sample(), { time: Number, cpuPercent: 41, desired: 4, ready: 3, problem: null })
  t.same(
    [...api.asked],
    [
      '/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers?labelSelector=app.kubernetes.io/instance=app',
      '/apis/apps/v1/namespaces/shop/deployments/app',
    ],
  )
})

t.test('no ready replica is zero, not unknown', async (t) => {
  const { api, cluster } = await start(t)
  api.replicas = () => ({ desired: 2, ready: 0 })
  t.match(await cluster.sample(), { desired: 2, ready: 0 })
})

t.test('a release without autoscaler is named', async (t) => {
  const { api, cluster } = await start(t)
  api.deployed = false
  await t.rejects(cluster.autoscaler(), {
    name: 'ActionableError',
    message: 'release app has no HorizontalPodAutoscaler in namespace shop',
    nextStep: /make deploy/,
  })
})

t.test('an API that refuses or is broken is told apart', async (t) => {
  const { api, cluster } = await start(t)
  api.status = 403
  await t.rejects(cluster.autoscaler(), { message: /answers 403/, nextStep: /context that may see/ })
  api.status = 500
  await t.rejects(cluster.autoscaler(), { message: /answers 500/, nextStep: /log of the API server/ })
})

t.test('an API that has gone is an error at the start and a gap in the recording', async (t) => {
  const { api, cluster } = await start(t)
  await api.close()
  const message = new RegExp(`the Kubernetes API at ${api.url} does not answer: .*ECONNREFUSED`)
  await t.rejects(cluster.autoscaler(), { message, nextStep: /make up/ })
  t.match(await cluster.sample(), { cpuPercent: null, desired: null, ready: null, problem: message })
})

t.test('waits for an autoscaler that has no metrics yet', async (t) => {
  const { api, cluster } = await start(t)
  const { conditions } = api
  api.conditions = undefined
  const waiting = cluster.waitUntilActive(never)
  t.match(await cluster.sample(), { problem: 'NotYetEvaluated' })
  api.conditions = conditions
  await waiting
})

t.test('an autoscaler that stays without metrics is diagnosed', async (t) => {
  const { api, cluster } = await start(t)
  const message =
    'the HPA was unable to compute the replica count: no metrics returned from resource metrics API'
  api.conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
    { type: 'ScalingActive', status: 'False', reason: 'FailedGetResourceMetric', message },
  ]
  await t.rejects(cluster.waitUntilActive(never, -1), {
    message: `the autoscaler of release app does not scale (FailedGetResourceMetric): ${message}`,
    nextStep: /metrics-server/,
  })
})

t.test('an autoscaler that was switched off is not waited for', async (t) => {
  const { api, cluster } = await start(t)
  api.conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
    { type: 'ScalingActive', status: 'False', reason: 'ScalingDisabled', message: 'scaling is disabled' },
  ]
  await t.rejects(cluster.waitUntilActive(never), { message: /ScalingDisabled/, nextStep: /replicas again/ })
})

t.test('a reason without a known cure leads to kubectl', async (t) => {
  const { api, cluster } = await start(t)
  api.conditions = [{ type: 'AbleToScale', status: 'False', reason: 'FailedGetScale', message: 'not found' }]
  const error = await cluster.waitUntilActive(never, -1).catch((error: unknown) => error)
  t.ok(error instanceof ActionableError)
  t.match(error, { message: /FailedGetScale/, nextStep: /kubectl describe hpa --namespace shop/ })
})

t.test('an autoscaler with another target and no minimum is watched all the same', async (t) => {
  const { api, cluster } = await start(t)
  api.metric = 'memory'
  api.minReplicas = undefined
  t.match(await cluster.autoscaler(), { minReplicas: 1, maxReplicas: 10, targetPercent: null })
  t.match(await cluster.sample(), { cpuPercent: null, desired: 2, ready: 2 })
})

t.test('watching ends when enough was seen, or at a stop', async (t) => {
  const { api, cluster } = await start(t)
  let looks = 0
  api.replicas = () => ({ desired: 3, ready: looks })
  const last = await cluster.watch(never, ({ ready }) => {
    looks++
    return ready === 1
  })
  t.match(last, { ready: 1 })
  t.equal(looks, 2)
  t.match(await cluster.watch(AbortSignal.abort(), () => false), { ready: 2 })
  await cluster.waitUntilActive(AbortSignal.abort())
})

t.test('a context without a cluster is refused', async (t) => {
  const config = new KubeConfig()
  config.loadFromOptions({ clusters: [], users: [], contexts: [], currentContext: 'gone' })
  t.throws(() => new Cluster(config, 'shop', 'app'), { message: 'context gone leads to no cluster' })
})
