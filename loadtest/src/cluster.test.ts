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

t.test('no ready replicas means zero, not unknown', async (t) => {
  const { api, cluster } = await start(t)
  api.replicas = () => ({ desired: 2, ready: 0 })
  t.match(await cluster.sample(), { desired: 2, ready: 0 })
})

t.test('a release without an autoscaler is reported', async (t) => {
  const { api, cluster } = await start(t)
  api.deployed = false
  await t.rejects(cluster.autoscaler(), {
    name: 'ActionableError',
    message: 'release app has no HorizontalPodAutoscaler in namespace shop',
    nextStep: /make deploy/,
  })
})

t.test('a refusal and an internal error of the API have different next steps', async (t) => {
  const { api, cluster } = await start(t)
  api.status = 403
  await t.rejects(cluster.autoscaler(), { message: /answers 403/, nextStep: /context that may list/ })
  api.status = 500
  await t.rejects(cluster.autoscaler(), { message: /answers 500/, nextStep: /log of the API server/ })
})

t.test('an unreachable API is an error at the start, and a problem in a sample', async (t) => {
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

t.test('an autoscaler that gets no metrics is reported with its condition', async (t) => {
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

t.test('it does not wait for a disabled autoscaler', async (t) => {
  const { api, cluster } = await start(t)
  api.conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededGetScale', message: '' },
    { type: 'ScalingActive', status: 'False', reason: 'ScalingDisabled', message: 'scaling is disabled' },
  ]
  await t.rejects(cluster.waitUntilActive(never), { message: /ScalingDisabled/, nextStep: /from 0 replicas/ })
})

t.test('a reason without a known next step refers to kubectl', async (t) => {
  const { api, cluster } = await start(t)
  api.conditions = [{ type: 'AbleToScale', status: 'False', reason: 'FailedGetScale', message: 'not found' }]
  const error = await cluster.waitUntilActive(never, -1).catch((error: unknown) => error)
  t.ok(error instanceof ActionableError)
  t.match(error, { message: /FailedGetScale/, nextStep: /kubectl describe hpa --namespace shop/ })
})

t.test('an autoscaler with another metric and without a minimum is supported', async (t) => {
  const { api, cluster } = await start(t)
  api.metric = 'memory'
  api.minReplicas = undefined
  t.match(await cluster.autoscaler(), { minReplicas: 1, maxReplicas: 10, targetPercent: null })
  t.match(await cluster.sample(), { cpuPercent: null, desired: 2, ready: 2 })
})

t.test('watching ends when the callback is satisfied, or on abort', async (t) => {
  const { api, cluster } = await start(t)
  let samples = 0
  api.replicas = () => ({ desired: 3, ready: samples })
  const last = await cluster.watch(never, ({ ready }) => {
    samples++
    return ready === 1
  })
  t.match(last, { ready: 1 })
  t.equal(samples, 2)
  t.match(await cluster.watch(AbortSignal.abort(), () => false), { ready: 2 })
  await cluster.waitUntilActive(AbortSignal.abort())
})

t.test('a context without a cluster is reported', async (t) => {
  const config = new KubeConfig()
  config.loadFromOptions({ clusters: [], users: [], contexts: [], currentContext: 'gone' })
  t.throws(() => new Cluster(config, 'shop', 'app'), { message: 'the context gone has no cluster' })
})
