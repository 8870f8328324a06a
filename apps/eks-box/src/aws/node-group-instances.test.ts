import { setTimeout as sleep } from 'node:timers/promises'
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling'
import {
  CreateLaunchTemplateCommand,
  DescribeInstancesCommand,
  DescribeLaunchTemplatesCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2'
import { CreateRoleCommand, IAMClient, ListInstanceProfilesCommand } from '@aws-sdk/client-iam'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import type { Nodegroup } from '../eks-api/model.ts'
import { openPort } from '../lifecycle/ports.ts'
import { parseUserData } from '../node/user-data.ts'
import { Capacity } from './capacity.ts'
import { mergeUserData, NodeGroupInstances, nodeConfig } from './node-group-instances.ts'

const cluster = {
  name: 'shop',
  endpoint: 'https://api',
  certificateAuthority: 'Q0E=',
  serviceCidr: '172.20.0.0/16',
}
const region = 'eu-central-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

/** The real emulator, an Amazon account in which each running instance is at once a ready node. */
async function startAccount(t: Test, maxNodes: number) {
  const listener = await openPort(0, 'port')
  const address = listener.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  await new Promise((resolve) => listener.close(resolve))
  const moto = execa(
    programPath(readBoxConfig(process.env), 'moto_server'),
    ['--host', '127.0.0.1', '--port', String(port)],
    { reject: false, stdio: 'ignore' },
  )
  t.teardown(async () => {
    moto.kill()
    await moto
  })
  const endpoint = `http://127.0.0.1:${port}`
  while ((await fetch(`${endpoint}/moto-api/`).catch(() => undefined)) === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const clients = { endpoint, region, credentials }
  const ec2 = new EC2Client(clients)
  const running = async () => {
    const { Reservations = [] } = await ec2.send(
      new DescribeInstancesCommand({ Filters: [{ Name: 'instance-state-name', Values: ['running'] }] }),
    )
    return Reservations.flatMap(({ Instances = [] }) => Instances)
  }
  /** The commands that changed nodes. */
  const commands: string[] = []
  const kubectl = async (...args: string[]) => {
    if (args[0] !== 'get') commands.push(args.join(' '))
    const items = (await running()).map(({ InstanceId, PrivateDnsName }) => ({
      metadata: { name: PrivateDnsName },
      spec: { providerID: `aws:///zone/${InstanceId}`, taints: [{ key: 'old', effect: 'NoSchedule' }] },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    }))
    return JSON.stringify({ items })
  }
  const iam = new IAMClient(clients)
  await iam.send(new CreateRoleCommand({ RoleName: 'node', AssumeRolePolicyDocument: '{}' }))
  const { Subnets = [] } = await ec2.send(new DescribeSubnetsCommand({}))
  const fleet = new NodeGroupInstances({
    endpoint,
    region,
    credentials,
    cluster,
    capacity: new Capacity(ec2, cluster.name, maxNodes),
    readyTimeout: 60_000,
    kubectl,
  })
  const { LaunchTemplate } = await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'mine',
      LaunchTemplateData: {
        UserData: Buffer.from(
          'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\n\nkind: NodeConfig\nspec: { kubelet: { config: { maxPods: 20 } } }\n--B--\n',
        ).toString('base64'),
      },
    }),
  )
  const subnets = Subnets.map(({ SubnetId = '' }) => SubnetId)
  return {
    fleet,
    ec2,
    iam,
    autoScaling: new AutoScalingClient(clients),
    running,
    commands,
    group: { ...minimal, subnets, launchTemplate: { id: LaunchTemplate?.LaunchTemplateId ?? '' } },
  }
}

const minimal: Nodegroup = {
  nodegroupName: 'system',
  nodegroupArn: `arn:aws:eks:${region}:123456789012:nodegroup/shop/system/11111111`,
  clusterName: 'shop',
  status: 'CREATING',
  version: '1.35',
  releaseVersion: '1.35.4-1',
  createdAt: 0,
  modifiedAt: 0,
  capacityType: 'ON_DEMAND',
  scalingConfig: { minSize: 1, maxSize: 4, desiredSize: 3 },
  instanceTypes: ['t4g.small'],
  subnets: [],
  amiType: 'AL2023_ARM_64_STANDARD',
  nodeRole: 'arn:aws:iam::123456789012:role/node',
  labels: { role: 'system' },
  taints: [],
  updateConfig: {},
  nodeRepairConfig: { enabled: false },
  resources: { autoScalingGroups: [] },
  health: { issues: [] },
  tags: {},
}

