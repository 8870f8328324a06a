import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { AwsRequest } from '../aws/request.ts'
import { awsError } from '../aws/testing.ts'
import { type Cache, tokenHash } from './cache-server.ts'
import { ElastiCache } from './elasticache.ts'

type Applied = (Cache & { subnetId: string }) | undefined

function newAccount(t: Test, file = join(t.testdir(), 'elasticache.json')) {
  const applied: Applied[] = []
  const api = new ElastiCache({
    file,
    describeSubnets: async (ids) => ids.map((id) => ({ id, vpcId: 'vpc-1', zone: 'eu-central-1a' })),
    apply: async (cache) => {
      applied.push(cache)
    },
  })
  const call = async (Action: string, parameters: Record<string, string> = {}) => {
    const request: AwsRequest = {
      method: 'POST',
      url: '/',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: Buffer.from(String(new URLSearchParams({ Action, ...parameters }))),
    }
    return (await api.handle(request)).body.toString()
  }
  return { api, call, file, last: () => applied.at(-1), count: () => applied.length }
}

const ReplicationGroupId = 'shop'
const group = {
  ReplicationGroupId,
  ReplicationGroupDescription: 'Cache',
  CacheNodeType: 'cache.t4g.micro',
  Engine: 'valkey',
  CacheSubnetGroupName: 'shop',
  TransitEncryptionEnabled: 'true',
}
const subnets = {
  CacheSubnetGroupName: 'shop',
  CacheSubnetGroupDescription: 'Cache',
  'SubnetIds.SubnetIdentifier.1': 'subnet-1',
}

async function withGroup(t: Test) {
  const account = newAccount(t)
  await account.call('CreateCacheSubnetGroup', subnets)
  await account.call('CreateReplicationGroup', group)
  return account
}

t.test('a replication group becomes the cache server, which first needs no token', async (t) => {
  const { call, last } = await withGroup(t)
  t.match(last(), { subnetId: 'subnet-1', tokens: [], tokenRequired: false })
  const description = await call('DescribeReplicationGroups', { ReplicationGroupId })
  const address = /<PrimaryEndpoint><Address>([^<]+)/.exec(description)?.[1] ?? ''
  t.match(address, /^master\.shop\..*\.cache\.amazonaws\.com$/)
  t.ok(last()?.hosts.includes(address), 'its certificate has the name of the endpoint')
  t.match(description, '<Status>available</Status>')
})

t.test('ROTATE adds a token and keeps one former, SET leaves only the new one', async (t) => {
  const { call, last } = await withGroup(t)
  const tokens = ['first', 'second', 'third'].map((name) => `${name}-token-of-the-cache`)
  const change = (AuthToken: string, AuthTokenUpdateStrategy: string) =>
    call('ModifyReplicationGroup', { ReplicationGroupId, AuthToken, AuthTokenUpdateStrategy })
  const [first = '', second = '', third = ''] = tokens
  await change(first, 'ROTATE')
  t.match(last(), { tokens: [tokenHash(first)], tokenRequired: false }, 'clients without a token still work')
  await change(first, 'SET')
  t.match(last(), { tokens: [tokenHash(first)], tokenRequired: true })
  await change(second, 'ROTATE')
  t.strictSame(last()?.tokens, [tokenHash(second), tokenHash(first)])
  await change(third, 'ROTATE')
  t.strictSame(last()?.tokens, [tokenHash(third), tokenHash(second)])
  await t.rejects(change('short', 'ROTATE'), awsError('invalid'))
})

t.test('after a restart, the server gets the same group', async (t) => {
  const { call, file, last } = await withGroup(t)
  await call('ModifyReplicationGroup', {
    ReplicationGroupId,
    AuthToken: 'a-token-of-the-cache',
    AuthTokenUpdateStrategy: 'SET',
  })
  const restarted = newAccount(t, file)
  await restarted.api.restore()
  t.strictSame(restarted.last(), last())
})

t.test('there is one replication group at a time', async (t) => {
  const { call, last } = await withGroup(t)
  await t.rejects(call('CreateReplicationGroup', group), awsError('replicationGroupExists'))
  await t.rejects(
    call('CreateReplicationGroup', { ...group, ReplicationGroupId: 'another' }),
    awsError('cacheQuota'),
  )
  await t.rejects(
    call('DeleteCacheSubnetGroup', { CacheSubnetGroupName: 'shop' }),
    awsError('cacheSubnetGroupInUse'),
  )
  await call('DeleteReplicationGroup', { ReplicationGroupId })
  t.equal(last(), undefined, 'the server is emptied')
  await t.rejects(call('DescribeReplicationGroups', { ReplicationGroupId }), awsError('noReplicationGroup'))
  await call('DeleteCacheSubnetGroup', { CacheSubnetGroupName: 'shop' })
  await call('CreateCacheSubnetGroup', subnets)
})

t.test('tags can be added, listed and removed', async (t) => {
  const { call } = await withGroup(t)
  const ResourceName = 'arn:aws:elasticache:eu-central-1:123456789012:replicationgroup:shop'
  await call('AddTagsToResource', { ResourceName, 'Tags.Tag.1.Key': 'team', 'Tags.Tag.1.Value': 'a & b' })
  t.match(await call('ListTagsForResource', { ResourceName }), '<Key>team</Key><Value>a &#38; b</Value>')
  await call('RemoveTagsFromResource', { ResourceName, 'TagKeys.member.1': 'team' })
  t.notMatch(await call('ListTagsForResource', { ResourceName }), 'team')
})

t.test('what the server cannot do is refused', async (t) => {
  const { call } = newAccount(t)
  await call('CreateCacheSubnetGroup', subnets)
  await t.rejects(
    call('CreateReplicationGroup', { ...group, TransitEncryptionEnabled: 'false' }),
    awsError('invalid'),
  )
  await t.rejects(call('CreateReplicationGroup', { ...group, NumNodeGroups: '3' }), awsError('invalid'))
  await t.rejects(call('CreateServerlessCache'), awsError('invalid'))
})
