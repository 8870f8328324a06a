import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CoreV1Api, KubeConfig, type V1ContainerStatus, type V1Pod } from '@kubernetes/client-node'
import t from 'tap'
import { describeAilment, diagnose } from './workload.ts'

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

t.test('an image that cannot be pulled is beyond help', async (t) => {
  const waiting = { reason: 'ImagePullBackOff', message: 'Back-off pulling image "a:b"' }
  t.strictSame(diagnose(pod({ state: { waiting } })), {
    pod: 'app-1',
    reason: 'ImagePullBackOff',
    message: 'Back-off pulling image "a:b"',
    final: true,
  })
})

t.test('a crash is told with its exit code and leads to the log of the life that ended', async (t) => {
  const crashed = pod({
    state: { waiting: { reason: 'CrashLoopBackOff' } },
    lastState: { terminated: { exitCode: 1, reason: 'Error' } },
  })
  t.strictSame(diagnose(crashed), {
    pod: 'app-1',
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
  const lines = await describeAilment(kubeConfig.makeApiClient(CoreV1Api), 'ns', {
    pod: 'app-1',
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
