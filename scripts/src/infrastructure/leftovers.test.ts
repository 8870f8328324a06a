import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CloudWatchLogsClient,
  CreateLogGroupCommand,
  DescribeLogGroupsCommand,
} from '@aws-sdk/client-cloudwatch-logs'
import {
  AttachNetworkInterfaceCommand,
  CreateLaunchTemplateCommand,
  CreateNetworkInterfaceCommand,
  CreateSecurityGroupCommand,
  CreateVolumeCommand,
  DeleteSecurityGroupCommand,
  DescribeImagesCommand,
  DescribeSubnetsCommand,
  type ResourceType,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import {
  CreateLoadBalancerCommand,
  CreateTargetGroupCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { execa } from 'execa'
import { ActionableError } from 'shared/errors'
import t, { type Test } from 'tap'
import { type AwsClients, clientsFor } from './aws.ts'
import {
  findClusterLeftovers,
  findControllerLeftovers,
  type Leftover,
  removeLogGroup,
  waitUntilGone,
} from './leftovers.ts'

const OURS = { name: 'ours', region: 'eu-central-1' }

const GROUP: Leftover = { kind: 'security group', id: 'sg-1', origin: 'created by a controller' }
const NODE: Leftover = { kind: 'instance', id: 'i-1', origin: 'node of a NodePool' }

/** Waits on a fake clock. Each search finds the next element of `results`, and from the end on the last one. */
function waiting(results: Leftover[][], timeout = 60_000) {
  const reports: string[] = []
  let now = 0
  let next = 0
  const find = async () => results[Math.min(next++, results.length - 1)] ?? []
  const clock = {
    now: () => now,
    sleep: async (milliseconds: number) => {
      now += milliseconds
    },
  }
  const report = (line: string) => reports.push(line)
  const run = () => waitUntilGone(OURS, find, report, { interval: 10_000, timeout }, clock)
  return { run, reports, elapsed: () => now }
}

t.test('without leftovers it neither waits nor reports', async (t) => {
  const { run, reports, elapsed } = waiting([[]])
  await run()
  t.equal(elapsed(), 0)
  t.strictSame(reports, [])
})

t.test('it waits until the last resource is gone, and reports every change', async (t) => {
  const { run, reports, elapsed } = waiting([[GROUP, NODE], [GROUP, NODE], [GROUP], []])
  await run()
  t.equal(elapsed(), 30_000)
  t.strictSame(reports, [
    'waiting for the deletion of security group sg-1, instance i-1',
    'waiting for the deletion of security group sg-1',
  ])
})

t.test(
  'after the timeout it lists the leftovers and the commands that delete them, in a working order',
  async (t) => {
    const { run, elapsed } = waiting([[GROUP, NODE]])
    const error = await run().then(
      () => t.fail('it must not succeed'),
      (error: unknown) => error,
    )
    t.type(error, ActionableError)
    const { message, nextStep } = error as ActionableError
    t.equal(elapsed(), 60_000)
    t.match(
      message,
      'after 1 min:\n  security group sg-1, created by a controller\n  instance i-1, node of a NodePool',
    )
    t.match(
      nextStep,
      'terminate-instances --instance-ids i-1 --region eu-central-1\n  aws ec2 delete-security-group --group-id sg-1 --region eu-central-1',
    )
  },
)

t.test('an error from AWS is not taken for an empty account', async (t) => {
  const find = () => Promise.reject(new Error('not authorised'))
  await t.rejects(
    waitUntilGone(OURS, find, () => {}),
    { message: 'not authorised' },
  )
})

/** CloudWatch Logs with a group that is recreated at the given times of a fake clock. */
function logGroup(createdAt: number[]) {
  let now = 0
  const pending = [...createdAt]
  const reports: string[] = []
  const clock = {
    now: () => now,
    sleep: async (milliseconds: number) => {
      now += milliseconds
    },
  }
  const logs = {
    send: async () => {
      if (pending[0] === undefined || pending[0] > now) {
        throw Object.assign(new Error('The specified log group does not exist.'), {
          name: 'ResourceNotFoundException',
        })
      }
      while (pending[0] !== undefined && pending[0] <= now) pending.shift()
      return {}
    },
  }
  const run = (quietPeriod = { interval: 1_000, timeout: 10_000 }) =>
    removeLogGroup(
      'ours',
      logs as Pick<CloudWatchLogsClient, 'send'>,
      (line) => reports.push(line),
      quietPeriod,
      clock,
    )
  return { run, reports, elapsed: () => now, pending }
}

t.test('a recreated log group is deleted until it has stayed away for a while', async (t) => {
  const { run, reports, elapsed, pending } = logGroup([0, 4_000, 13_000])
  await run()
  t.strictSame(pending, [])
  t.equal(reports.length, 3)
  t.match(reports[0], /^removed log group \/aws\/eks\/ours\/cluster/)
  t.equal(elapsed(), 23_000)
})

t.test('with a quiet period of 0 it tries once', async (t) => {
  const { run, reports, elapsed } = logGroup([0, 5_000])
  await run({ interval: 0, timeout: 0 })
  t.equal(reports.length, 1)
  t.equal(elapsed(), 0)
})

t.test('a log group that never stays away does not block destroy for ever', async (t) => {
  const { run, elapsed } = logGroup(Array.from({ length: 1000 }, (_, second) => second * 1000))
  await run()
  t.equal(elapsed(), 300_000)
})

t.test('a refusal to delete the log group is an error', async (t) => {
  const logs = { send: async () => Promise.reject(new Error('not authorised')) }
  await t.rejects(
    removeLogGroup('ours', logs, () => {}),
    {
      message: 'not authorised',
    },
  )
})

const python = process.env['BOX_AWS_PYTHON']

t.test(
  'against the AWS emulator',
  { skip: python ? false : 'set BOX_AWS_PYTHON to a Python with the AWS emulator' },
  async (t) => {
    // The emulator loads slowly on a busy machine.
    t.setTimeout(300_000)
    const clients = await startEmulator(t, python ?? '')
    const make = factory(clients)
    const leftovers = () => findControllerLeftovers(OURS, clients)
    const subnets = await make.subnets()
    const lbc = { 'elbv2.k8s.aws/cluster': 'ours', 'ingress.k8s.aws/stack': 'app/web' }
    const karpenter = { 'eks:eks-cluster-name': 'ours', 'karpenter.sh/nodepool': 'default' }
    const claim = {
      CSIVolumeName: 'pvc-1',
      'kubernetes.io/created-for/pvc/name': 'data',
      'kubernetes.io/created-for/pvc/namespace': 'shop',
    }
    const cni = { 'cluster.k8s.amazonaws.com/name': 'ours' }

    await t.test("another cluster's resources and those of no controller are not leftovers", async (t) => {
      const theirs = { ...lbc, 'elbv2.k8s.aws/cluster': 'theirs' }
      await make.loadBalancer('theirs', subnets, theirs)
      await make.targetGroup('theirs', theirs)
      await make.securityGroup('theirs', theirs)
      await make.instance({ ...karpenter, 'eks:eks-cluster-name': 'theirs' })
      await make.instance({ 'eks:eks-cluster-name': 'ours' })
      const node = await make.instance({ 'eks:cluster-name': 'ours', 'eks:nodegroup-name': 'system' })
      await make.attached(node, await make.networkInterface(subnets[0], cni))
      await make.launchTemplate('system', { 'eks:cluster-name': 'ours' })
      await make.networkInterface(subnets[0], { ...cni, 'cluster.k8s.amazonaws.com/name': 'theirs' })
      await make.volume({ ...claim, 'ebs.csi.aws.com/cluster-name': 'theirs' })
      await make.volume({ 'kubernetes.io/cluster/ours': 'owned', Name: 'root disk of a node' })
      await make.securityGroup('eks-cluster-sg-ours', { 'kubernetes.io/cluster/ours': 'owned' })
      t.strictSame(await leftovers(), [])
    })

    await t.test(
      'every kind is found, including the security group that all load balancers share',
      async (t) => {
        const expected = [
          {
            kind: 'load balancer',
            id: await make.loadBalancer('ours', subnets, lbc),
            origin: 'created by the AWS Load Balancer Controller for app/web',
          },
          {
            kind: 'target group',
            id: await make.targetGroup('ours', lbc),
            origin: 'created by the AWS Load Balancer Controller for app/web',
          },
          {
            kind: 'instance',
            id: await make.instance(karpenter),
            origin: "node of Karpenter's NodePool default",
          },
          {
            kind: 'launch template',
            id: await make.launchTemplate('ours', karpenter),
            origin: "of Karpenter's nodes",
          },
          {
            kind: 'volume',
            id: await make.volume({ ...claim, 'ebs.csi.aws.com/cluster-name': 'ours' }),
            origin: 'data of the claim shop/data',
          },
          {
            kind: 'volume',
            id: await make.volume({ CSIVolumeName: 'pvc-2', 'kubernetes.io/cluster/ours': 'owned' }),
            origin: 'data of a claim',
          },
          {
            kind: 'network interface',
            id: await make.networkInterface(subnets[0], cni),
            origin: 'left by the VPC CNI plugin of a deleted node',
          },
          {
            kind: 'security group',
            id: await make.securityGroup('ours', { 'elbv2.k8s.aws/cluster': 'ours' }),
            origin: 'created by the AWS Load Balancer Controller',
          },
        ]
        t.strictSame(await leftovers(), expected)
      },
    )

    await t.test(
      'deleted resources do not count, nor does an instance that EC2 still lists as terminated',
      async (t) => {
        const before = await leftovers()
        const find = (kind: string) => before.find((leftover) => leftover.kind === kind)?.id ?? ''
        await clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [find('instance')] }))
        await clients.ec2.send(new DeleteSecurityGroupCommand({ GroupId: find('security group') }))
        t.strictSame(
          (await leftovers()).map(({ kind }) => kind),
          ['load balancer', 'target group', 'launch template', 'volume', 'volume', 'network interface'],
        )
      },
    )

    await t.test('a volume without a cluster tag is found by its id', async (t) => {
      const id = await make.volume({ CSIVolumeName: 'pvc-3' })
      t.notOk((await leftovers()).some((leftover) => leftover.id === id))
      const known = await findControllerLeftovers(
        { ...OURS, volumeIds: [id, 'vol-00000000000000000'] },
        clients,
      )
      t.strictSame(
        known.filter((leftover) => leftover.id === id),
        [{ kind: 'volume', id, origin: 'data of a claim' }],
      )
    })

    await t.test(
      'once the cluster is deleted, its own security groups and instances count too',
      async (t) => {
        const node = await make.instance({ 'kubernetes.io/cluster/ours': 'owned' })
        const after = await findClusterLeftovers(OURS, clients)
        const before = await leftovers()
        const more = after.filter(({ id }) => !before.some((leftover) => leftover.id === id))
        t.match(more, [
          { kind: 'instance', id: node, origin: 'node of the cluster' },
          { kind: 'security group', origin: 'eks-cluster-sg-ours, of the cluster itself' },
        ])
        t.equal(more.length, 2)
      },
    )

    await t.test('the log group is deleted for good', async (t) => {
      const logGroupName = '/aws/eks/ours/cluster'
      await clients.logs.send(new CreateLogGroupCommand({ logGroupName }))
      const reports: string[] = []
      const once = { interval: 0, timeout: 0 }
      await removeLogGroup('ours', clients.logs, (line) => reports.push(line), once)
      await removeLogGroup('ours', clients.logs, (line) => reports.push(line), once)
      t.equal(reports.length, 1)
      t.strictSame((await clients.logs.send(new DescribeLogGroupsCommand({}))).logGroups, [])
    })

    await t.test('more target groups than one DescribeTags request takes are all checked', async (t) => {
      for (let count = 0; count < 21; count++) await make.targetGroup(`more-${count}`, lbc)
      t.equal((await leftovers()).filter(({ kind }) => kind === 'target group').length, 22)
    })
  },
)

