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
  diagnoseMigration,
  diagnosePod,
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

t.test('a ready pod has no diagnosis', async (t) => {
  t.equal(diagnosePod(pod({ ready: true, state: { running: {} } })), undefined)
  t.equal(
    diagnosePod(pod({ state: { waiting: { reason: 'ContainerCreating' } } })),
    undefined,
    'nor a starting one',
  )
})

t.test('an image that cannot be pulled is a permanent failure', async (t) => {
  const waiting = { reason: 'ImagePullBackOff', message: 'Back-off pulling image "a:b"' }
  t.strictSame(diagnosePod(pod({ state: { waiting } })), {
    kind: 'pod',
    name: 'app-1',
    reason: 'ImagePullBackOff',
    message: 'Back-off pulling image "a:b"',
    permanent: true,
  })
})

t.test('a missing Secret, or one that lacks a key, is named', async (t) => {
  for (const message of ['secret "urls" not found', "couldn't find key REDIS_URL in Secret shop/urls"]) {
    const waiting = { reason: 'CreateContainerConfigError', message }
    t.match(diagnosePod(pod({ state: { waiting } })), { message, permanent: true, missingSecret: 'urls' })
  }
  const waiting = { reason: 'CreateContainerConfigError', message: 'configmap "a" not found' }
  t.notHas(diagnosePod(pod({ state: { waiting } })), 'missingSecret')
})

t.test('a crash is reported with its exit code and the log of the previous container', async (t) => {
  const crashed = pod({
    state: { waiting: { reason: 'CrashLoopBackOff' } },
    lastState: { terminated: { exitCode: 1, reason: 'Error' } },
  })
  t.strictSame(diagnosePod(crashed), {
    kind: 'pod',
    name: 'app-1',
    reason: 'CrashLoopBackOff',
    message: 'the container exited with code 1',
    permanent: true,
    logs: { container: 'app', previous: true },
  })
})

t.test('a container that was killed for its memory use is reported as OOMKilled', async (t) => {
  const killed = pod({ state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } })
  t.match(diagnosePod(killed), { reason: 'OOMKilled', logs: { previous: false } })
})

t.test('a running container that is not ready points to its log, and may still recover', async (t) => {
  t.match(diagnosePod(pod({ state: { running: {} } })), {
    reason: 'NotReady',
    permanent: false,
    logs: { container: 'app', previous: false },
  })
})

t.test('an unschedulable pod may still get a node', async (t) => {
  const conditions = [
    { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes are available' },
  ]
  t.match(diagnosePod({ metadata: { name: 'app-1' }, status: { conditions } }), {
    reason: 'Unschedulable',
    message: '0/1 nodes are available',
    permanent: false,
  })
})

t.test('a terminating pod is ignored', async (t) => {
  const leaving = pod({ state: { running: {} } }, { metadata: { deletionTimestamp: new Date() } })
  t.equal(diagnosePod(leaving), undefined)
})

/** The nth pod of a migration. */
function migrationPod(n: number, phase: string, state: V1ContainerStatus['state'] = {}): V1Pod {
  const { status } = pod({ name: 'migration', state })
  return {
    metadata: { name: `migration-${n}`, creationTimestamp: new Date(n * 1000) },
    status: { ...status, phase },
  }
}
const failed = { terminated: { exitCode: 1, reason: 'Error', message: 'waiting\nno such table' } }
const none = new Set<string>()

t.test('a failed migration is diagnosed by its newest pod, with its log', async (t) => {
  const pods = [migrationPod(2, 'Failed', failed), migrationPod(1, 'Failed', failed)]
  t.strictSame(diagnoseMigration(pods, none), {
    pending: true,
    diagnosis: {
      kind: 'migration',
      name: 'migration-2',
      reason: 'Crashed',
      message: 'the container exited with code 1: waiting\nno such table',
      permanent: false,
      logs: { container: 'migration', previous: false },
    },
  })
})

t.test('while a migration retries, it is pending without a diagnosis', async (t) => {
  const again = migrationPod(2, 'Pending', { waiting: { reason: 'ContainerCreating' } })
  t.strictSame(diagnoseMigration([migrationPod(1, 'Failed', failed), again], none), { pending: true })
})

t.test('a migration that succeeded or does not exist is not pending', async (t) => {
  const done = migrationPod(1, 'Succeeded', { terminated: { exitCode: 0, reason: 'Completed' } })
  t.strictSame(diagnoseMigration([done], none), { pending: false })
  t.strictSame(diagnoseMigration([], none), { pending: false })
})

t.test('pods of an earlier deployment are ignored', async (t) => {
  const left = migrationPod(1, 'Failed', failed)
  t.strictSame(diagnoseMigration([left], new Set(['migration-1'])), { pending: false })
})

t.test('the description contains the last events in order and the last log lines', async (t) => {
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
        'the last lines of the previous container',
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
    permanent: true,
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

t.test('only the ReplicaSet of the current template matters', async (t) => {
  const sets = [replicaSet('1'), replicaSet('2', 'other'), replicaSet('2')]
  t.equal(currentReplicaSet(deployment(4), sets)?.metadata?.name, 'app-d2')
})

t.test('there is no current ReplicaSet until the controller has processed the template', async (t) => {
  t.equal(currentReplicaSet(deployment(3), [replicaSet('1'), replicaSet('2')]), undefined)
})

t.test('pods that cannot be created are reported with the reason', async (t) => {
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
    permanent: true,
  })
  const recovered = {
    ...replicaSet('2'),
    status: { replicas: 0, conditions: [{ ...condition, status: 'False' }] },
  }
  t.equal(diagnoseReplicaSet(recovered), undefined)
})

t.test('events and logs that cannot be read do not make the diagnosis fail', async (t) => {
  const kubeConfig = new KubeConfig()
  // Nothing listens on port 9 (discard).
  kubeConfig.loadFromClusterAndUser(
    { name: 'c', skipTLSVerify: true, server: 'http://127.0.0.1:9' },
    { name: 'u' },
  )
  const lines = await describeDiagnosis(kubeConfig.makeApiClient(CoreV1Api), 'ns', {
    kind: 'pod',
    name: 'app-1',
    reason: 'Crashed',
    message: 'the container exited with code 1',
    permanent: false,
    logs: { container: 'app', previous: false },
  })
  t.match(lines[2], /\(cannot be read/)
  t.match(lines[4], /the log cannot be read/)
})
