import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  CoreV1Api,
  KubeConfig,
  type V1ContainerStatus,
  type V1Deployment,
  type V1Pod,
  type V1ReplicaSet,
} from '@kubernetes/client-node'
import t from 'tap'
import {
  currentReplicaSet,
  describeDiagnosis,
  diagnose,
  diagnoseMigration,
  diagnoseReplicaSet,
} from './diagnosis.ts'

function pod(container: Partial<V1ContainerStatus>, rest: Partial<V1Pod> = {}): V1Pod {
  const status: V1ContainerStatus = {
    name: 'app',
    image: 'i',
    imageID: '',
    ready: false,
    restartCount: 0,
    ...container,
  }
  return { metadata: { name: 'app-1' }, status: { containerStatuses: [status] }, ...rest }
}

t.test('a ready pod has nothing', async (t) => {
  t.equal(diagnose(pod({ ready: true, state: { running: {} } })), undefined)
  t.equal(
    diagnose(pod({ state: { waiting: { reason: 'ContainerCreating' } } })),
    undefined,
    'nor a starting one',
  )
})

t.test('an image that cannot be pulled is a final failure', async (t) => {
  const waiting = { reason: 'ImagePullBackOff', message: 'Back-off pulling image "a:b"' }
  t.strictSame(diagnose(pod({ state: { waiting } })), {
    kind: 'pod',
    name: 'app-1',
    reason: 'ImagePullBackOff',
    message: 'Back-off pulling image "a:b"',
    final: true,
  })
})

t.test('a Secret that is not there, or lacks a key, is named', async (t) => {
  for (const message of ['secret "urls" not found', "couldn't find key REDIS_URL in Secret shop/urls"]) {
    const waiting = { reason: 'CreateContainerConfigError', message }
    t.match(diagnose(pod({ state: { waiting } })), { message, final: true, missingSecret: 'urls' })
  }
  const waiting = { reason: 'CreateContainerConfigError', message: 'configmap "a" not found' }
  t.notHas(diagnose(pod({ state: { waiting } })), 'missingSecret')
})

t.test('a crash is told with its exit code and leads to the log of the life that ended', async (t) => {
  const crashed = pod({
    state: { waiting: { reason: 'CrashLoopBackOff' } },
    lastState: { terminated: { exitCode: 1, reason: 'Error' } },
  })
  t.strictSame(diagnose(crashed), {
    kind: 'pod',
    name: 'app-1',
    reason: 'CrashLoopBackOff',
    message: 'the container exited with code 1',
    final: true,
    logs: { container: 'app', previous: true },
  })
})

t.test('a container killed for its memory is told as such', async (t) => {
  const killed = pod({ state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } })
  t.match(diagnose(killed), { reason: 'OOMKilled', logs: { previous: false } })
})

t.test('a container that runs without getting ready leads to its log, and may still heal', async (t) => {
  t.match(diagnose(pod({ state: { running: {} } })), {
    reason: 'NotReady',
    final: false,
    logs: { container: 'app', previous: false },
  })
})

