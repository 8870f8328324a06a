/**
 * A whole environment in an empty account, with the commands of the documentation: every stack is applied, planned again
 * without changes, changed and destroyed.
 */
import { existsSync } from 'node:fs'
import t from 'tap'
import { NETWORK_RESOURCES, operate, RESOURCES } from '../operator.ts'

const { config, make, interrupt, aws, kubectl } = await operate('e2e-environment', 26_100, {
  NETWORK: 'stack',
})

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
await make('box')

async function networkResources(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {}
  for (const [what, query] of Object.entries(NETWORK_RESOURCES)) found[what] = (await aws(...query)).sort()
  return found
}

/** Where the private subnets of a VPC send packets for the internet. */
async function defaultRoute(vpcId: string) {
  const [route] = await aws(
    ...['ec2', 'describe-route-tables', '--filters', `Name=vpc-id,Values=${vpcId}`],
    ...['Name=tag:Name,Values=fastify-eks-cluster-private', '--query'],
    'RouteTables[].Routes[] | [?DestinationCidrBlock==`0.0.0.0/0`]',
  )
  return route as { NatGatewayId?: string; NetworkInterfaceId?: string }
}

const before = await networkResources()
let vpcId = ''

await t.test('without the network, the cluster is not planned', async (t) => {
  const cluster = { STACK: 'cluster' }
  t.match(await make('plan', cluster), /the network is not applied yet, so there is nothing to plan/)
  const refused = await make('apply', cluster, true)
  t.match(refused, /error: cluster \(local\): the network is not applied yet\n next: apply it first: /)
})

await t.test('an environment with an existing network plans no other one', async (t) => {
  const existing = { STACK: 'network', NETWORK: 'existing' }
  t.match(await make('plan', existing), /the cluster uses an existing network, so there is nothing to plan/)
  t.match(
    await make('apply', existing, true),
    /error: network \(local\): the cluster uses an existing network/,
  )
})

await t.test('the stacks are applied in order, through five interruptions', async (t) => {
  let said = ''
  // After which line an apply is interrupted, and for at most how many seconds it continues.
  for (const [line, longest] of [
    [/^network \(local\): /, 30],
    [/^cluster \(local\): /, 60],
    [/^data \(local\): /, 60],
    [/^platform \(local\): /, 6],
    [/^platform \(local\): /, 6],
  ] as const) {
    const wait = Math.round(Math.random() * longest * 1000)
    const part = await interrupt('apply', line, wait)
    t.comment(`interrupted ${wait} ms after ${line}, in: ${part.trimEnd().split('\n').at(-1)}`)
    t.match(part, /run the command again to continue|applied platform/, 'it says what to do')
    said += part
  }
  said += await make('apply')
  // Not every stack says that it was applied: an interruption can come just after Terraform has finished.
  const order = [...said.matchAll(/^(\w+) \(local\): /gm)].map(([, stack]) => stack)
  t.strictSame([...new Set(order)], ['network', 'cluster', 'data', 'platform'])
  t.notMatch(said, /replace +aws_db_instance/, 'the database is created once')
})

await t.test('a second plan has no changes', async (t) => {
  const order = ['network', 'cluster', 'data', 'platform']
  const plan = await make('plan')
  // In particular, network and cluster agree on the tags of the subnets.
  for (const stack of order) t.match(plan, new RegExp(`^${stack} \\(local\\): no changes`, 'm'))
})

await t.test('nodes run in the private subnets of the network', async (t) => {
  const { vpcId: id } = (
    await aws('eks', 'describe-cluster', '--name', 'fastify-eks-cluster', '--query', 'cluster')
  ).resourcesVpcConfig
  vpcId = id
  t.notOk(before['VPCs']?.includes(vpcId), 'the VPC is new')
  const addresses = (
    await kubectl(
      'get',
      'nodes',
      '--output=jsonpath={.items[*].status.addresses[?(@.type=="InternalIP")].address}',
    )
  ).split(' ')
  t.ok(addresses.length >= 2)
  const instances = await aws(
    ...['ec2', 'describe-instances', '--filters', `Name=private-ip-address,Values=${addresses.join(',')}`],
    ...['Name=instance-state-name,Values=running', '--query', 'Reservations[].Instances[].SubnetId'],
  )
  const tags = await aws(
    ...[
      'ec2',
      'describe-subnets',
      '--subnet-ids',
      ...instances,
      '--query',
      'Subnets[].{vpc: VpcId, tags: Tags}',
    ],
  )
  for (const subnet of tags) {
    t.equal(subnet.vpc, vpcId)
    t.match(Object.fromEntries(subnet.tags.map(({ Key, Value }: Record<string, string>) => [Key, Value])), {
      'kubernetes.io/role/internal-elb': '1',
      'karpenter.sh/discovery': 'fastify-eks-cluster',
      'kubernetes.io/cluster/fastify-eks-cluster': 'shared',
    })
  }
})

await t.test('the default security group lets nothing through', async (t) => {
  const groups = await aws(
    ...['ec2', 'describe-security-groups', '--filters', `Name=vpc-id,Values=${vpcId}`],
    ...['Name=group-name,Values=default', '--query', 'SecurityGroups[].[IpPermissions, IpPermissionsEgress]'],
  )
  t.strictSame(groups, [[[], []]])
})

await t.test('the NAT instance is replaced by a gateway, and back', async (t) => {
  t.match(await defaultRoute(vpcId), { NetworkInterfaceId: /^eni-/ })
  const gateway = { STACK: 'network', ARGS: `-var=nat=gateway '-var=interface_endpoints=["sts"]'` }
  await make('apply', gateway)
  t.match(await make('plan', gateway), /network \(local\): no changes/)
  t.match(await defaultRoute(vpcId), { NatGatewayId: /^nat-/ })
  t.match(await make('plan', { STACK: 'cluster' }), /cluster \(local\): no changes/)
  await make('apply', { STACK: 'network' })
  t.match(await make('plan', { STACK: 'network' }), /network \(local\): no changes/)
  t.match(await defaultRoute(vpcId), { NetworkInterfaceId: /^eni-/ })
})

await t.test('the network is not destroyed while the cluster is in it', async (t) => {
  const refused = await make('destroy', { STACK: 'network' }, true)
  t.match(
    refused,
    /error: the network of local is in use: \S+ of the stack cluster is in it\. Nothing was changed/,
  )
  t.match(await make('plan', { STACK: 'network' }), /network \(local\): no changes/)
})

await t.test('destroy leaves nothing', async (t) => {
  const said = await make('destroy')
  const order = [...said.matchAll(/^destroyed (\w+)/gm)].map(([, stack]) => stack)
  t.strictSame(order, ['platform', 'data', 'cluster', 'network'])
  t.strictSame(await networkResources(), before)
  for (const [what, query] of Object.entries(RESOURCES)) t.strictSame(await aws(...query), [], what)
  const roles = await aws('iam', 'list-roles', '--query', 'Roles[].RoleName')
  t.strictSame(roles.sort(), ['fastify-eks-deploy', 'fastify-eks-readonly'])
})
