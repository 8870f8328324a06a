import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { parse } from 'yaml'
import { deployment, foundation, nodePool, SIMULATION } from './manifests.ts'

t.test('only the simulation’s pods can run on simulated nodes', async (t) => {
  const pool = nodePool(['c6g.large'])
  const [taint] = (pool['spec'] as { template: { spec: { taints: { key: string }[] } } }).template.spec.taints
  t.match(taint, { effect: 'NoSchedule' })
  const manifest = deployment(20, { nodes: 2, pods: 20 })
  t.match(manifest, {
    kind: 'Deployment',
    metadata: { namespace: SIMULATION },
    spec: {
      replicas: 20,
      template: {
        spec: {
          nodeSelector: { 'karpenter.sh/nodepool': SIMULATION },
          tolerations: [{ key: taint?.key, operator: 'Exists' }],
          containers: [{ resources: { requests: { cpu: '392m', memory: '502Mi' } } }],
        },
      },
    },
  })
})

t.test('the NodePool differs from ours only in the time and the number of disruptions', async (t) => {
  const values = parse(
    readFileSync(join(REPOSITORY_ROOT, 'helm', 'karpenter-nodes', 'values.yaml'), 'utf8'),
  ) as { disruption: Record<string, unknown>; expireAfter: string }
  const spec = nodePool([])['spec'] as {
    disruption: Record<string, unknown>
    template: { spec: Record<string, unknown> }
  }
  t.equal(spec.disruption['consolidationPolicy'], values.disruption['consolidationPolicy'])
  t.equal(spec.template.spec['expireAfter'], values.expireAfter)
  t.strictSame(Object.keys(spec.disruption).toSorted(), Object.keys(values.disruption).toSorted())
})

t.test('the NodePool is created after its node class', async (t) => {
  t.strictSame(
    foundation([]).map(({ kind }) => kind),
    ['Namespace', 'KWOKNodeClass', 'NodePool'],
  )
})
