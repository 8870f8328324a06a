import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { V1Pod, V1PodSpec, V2HorizontalPodAutoscaler } from '@kubernetes/client-node'
import t, { type Test } from 'tap'
import { ComparedRelease, unsettled } from './compared-release.ts'
import { DEFAULT_SETTING } from './plan.ts'

const byRequests = {
  type: 'Pods',
  pods: { metric: { name: 'http_requests_per_second' }, target: { type: 'AverageValue', averageValue: '7' } },
}
const requestsValue = {
  type: 'Pods',
  pods: { metric: { name: 'http_requests_per_second' }, current: { averageValue: '300m' } },
}
const cpuValue = { type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: 5 } } }

/** An autoscaler of a release that scales by requests. */
function autoscaler(status: Partial<V2HorizontalPodAutoscaler['status']>): V2HorizontalPodAutoscaler {
  return {
    spec: {
      minReplicas: 2,
      maxReplicas: 10,
      scaleTargetRef: { kind: 'Deployment', name: 'fastify-app' },
      metrics: [byRequests],
    },
    status: {
      currentReplicas: 2,
      desiredReplicas: 2,
      conditions: [],
      currentMetrics: [requestsValue],
      ...status,
    },
  }
}

/** A pod of the release. */
const pod = (name: string, isReady: boolean): V1Pod => ({
  metadata: { name },
  spec: { containers: [{ name: 'app' }] },
  status: { conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }] },
})

/**
 * A cluster with an autoscaler, pods and API groups, and a Helm that records its arguments and its input. `history` is what it
 * lists; a subcommand that `failing` names fails.
 */
async function startCluster(t: Test, { history = [{ revision: 4, status: 'deployed' }], failing = '' } = {}) {
  const state = {
    autoscalers: [autoscaler({})],
    pods: [] as V1Pod[],
    groups: ['custom.metrics.k8s.io'],
    status: 200,
    /** Changes of pods: the name, and the new CPU limit. */
    resized: [] as string[],
  }
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://x')
    const respond = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (request.method === 'PATCH') {
      const name = /\/pods\/(.*)\/resize$/.exec(pathname)?.[1] ?? ''
      if (name === 'deleted') return respond(404, {})
      const patch = (await json(request)) as { spec: V1PodSpec }
      state.resized.push(`${name} ${patch.spec.containers[0]?.resources?.limits?.['cpu']}`)
      return respond(200, {})
    }
    if (pathname === '/apis') {
      return respond(state.status, { groups: state.groups.map((name) => ({ name, versions: [] })) })
    }
    return respond(state.status, { items: pathname.endsWith('/pods') ? state.pods : state.autoscalers })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const directory = t.testdir({
    kubeconfig: JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user: {} }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
    asked: '',
  })
  const helm = join(directory, 'helm')
  writeFileSync(
    helm,
    `#!/bin/sh
if test "$1" = history; then echo '${JSON.stringify(history)}'; exit; fi
echo "$*" >> ${directory}/asked
test "$1" != upgrade || cat > ${directory}/values
test "$1" != "${failing}" || { echo "Error: UPGRADE FAILED: no quota" >&2; exit 1; }
`,
  )
  chmodSync(helm, 0o755)
  const read = (file: string) => readFileSync(join(directory, file), 'utf8')
  return {
    state,
    find: () => ComparedRelease.find(helm, { from: 'box', kubeconfig: join(directory, 'kubeconfig') }),
    /** Helm's commands, except those that list the history. */
    asked: () => read('asked').split('\n').slice(0, -1),
    values: () => JSON.parse(read('values')),
  }
}

const never = new AbortController().signal

t.test(
  'a signal is deployed on top of the values of the release, without a limit of its history',
  async (t) => {
    const { find, asked, values } = await startCluster(t)
    const release = await find()
    await release.deploy('requests', DEFAULT_SETTING, never)
    t.match(
      asked()[0],
      /^upgrade fastify-app \S+ --reset-then-reuse-values --values - .*--history-max 0 --wait/,
    )
    t.match(values(), {
      autoscaling: { targetCPUUtilizationPercentage: 0, targetRequestsPerSecond: 7 },
      podAnnotations: { 'compare-signals': 'resized' },
    })
  },
)

t.test('the revision from before the comparison is restored', async (t) => {
  const { find, asked } = await startCluster(t)
  const release = await find()
  await release.deploy('cpu', DEFAULT_SETTING, never)
  await release.deploy('elu', DEFAULT_SETTING, never)
  await release.restore()
  t.match(asked()[2], /^rollback fastify-app 4 --wait/)
})