t.test('a pod without a node may still get one', async (t) => {
  const conditions = [
    { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes are available' },
  ]
  t.match(diagnose({ metadata: { name: 'app-1' }, status: { conditions } }), {
    reason: 'Unschedulable',
    message: '0/1 nodes are available',
    final: false,
  })
})

t.test('a pod on its way out is nobody’s concern', async (t) => {
  const leaving = pod({ state: { running: {} } }, { metadata: { deletionTimestamp: new Date() } })
  t.equal(diagnose(leaving), undefined)
})

/** A pod of a migration, the n-th that was made. */
function migrationPod(n: number, phase: string, state: V1ContainerStatus['state'] = {}): V1Pod {
  const { status } = pod({ name: 'migration', state })
  return {
    metadata: { name: `migration-${n}`, creationTimestamp: new Date(n * 1000) },
    status: { ...status, phase },
  }
}
const failed = { terminated: { exitCode: 1, reason: 'Error', message: 'waiting\nno such table' } }
const none = new Set<string>()

t.test('a migration that failed is told by its newest pod, with the log that says why', async (t) => {
  const pods = [migrationPod(2, 'Failed', failed), migrationPod(1, 'Failed', failed)]
  t.strictSame(diagnoseMigration(pods, none), {
    pending: true,
    diagnosis: {
      kind: 'migration',
      name: 'migration-2',
      reason: 'Crashed',
      message: 'the container exited with code 1: waiting\nno such table',
      final: false,
      logs: { container: 'migration', previous: false },
    },
  })
})

t.test('while a migration tries again, nothing is wrong yet and nothing else counts', async (t) => {
  const again = migrationPod(2, 'Pending', { waiting: { reason: 'ContainerCreating' } })
  t.strictSame(diagnoseMigration([migrationPod(1, 'Failed', failed), again], none), { pending: true })
})

t.test('a migration that succeeded, or that there is none of, leaves the stage to the rollout', async (t) => {
  const done = migrationPod(1, 'Succeeded', { terminated: { exitCode: 0, reason: 'Completed' } })
  t.strictSame(diagnoseMigration([done], none), { pending: false })
  t.strictSame(diagnoseMigration([], none), { pending: false })
})

t.test('what an earlier deployment left behind is not this one’s failure', async (t) => {
  const left = migrationPod(1, 'Failed', failed)
  t.strictSame(diagnoseMigration([left], new Set(['migration-1'])), { pending: false })
})

t.test('the description holds the last events in order and the last lines logged', async (t) => {
  const event = (message: string, time: string) => ({
    metadata: {},
    involvedObject: {},
    type: 'Warning',
    reason: 'Failed',
    message,
    lastTimestamp: time,
  })
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x')
    if (url.pathname.endsWith('/log')) {
      t.strictSame(
        [url.searchParams.get('previous'), url.searchParams.get('tailLines')],
        ['true', '20'],
        'the log of the life that ended, in short',
      )
      response.setHeader('content-type', 'text/plain').end('first\nlast\n')
    } else {
      t.equal(url.searchParams.get('fieldSelector'), 'involvedObject.name=app-1')
      const items = [event('newer', '2026-01-01T00:00:02Z'), event('older', '2026-01-01T00:00:01Z')]
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ items }))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const kubeConfig = new KubeConfig()
  kubeConfig.loadFromClusterAndUser(
    { name: 'c', skipTLSVerify: true, server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    { name: 'u' },
  )
  const lines = await describeDiagnosis(kubeConfig.makeApiClient(CoreV1Api), 'ns', {
    kind: 'pod',
    name: 'app-1',
    reason: 'CrashLoopBackOff',
    message: 'the container exited with code 1',
    final: true,
    logs: { container: 'app', previous: true },
  })
  t.strictSame(lines, [
    'pod app-1: CrashLoopBackOff: the container exited with code 1',
    '  last events:',
    '    Warning Failed: older',
    '    Warning Failed: newer',
    '  last lines logged before it ended:',
    '    first',
    '    last',
  ])
})

function deployment(observedGeneration: number): V1Deployment {
  return {
    metadata: { uid: 'd', generation: 4, annotations: { 'deployment.kubernetes.io/revision': '2' } },
    status: { observedGeneration },
  }
}

function replicaSet(revision: string, owner = 'd'): V1ReplicaSet {
  return {
    metadata: {
      name: `app-${owner}${revision}`,
      annotations: { 'deployment.kubernetes.io/revision': revision },
      ownerReferences: [{ uid: owner, apiVersion: 'apps/v1', kind: 'Deployment', name: 'app' }],
    },
  }
}

t.test('a rollout is judged by the pods of its own template, not by those it replaces', async (t) => {
  const sets = [replicaSet('1'), replicaSet('2', 'other'), replicaSet('2')]
  t.equal(currentReplicaSet(deployment(4), sets)?.metadata?.name, 'app-d2')
})

t.test('before the controller has seen the new template, no pod is of it', async (t) => {
  t.equal(currentReplicaSet(deployment(3), [replicaSet('1'), replicaSet('2')]), undefined)
})

t.test('pods that nobody lets the controller make are told with the refusal', async (t) => {
  const condition = { type: 'ReplicaFailure', reason: 'FailedCreate', message: 'violates PodSecurity' }
  const failing = {
    ...replicaSet('2'),
    status: { replicas: 0, conditions: [{ ...condition, status: 'True' }] },
  }
  t.strictSame(diagnoseReplicaSet(failing), {
    kind: 'replica set',
    name: 'app-d2',
    reason: 'FailedCreate',
    message: 'violates PodSecurity',
    final: true,
  })
  const healed = {
    ...replicaSet('2'),
    status: { replicas: 0, conditions: [{ ...condition, status: 'False' }] },
  }
  t.equal(diagnoseReplicaSet(healed), undefined)
})

t.test('events and logs that cannot be read do not stand in the way', async (t) => {
  const kubeConfig = new KubeConfig()
  // Port 9 is "discard": nobody listens there.
  kubeConfig.loadFromClusterAndUser(
    { name: 'c', skipTLSVerify: true, server: 'http://127.0.0.1:9' },
    { name: 'u' },
  )
  const lines = await describeDiagnosis(kubeConfig.makeApiClient(CoreV1Api), 'ns', {
    kind: 'pod',
    name: 'app-1',
    reason: 'Crashed',
    message: 'the container exited with code 1',
    final: false,
    logs: { container: 'app', previous: false },
  })
  t.match(lines[2], /they cannot be read/)
  t.match(lines[4], /its log cannot be read/)
})
