import type { V1Pod } from '@kubernetes/client-node'
import t from 'tap'
import { Pods } from './pods.ts'

const start = 1_800_000_000_000
const at = (second: number) => start + second * 1_000

const status = (isTrue: boolean) => (isTrue ? 'True' : 'False')

function pod(
  name: string,
  {
    scheduled = true,
    running = false,
    ready = false,
    phase = 'Running',
    unschedulable = false,
    terminating = false,
  } = {},
): V1Pod {
  return {
    metadata: {
      name,
      uid: name,
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'app', uid: 'app' }],
      ...(terminating && { deletionTimestamp: new Date(start) }),
    },
    status: {
      phase,
      conditions: [
        {
          type: 'PodScheduled',
          status: status(scheduled),
          ...(unschedulable && { reason: 'Unschedulable' }),
        },
        { type: 'Ready', status: status(ready) },
      ],
      containerStatuses: [
        {
          name: 'app',
          image: 'app',
          imageID: 'app',
          ready,
          restartCount: 0,
          state: running ? { running: {} } : {},
        },
      ],
    },
  }
}

t.test('the steps of a new pod have times', async (t) => {
  const pods = new Pods()
  pods.begin([pod('old', { ready: true })], at(0))
  const waiting = { scheduled: false, phase: 'Pending', unschedulable: true }
  t.same(pods.set(pod('new', { scheduled: false, phase: 'Pending' }), at(10)), [])
  t.match(pods.set(pod('new', waiting), at(10)), [{ kind: 'pod', text: 'pod new waits for a node' }])
  t.same(pods.set(pod('new', waiting), at(11)), [])
  t.equal(pods.count, 2)
  t.equal(pods.pending, 1)
  t.same(pods.set(pod('new'), at(40)), [])
  t.same(pods.set(pod('new', { running: true }), at(42)), [])
  t.match(pods.set(pod('new', { running: true, ready: true }), at(43.5)), [
    {
      text: 'pod new is ready 33.5 s after it was created (scheduled 30.0 s, started 32.0 s)',
      isNewAndReady: true,
    },
  ])
  t.equal(pods.pending, 0)
  t.same(pods.set(pod('new', { running: true, ready: true }), at(44)), [])
  t.match(pods.set(pod('fast', { ready: true }), at(50)), [
    { text: 'pod fast is ready 0.0 s after it was created (scheduled 0.0 s, started 0.0 s)' },
  ])
})

t.test('a pod that existed before is not new', async (t) => {
  const pods = new Pods()
  pods.begin([pod('old')], at(0))
  t.match(pods.set(pod('old', { ready: true }), at(1)), [{ text: 'pod old is ready', isNewAndReady: false }])
  t.match(pods.set(pod('old'), at(2)), [{ kind: 'problem', text: 'pod old is no longer ready' }])
  t.same(pods.set(pod('old', { ready: true }), at(3)), [], 'ready again')
  t.same(
    pods.set(pod('old', { terminating: true }), at(4)),
    [],
    'a pod that terminates is meant to be unready',
  )
})

t.test('pods that are gone are forgotten, also if their deletion was missed', async (t) => {
  const pods = new Pods()
  pods.begin([pod('a', { ready: true }), pod('b', { ready: true }), pod('c', { ready: true })], at(0))
  t.match(pods.remove(pod('a')), [{ text: 'pod a is gone' }])
  t.same(pods.remove(pod('a')), [])
  t.match(pods.replace([pod('c', { ready: true }), pod('d')], at(9)), [{ text: 'pod b is gone' }])
  t.match(pods.set(pod('c', { phase: 'Failed' }), at(10)), [{ text: 'pod c is gone' }])
  t.equal(pods.count, 1)
})

t.test('pods of Jobs do not count', async (t) => {
  const pods = new Pods()
  t.same(pods.set({ metadata: { name: 'migration', uid: 'm' }, status: { phase: 'Running' } }, at(0)), [])
  t.same(pods.set({}, at(0)), [])
  t.same(pods.remove({}), [])
  t.equal(pods.count, 0)
})
