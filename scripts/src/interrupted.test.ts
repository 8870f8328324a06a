import type { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs'
import t from 'tap'
import { existingLogGroups, unfinishedClusters } from './interrupted.ts'
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

t.test('only a log group that is to be created and exists under that very name is adopted', async (t) => {
  const asked: unknown[] = []
  const answer = {
    logGroups: [{ logGroupName: '/aws/eks/shop/cluster' }, { logGroupName: '/aws/eks/shop2' }],
  }
  const logs = {
    send: async ({ input }: { input: unknown }) => {
      asked.push(input)
      return answer
    },
  } as Pick<CloudWatchLogsClient, 'send'>
  const planned = (name: string, actions: string[], type = 'aws_cloudwatch_log_group') => ({
    resource_changes: [{ address: 'module.eks.group', type, change: { actions, after: { name } } }],
  })
  t.strictSame(await existingLogGroups(planned('/aws/eks/shop/cluster', ['create']), logs), [
    { address: 'module.eks.group', name: '/aws/eks/shop/cluster' },
  ])
  t.strictSame(asked, [{ logGroupNamePrefix: '/aws/eks/shop/cluster' }])
  t.strictSame(await existingLogGroups(planned('/aws/eks', ['create']), logs), [], 'a mere prefix')
  t.strictSame(await existingLogGroups(planned('/aws/eks/shop/cluster', ['update']), logs), [])
  t.strictSame(
    await existingLogGroups(planned('/aws/eks/shop/cluster', ['create'], 'aws_iam_role'), logs),
    [],
  )
})
