import t from 'tap'
import { Nodes } from './nodes.ts'

function node(name: string, { type = 't3a.small', ready = true, karpenter = false } = {}) {
  const labels: Record<string, string> = { 'node.kubernetes.io/instance-type': type }
  if (karpenter) labels['karpenter.sh/nodepool'] = 'default'
  return {
    metadata: { name, labels },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  }
}

t.test('nodes join, have a price, and go', async (t) => {
  const nodes = new Nodes()
  t.same(nodes.replace([node('a')]), ['node a (t3a.small) is ready'])
  t.same(nodes.set(node('b', { type: 't4g.small', ready: false, karpenter: true })), [])
  t.same(nodes.set(node('b', { type: 't4g.small', karpenter: true })), ['node b (t4g.small) is ready'])
  t.same(nodes.set(node('b', { type: 't4g.small', karpenter: true, ready: false })), [])
  t.same(nodes.set(node('b', { type: 't4g.small', karpenter: true })), [], 'it was ready before')
  t.match(nodes, { count: 2, ofKarpenter: 1, usdPerHour: 0.0216 + 0.0192 })
  t.same(nodes.remove(node('b')), ['node b is gone'])
  t.same(nodes.remove(node('b')), [])
  t.same(nodes.replace([node('c')]), ['node a is gone', 'node c (t3a.small) is ready'])
})

t.test('a node of an unknown type makes the price unknown', async (t) => {
  const nodes = new Nodes()
  nodes.replace([node('a', { type: 'x9.huge' }), node('b')])
  t.equal(nodes.usdPerHour, null)
  t.same(new Nodes().set({}), [])
  t.same(
    nodes.set({ metadata: { name: 'bare' }, status: { conditions: [{ type: 'Ready', status: 'True' }] } }),
    ['node bare (of an unknown type) is ready'],
  )
})
