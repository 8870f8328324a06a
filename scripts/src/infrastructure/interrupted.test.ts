import t from 'tap'
import { isOwnCluster, unfinishedClusters } from './interrupted.ts'
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
  t.strictSame(unfinishedClusters(stateWith(cluster({ tainted: true }))), ['module.eks.aws_eks_cluster.this'])
})

t.test('a cluster that is complete and another kind of resource are left alone', async (t) => {
  t.strictSame(unfinishedClusters(stateWith(cluster({}))), [])
  t.strictSame(unfinishedClusters(stateWith(cluster({ type: 'aws_vpc', tainted: true }))), [])
})

t.test('a cluster that the state lost is known by the role it runs with', async (t) => {
  const arn = 'arn:aws:iam::123456789012:role/shop'
  const role = cluster({ address: 'module.eks.aws_iam_role.this[0]', type: 'aws_iam_role', values: { arn } })
  t.equal(isOwnCluster(stateWith(role), arn), true)
  t.equal(isOwnCluster(stateWith(role), 'arn:aws:iam::123456789012:role/other'), false, "somebody else's")
  t.equal(isOwnCluster(stateWith(role), ''), false, 'there is none')
  t.equal(isOwnCluster([...stateWith(role), ...stateWith(cluster({}))], arn), false, 'the state knows it')
})