t.test('the instances of a group follow its size, its labels and its deletion', async (t) => {
  const { fleet, ec2, iam, autoScaling, running, commands, group } = await startAccount(t, 3)
  const described = async () =>
    (await autoScaling.send(new DescribeAutoScalingGroupsCommand({}))).AutoScalingGroups ?? []
  t.equal(await fleet.converge(group), 'eks-11111111')
  const instances = await running()
  t.equal(new Set(instances.map(({ SubnetId }) => SubnetId)).size, 3, 'one in each zone')
  for (const { Tags = [], InstanceType } of instances) {
    t.equal(InstanceType, 't4g.small')
    t.match(Object.fromEntries(Tags.map(({ Key = '', Value }) => [Key, Value])), {
      'eks:nodegroup-name': 'system',
      'kubernetes.io/cluster/shop': 'owned',
    })
  }
  t.match(await described(), [{ MinSize: 1, MaxSize: 4, DesiredCapacity: 3 }])

  const larger = { ...group, scalingConfig: { minSize: 1, maxSize: 4, desiredSize: 4 } }
  await t.rejects(fleet.converge(larger), {
    code: 'AsgInstanceLaunchFailures',
    message: /InsufficientInstanceCapacity.*BOX_MAX_NODES is 3/,
  })

  commands.length = 0
  await fleet.converge({
    ...group,
    scalingConfig: { minSize: 1, maxSize: 4, desiredSize: 1 },
    labels: { tier: 'a' },
    removed: { labels: ['role'], taints: [{ key: 'old', effect: 'NO_SCHEDULE' }] },
  })
  const [left] = await running()
  t.equal((await running()).length, 1)
  t.equal(left?.InstanceId, instances[0]?.InstanceId, 'the oldest stays')
  t.match(await described(), [{ DesiredCapacity: 1 }])
  t.match(commands, [
    /^drain ip-\S+ --ignore-daemonsets/,
    /^drain ip-\S+ --ignore-daemonsets/,
    /^label --overwrite node\/ip-\S+ tier=a role-$/,
    /^taint --overwrite node ip-\S+ old:NoSchedule-$/,
  ])

  await fleet.remove(group)
  await fleet.remove(group)
  t.strictSame(await running(), [])
  t.strictSame(await described(), [])
  t.strictSame((await iam.send(new ListInstanceProfilesCommand({}))).InstanceProfiles ?? [], [])
  const { LaunchTemplates = [] } = await ec2.send(new DescribeLaunchTemplatesCommand({}))
  t.strictSame(
    LaunchTemplates.map(({ LaunchTemplateName }) => LaunchTemplateName),
    ['mine'],
    "the user's launch template stays",
  )
})

t.test('a version update launches each new instance before it drains an old one', async (t) => {
  const { fleet, running, commands, group } = await startAccount(t, 3)
  const two = { ...group, scalingConfig: { minSize: 1, maxSize: 2, desiredSize: 2 } }
  await fleet.converge(two)
  const before = (await running()).map(({ InstanceId }) => InstanceId)
  // EC2 reports the time of a launch in seconds.
  const nodesSince = (Math.floor(Date.now() / 1000) + 1) * 1000
  await sleep(nodesSince - Date.now())
  commands.length = 0
  await fleet.converge({ ...two, instanceTypes: ['t4g.medium'], nodesSince })
  const after = await running()
  t.strictSame(
    after.map(({ InstanceType }) => InstanceType),
    ['t4g.medium', 't4g.medium'],
  )
  t.notOk(after.some(({ InstanceId }) => before.includes(InstanceId)))
  t.equal(commands.filter((command) => command.startsWith('drain')).length, 2)

  await fleet.converge({ ...two, nodesSince })
  t.strictSame(await running(), after, 'an update is carried out once')
})

t.test("EKS's settings are added to the user data of the launch template", async (t) => {
  const own = nodeConfig({ ...minimal, taints: [{ key: 'a', effect: 'NO_EXECUTE' }] }, cluster)
  const template =
    'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: application/node.eks.aws\n\nkind: NodeConfig\nspec: { kubelet: { config: { maxPods: 20 } } }\n--B--\n'
  const expected = {
    labels: {
      role: 'system',
      'eks.amazonaws.com/nodegroup': 'system',
      'eks.amazonaws.com/capacityType': 'ON_DEMAND',
    },
    taints: ['a=:NoExecute'],
  }
  t.strictSame(parseUserData(mergeUserData('', own)), expected)
  t.strictSame(parseUserData(mergeUserData(template, own)), { ...expected, maxPods: 20 })
})