/** Starts moto on a free port, for the duration of the test. */
async function startEmulator(t: Test, python: string): Promise<AwsClients> {
  const port = await freePort()
  const emulator = execa(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    stdio: 'ignore',
    reject: false,
  })
  const options = {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'eu-central-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  }
  const clients = clientsFor(options)
  t.teardown(async () => {
    for (const client of Object.values(clients)) client.destroy()
    emulator.kill()
    await emulator
  })
  for (let attempt = 0; attempt < 300; attempt++) {
    const answers = await fetch(`${options.endpoint}/moto-api/`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (answers) return clients
    await sleep(100)
  }
  throw new Error(`${python} -m moto.server does not answer on port ${port}`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port')
  return address.port
}

/** Creates resources with the controllers' tags, and returns their ids. */
function factory({ ec2, elb }: AwsClients) {
  const listOf = (tags: Record<string, string>) =>
    Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  const tagged = (ResourceType: ResourceType, tags: Record<string, string>) => ({
    TagSpecifications: [{ ResourceType, Tags: listOf(tags) }],
  })
  return {
    async subnets(): Promise<string[]> {
      const { Subnets = [] } = await ec2.send(new DescribeSubnetsCommand({}))
      return Subnets.flatMap(({ SubnetId = [] }) => SubnetId).slice(0, 2)
    },
    async loadBalancer(Name: string, Subnets: string[], tags: Record<string, string>): Promise<string> {
      const made = await elb.send(new CreateLoadBalancerCommand({ Name, Subnets, Tags: listOf(tags) }))
      return made.LoadBalancers?.[0]?.LoadBalancerArn ?? ''
    },
    async targetGroup(Name: string, tags: Record<string, string>): Promise<string> {
      const { VpcId } = (await ec2.send(new DescribeSubnetsCommand({}))).Subnets?.[0] ?? {}
      const input = { Name, VpcId, Protocol: 'HTTP', Port: 3000, TargetType: 'ip' } as const
      const made = await elb.send(new CreateTargetGroupCommand({ ...input, Tags: listOf(tags) }))
      return made.TargetGroups?.[0]?.TargetGroupArn ?? ''
    },
    async securityGroup(GroupName: string, tags: Record<string, string>): Promise<string> {
      const input = { GroupName, Description: GroupName, ...tagged('security-group', tags) }
      return (await ec2.send(new CreateSecurityGroupCommand(input))).GroupId ?? ''
    },
    async instance(tags: Record<string, string>): Promise<string> {
      const { Images = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ['amazon'] }))
      const input = { ImageId: Images[0]?.ImageId, MinCount: 1, MaxCount: 1, ...tagged('instance', tags) }
      return (await ec2.send(new RunInstancesCommand(input))).Instances?.[0]?.InstanceId ?? ''
    },
    async launchTemplate(LaunchTemplateName: string, tags: Record<string, string>): Promise<string> {
      const LaunchTemplateData = { InstanceType: 't4g.small' } as const
      const input = { LaunchTemplateName, LaunchTemplateData, ...tagged('launch-template', tags) }
      const { LaunchTemplate } = await ec2.send(new CreateLaunchTemplateCommand(input))
      return LaunchTemplate?.LaunchTemplateId ?? ''
    },
    async networkInterface(SubnetId: string | undefined, tags: Record<string, string>): Promise<string> {
      const input = { SubnetId, ...tagged('network-interface', tags) }
      const { NetworkInterface } = await ec2.send(new CreateNetworkInterfaceCommand(input))
      return NetworkInterface?.NetworkInterfaceId ?? ''
    },
    async volume(tags: Record<string, string>): Promise<string> {
      const input = { AvailabilityZone: 'eu-central-1a', Size: 1, ...tagged('volume', tags) }
      return (await ec2.send(new CreateVolumeCommand(input))).VolumeId ?? ''
    },
    async attached(InstanceId: string, NetworkInterfaceId: string): Promise<void> {
      await ec2.send(new AttachNetworkInterfaceCommand({ InstanceId, NetworkInterfaceId, DeviceIndex: 1 }))
    },
  }
}
