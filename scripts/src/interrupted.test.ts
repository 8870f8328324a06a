import t from 'tap'
import { unfinishedClusters } from './interrupted.ts'
import { parseState } from './terraform.ts'

const cluster = (more: object) => ({
  address: 'module.eks.aws_eks_cluster.this',
  mode: 'managed',
  type: 'aws_eks_cluster',
  values: { name: 'shop' },
  ...more,
})
const stateWith = (resource: ReturnType<typeof cluster>) =>
  parseState(JSON.stringify({ values: { root_module: { child_modules: [{ resources: [resource] }] } } }))
    .resources

t.test('a cluster whose creation was interrupted is found, wherever it is declared', async (t) => {
  t.strictSame(unfinishedClusters(stateWith(cluster({ tainted: true }))), [
    { address: 'module.eks.aws_eks_cluster.this', name: 'shop' },
  ])
})

t.test('a cluster that is complete and another kind of resource are left alone', async (t) => {
  t.strictSame(unfinishedClusters(stateWith(cluster({}))), [])
  t.strictSame(unfinishedClusters(stateWith(cluster({ type: 'aws_vpc', tainted: true }))), [])
})
