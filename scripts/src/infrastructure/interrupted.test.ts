import t from 'tap'
import { isOrphanedCluster, unfinishedClusters, unfinishedDatabase } from './interrupted.ts'
import { parseState } from './state.ts'

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

t.test('a tainted cluster is found in any module', async (t) => {
  t.strictSame(unfinishedClusters(stateWith(cluster({ tainted: true }))), ['module.eks.aws_eks_cluster.this'])
})

t.test('a complete cluster and a tainted resource of another type are left alone', async (t) => {
  t.strictSame(unfinishedClusters(stateWith(cluster({}))), [])
  t.strictSame(unfinishedClusters(stateWith(cluster({ type: 'aws_vpc', tainted: true }))), [])
})

t.test('a cluster that is missing from the state is recognised by its IAM role', async (t) => {
  const arn = 'arn:aws:iam::123456789012:role/shop'
  const role = cluster({ address: 'module.eks.aws_iam_role.this[0]', type: 'aws_iam_role', values: { arn } })
  t.equal(isOrphanedCluster(stateWith(role), arn), true)
  t.equal(
    isOrphanedCluster(stateWith(role), 'arn:aws:iam::123456789012:role/other'),
    false,
    'a cluster of another owner',
  )
  t.equal(isOrphanedCluster(stateWith(role), ''), false, 'no cluster')
  t.equal(
    isOrphanedCluster([...stateWith(role), ...stateWith(cluster({}))], arn),
    false,
    'the cluster is in the state',
  )
})

t.test('only a database whose creation was interrupted is recovered', async (t) => {
  const plan = (action_reason?: string) => ({
    resource_changes: [
      {
        ...{ address: 'aws_db_instance.this', mode: 'managed', type: 'aws_db_instance' },
        ...(action_reason === undefined ? {} : { action_reason }),
        change: { actions: ['delete', 'create'], before: { identifier: 'shop' } },
      },
    ],
  })
  t.strictSame(unfinishedDatabase(plan('replace_because_tainted')), {
    address: 'aws_db_instance.this',
    identifier: 'shop',
  })
  t.equal(unfinishedDatabase(plan('replace_because_cannot_update')), undefined, 'as for another snapshot')
  t.equal(unfinishedDatabase(plan()), undefined)
  t.equal(unfinishedDatabase({}), undefined)
})
