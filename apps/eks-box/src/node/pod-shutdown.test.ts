import t from 'tap'
import { endPods } from './pod-shutdown.ts'

const pod = (name: string, namespace: string, priority?: number) => ({
  metadata: { name, namespace, labels: { of: 'no interest' } },
  spec: { nodeName: 'node', ...(priority === undefined ? {} : { priority }) },
})

/** Records kubectl's commands, with the pods in their input. */
function recorder(pods: object[], failure?: Error) {
  const commands: string[] = []
  const kubectl = async (args: readonly string[], input?: string) => {
    const named = input === undefined ? [] : JSON.parse(input).items
    const names = named.map(
      ({ kind, metadata }: { kind: string; metadata: { name: string; namespace: string } }) =>
        `${kind} ${metadata.namespace}/${metadata.name}`,
    )
    commands.push([...args, ...names].join(' '))
    if (args[0] === 'delete' && failure !== undefined) throw failure
    return args[0] === 'get' ? JSON.stringify({ items: pods }) : ''
  }
  return { commands, kubectl }
}

t.test('no new pods, then the pods end, the critical ones last', async (t) => {
  const { commands, kubectl } = recorder([
    pod('karpenter', 'kube-system', 2_000_000_000),
    pod('web', 'shop'),
    pod('batch', 'default', 10),
    pod('agent', 'kube-system', 2_000_001_000),
  ])
  await endPods('node', kubectl)
  t.strictSame(commands, [
    'cordon node',
    'get pods --all-namespaces --field-selector=spec.nodeName=node --output=json',
    'delete --filename=- --ignore-not-found --timeout=120s Pod shop/web Pod default/batch',
    'delete --filename=- --ignore-not-found --timeout=30s Pod kube-system/karpenter Pod kube-system/agent',
  ])
})

t.test('a node without pods', async (t) => {
  const { commands, kubectl } = recorder([])
  await endPods('node', kubectl)
  t.equal(commands.length, 2)
})

t.test('a pod that does not end in time does not keep the others', async (t) => {
  t.capture(console, 'error')
  const { commands, kubectl } = recorder(
    [pod('web', 'shop'), pod('agent', 'kube-system', 2_000_001_000)],
    new Error('timed out'),
  )
  await endPods('node', kubectl)
  t.equal(commands.length, 4)
})