t.test('a release is also restored after a deployment that failed', async (t) => {
  const { find, asked } = await startCluster(t, { failing: 'upgrade' })
  const release = await find()
  await t.rejects(release.deploy('cpu', DEFAULT_SETTING, never), {
    message: 'the release could not be deployed with the signal cpu: no quota',
  })
  await release.restore()
  t.match(asked()[1], /^rollback fastify-app 4 --wait/)
})

t.test('each pod is limited once, when it is ready', async (t) => {
  const { find, state } = await startCluster(t)
  state.pods = [pod('ready', true), pod('starting', false), pod('deleted', true)]
  const stop = new AbortController()
  const limiting = (await find()).limitReadyPods('220m', stop.signal)
  const until = async (count: number) => {
    while (state.resized.length < count) await sleep(10)
  }
  await until(1)
  state.pods = [pod('ready', true), pod('starting', true)]
  await until(2)
  stop.abort()
  await limiting
  t.strictSame(state.resized, ['ready 220m', 'starting 220m'])
})

t.test('a cluster that cannot be read ends the limiting of pods', async (t) => {
  const { find, state } = await startCluster(t)
  const release = await find()
  state.status = 500
  await t.rejects(release.limitReadyPods('220m', never), { message: /^the cluster cannot be read/ })
})

t.test('a release that was not changed is not restored', async (t) => {
  const { find, asked } = await startCluster(t)
  await (await find()).restore()
  t.strictSame(asked(), [])
})

t.test('a release that cannot be restored is an error', async (t) => {
  const { find } = await startCluster(t, { failing: 'rollback' })
  const release = await find()
  await release.deploy('cpu', DEFAULT_SETTING, never)
  await t.rejects(release.restore(), { message: /^the previous revision could not be restored/ })
})

t.test('the comparison needs a release that is at rest', async (t) => {
  const pending = await startCluster(t, { history: [{ revision: 5, status: 'pending-upgrade' }] })
  await t.rejects(pending.find(), { message: 'revision 5 of the release fastify-app is pending-upgrade' })
  const none = await startCluster(t, { history: [] })
  await t.rejects(none.find(), {
    message: 'the release fastify-app is not deployed',
    nextStep: /make deploy/,
  })
})

t.test('signals other than cpu need the adapter', async (t) => {
  const { find, state } = await startCluster(t)
  const release = await find()
  await release.requireMetrics(['cpu', 'elu'])
  state.groups = ['apps']
  await release.requireMetrics(['cpu'])
  await t.rejects(release.requireMetrics(['cpu', 'cpu+elu']), {
    message: 'the cluster has no metrics for the signals elu and requests',
  })
})

t.test('a release that does not settle is reported with what is missing', async (t) => {
  const { find, state } = await startCluster(t)
  const release = await find()
  await release.awaitSettled(never, 0)
  state.autoscalers = [autoscaler({ currentMetrics: [] })]
  await t.rejects(release.awaitSettled(never, 0), {
    message: 'the autoscaler has no value of http_requests_per_second after 0 s',
  })
  await release.awaitSettled(AbortSignal.abort(), 0)
  state.status = 503
  await t.rejects(release.awaitSettled(never, 0), { message: /^the cluster cannot be read/ })
})

t.test('the autoscaler has settled with a value of each of its metrics, at the minimum', async (t) => {
  t.equal(unsettled(autoscaler({})), undefined)
  t.equal(
    unsettled(autoscaler({ currentMetrics: [cpuValue, requestsValue] })),
    undefined,
    'it may still have a value of the signal before',
  )
})

t.test('values of the signal before are not enough', async (t) => {
  const problem = 'the autoscaler has no value of http_requests_per_second'
  t.equal(unsettled(autoscaler({ currentMetrics: [cpuValue] })), problem)
  t.equal(unsettled(autoscaler({ currentMetrics: [{ type: '' }] })), problem, 'the metric cannot be read')
  const { status: _, ...unevaluated } = autoscaler({})
  t.equal(unsettled(unevaluated), problem, 'it was never evaluated')
})

t.test('more replicas than the minimum are not settled', async (t) => {
  t.equal(
    unsettled(autoscaler({ currentReplicas: 4, desiredReplicas: 2 })),
    'the autoscaler has 4 replicas and wants 2 instead of 2',
  )
  t.match(unsettled(autoscaler({ desiredReplicas: 3 })), 'wants 3')
  t.equal(unsettled(undefined), 'the release has no autoscaler')
})
