import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import {
  CreateFleetCommand,
  type CreateFleetCommandInput,
  CreateLaunchTemplateCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  DeleteTagsCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeLaunchTemplatesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSpotPriceHistoryCommand,
  DescribeSubnetsCommand,
  DescribeVolumesCommand,
  EC2Client,
  type _InstanceType as InstanceType,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  IAMClient,
  ListInstanceProfilesCommand,
} from '@aws-sdk/client-iam'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import { openPort } from '../lifecycle/ports.ts'
import { Capacity, UNAVAILABLE_TYPES_TAG } from './capacity.ts'
import { Fleets } from './ec2/fleet.ts'
import { StateChanges } from './ec2/state-changes.ts'
import { Emulator } from './emulator.ts'
import { createGateway } from './gateway.ts'
import type { AwsRequest } from './request.ts'
import { supplement } from './supplements.ts'

const region = 'eu-central-1'
const cluster = 'shop'

async function freePort(): Promise<number> {
  const listener = await openPort(0, 'port')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

const motoPort = await freePort()
const moto = execa(
  programPath(readBoxConfig(process.env), 'moto_server'),
  ['--host', '127.0.0.1', '--port', String(motoPort)],
  { reject: false, stdio: 'ignore' },
)
t.teardown(async () => {
  moto.kill()
  await moto
})

/** The real emulator behind the gateway, with the supplements, in a new account with what Karpenter expects. */
async function startAccount(t: Test, { maxNodes = 10, unsuitable = new Map<string, string>() } = {}) {
  const emulator = new Emulator({ host: '127.0.0.1', port: motoPort }, join(t.testdir(), 'journal.jsonl'))
  await emulator.restore(() => {})
  const gatewayPort = await freePort()
  const endpoint = `http://127.0.0.1:${gatewayPort}`
  const options = { endpoint, region, credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }
  const ec2 = new EC2Client({ ...options, maxAttempts: 1 })
  const iam = new IAMClient(options)
  const stateChanges = new StateChanges(ec2, (request) => emulator.forward(request))
  const nodes: { address: string; podSubnet: string }[] = []
  const unexpected = () => Promise.reject(new Error('this test does not call the service'))
  const supplemented = supplement({
    // The tests beside the databases cover these.
    rds: { handle: unexpected, completeSecret: unexpected },
    elastiCache: { handle: unexpected },
    capacity: new Capacity(ec2, cluster, maxNodes),
    fleets: new Fleets({ ec2, unsuitable: async (type) => unsuitable.get(type) }),
    stateChanges,
    nodes: async () => nodes,
  })
  const gateway = createGateway({
    authenticate: async ({ headers }: AwsRequest) => {
      const [, service = ''] =
        /Credential=[^/]+\/\d{8}\/[^/]+\/([^/]+)/.exec(headers.authorization ?? '') ?? []
      const principalArn = 'arn:aws:iam::123456789012:root'
      const caller = { account: '123456789012', userId: 'test', arn: principalArn, principalArn }
      return { caller, accessKeyId: 'test', signature: { accessKeyId: 'test', region, service } as never }
    },
    eks: unexpected,
    eksAuth: unexpected,
    webIdentity: unexpected,
    emulator: (request, { signature }) =>
      supplemented(signature.service, request, (sent) => emulator.forward(sent)),
  })
  await new Promise<void>((resolve) => gateway.listen(gatewayPort, '127.0.0.1', resolve))
  t.teardown(() => {
    gateway.closeAllConnections()
    gateway.close()
  })
  await stateChanges.start()

  /** Calls a JSON service. */
  const call = async (service: string, target: string, body: object): Promise<Record<string, unknown>> => {
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': target,
        authorization: `AWS4-HMAC-SHA256 Credential=test/20260101/${region}/${service}/aws4_request`,
      },
      body: JSON.stringify(body),
    })
    return { status: response.status, ...((await response.json()) as object) }
  }

  const { Subnets = [] } = await ec2.send(new DescribeSubnetsCommand({}))
  const { GroupId = '' } = await ec2.send(
    new CreateSecurityGroupCommand({ GroupName: 'node', Description: 'nodes', VpcId: Subnets[0]?.VpcId }),
  )
  await iam.send(new CreateRoleCommand({ RoleName: 'node', AssumeRolePolicyDocument: '{}' }))
  await iam.send(
    new CreateInstanceProfileCommand({ InstanceProfileName: 'nodes', Path: `/karpenter/${region}/shop/1/` }),
  )
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: 'nodes', RoleName: 'node' }))
  const tags = [{ Key: 'karpenter.sh/nodepool', Value: 'default' }]
  // Like Karpenter's (pkg/providers/launchtemplate/types.go).
  await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'karpenter.k8s.aws/1',
      LaunchTemplateData: {
        ImageId: 'ami-ec510003520260714',
        UserData: Buffer.from('kind: NodeConfig').toString('base64'),
        IamInstanceProfile: { Name: 'nodes' },
        MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
        NetworkInterfaces: [{ DeviceIndex: 0, Groups: [GroupId] }],
        BlockDeviceMappings: [
          {
            DeviceName: '/dev/xvda',
            Ebs: { VolumeSize: 20, VolumeType: 'gp3', Encrypted: true, DeleteOnTermination: true },
          },
        ],
        TagSpecifications: [{ ResourceType: 'network-interface', Tags: tags }],
      },
      TagSpecifications: [{ ResourceType: 'launch-template', Tags: tags }],
    }),
  )
  /** Creates a fleet as Karpenter does (pkg/providers/instance/types.go). */
  const createFleet = (
    overrides: [type: string, subnet: number, priority?: number][],
    changed: Partial<CreateFleetCommandInput> = {},
  ) =>
    ec2.send(
      new CreateFleetCommand({
        Type: 'instant',
        LaunchTemplateConfigs: [
          {
            LaunchTemplateSpecification: { LaunchTemplateName: 'karpenter.k8s.aws/1', Version: '$Latest' },
            Overrides: overrides.map(([type, subnet, Priority]) => ({
              InstanceType: type as InstanceType,
              SubnetId: Subnets[subnet]?.SubnetId,
              AvailabilityZone: Subnets[subnet]?.AvailabilityZone,
              ImageId: 'ami-ec510003520260714',
              Priority,
            })),
          },
        ],
        OnDemandOptions: { AllocationStrategy: 'lowest-price' },
        TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'on-demand' },
        TagSpecifications: (['instance', 'volume', 'fleet'] as const).map((ResourceType) => ({
          ResourceType,
          Tags: [...tags, { Key: `kubernetes.io/cluster/${cluster}`, Value: 'owned' }],
        })),
        ...changed,
      }),
    )
  const describe = async (id: string) => {
    const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
    return Reservations[0]?.Instances?.[0]
  }
  return { ec2, iam, call, createFleet, describe, subnets: Subnets, group: GroupId, nodes, stateChanges }
}

t.test('a fleet launches instances as its launch template, its override and its tags say', async (t) => {
  const { ec2, createFleet, describe, subnets, group, stateChanges } = await startAccount(t)
  const { Instances = [], Errors, FleetId } = await createFleet([['t3a.small', 1]])
  t.match(Instances, [
    {
      InstanceType: 't3a.small',
      Lifecycle: 'on-demand',
      LaunchTemplateAndOverrides: {
        Overrides: {
          SubnetId: subnets[1]?.SubnetId,
          AvailabilityZone: subnets[1]?.AvailabilityZone,
          ImageId: 'ami-ec510003520260714',
        },
      },
    },
  ])
  t.strictSame(Errors, [])
  const [id = ''] = Instances[0]?.InstanceIds ?? []
  const instance = await describe(id)
  t.match(instance, {
    ImageId: 'ami-ec510003520260714',
    SubnetId: subnets[1]?.SubnetId,
    SecurityGroups: [{ GroupId: group }],
    IamInstanceProfile: { Arn: /\/nodes$/ },
    MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
  })
  const tag = (tags: { Key?: string | undefined; Value?: string | undefined }[] | undefined, key: string) =>
    tags?.find(({ Key }) => Key === key)?.Value
  t.equal(tag(instance?.Tags, 'karpenter.sh/nodepool'), 'default')
  t.equal(tag(instance?.Tags, 'aws:ec2:fleet-id'), FleetId)
  const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}))
  t.match(Volumes, [{ Size: 20, VolumeType: 'gp3', Encrypted: true }])
  t.equal(tag(Volumes[0]?.Tags, `kubernetes.io/cluster/${cluster}`), 'owned')
  const { NetworkInterfaces = [] } = await ec2.send(new DescribeNetworkInterfacesCommand({}))
  t.match(NetworkInterfaces, [{ Groups: [{ GroupId: group }], Attachment: { InstanceId: id } }])
  t.equal(tag(NetworkInterfaces[0]?.TagSet, 'karpenter.sh/nodepool'), 'default')

  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
  t.match(await describe(id), { State: { Name: 'terminated' } })
  t.strictSame((await ec2.send(new DescribeVolumesCommand({}))).Volumes, [])
  await stateChanges.announce()
  t.strictSame((await ec2.send(new DescribeNetworkInterfacesCommand({}))).NetworkInterfaces, [])
  const next = await createFleet([['t3a.small', 1]])
  const successor = await describe(next.Instances?.[0]?.InstanceIds?.[0] ?? '')
  t.not(successor?.PrivateIpAddress, instance?.PrivateIpAddress, 'its node has another name')
})

t.test('a fleet launches the cheapest type that has room, and reports those that have none', async (t) => {
  const unsuitable = new Map([['t3a.small', 'no room here']])
  const { createFleet } = await startAccount(t, { maxNodes: 2, unsuitable })
  const launch = (changed?: Partial<CreateFleetCommandInput>) =>
    createFleet(
      [
        ['m6a.large', 0, 1],
        ['t3a.small', 0, 2],
        ['t3.small', 1, 3],
      ],
      changed,
    )
  const cheapest = await launch()
  t.match(cheapest.Instances, [{ InstanceType: 't3.small' }])
  t.match(cheapest.Errors, [
    {
      ErrorCode: 'InsufficientInstanceCapacity',
      ErrorMessage: 'no room here',
      LaunchTemplateAndOverrides: { Overrides: { InstanceType: 't3a.small' } },
    },
  ])
  const prioritized = await launch({ OnDemandOptions: { AllocationStrategy: 'prioritized' } })
  t.match(prioritized.Instances, [{ InstanceType: 'm6a.large' }])
  const full = await launch()
  t.strictSame(full.Instances, [])
  t.strictSame(
    full.Errors?.map(({ ErrorCode }) => ErrorCode),
    Array(3).fill('InsufficientInstanceCapacity'),
  )
})

t.test(
  'EC2 has no capacity for a type in a zone if an operator says so by a tag of the subnet',
  async (t) => {
    const { ec2, createFleet, subnets } = await startAccount(t)
    const [first, second] = subnets
    const tag = { Key: UNAVAILABLE_TYPES_TAG, Value: 't3a.small m6a.large' }
    const declare = (...ids: (string | undefined)[]) =>
      ec2.send(new CreateTagsCommand({ Resources: ids.map((id = '') => id), Tags: [tag] }))
    const launch = () =>
      createFleet([
        ['t3a.small', 0],
        ['t3a.small', 1],
        ['t3.small', 0],
      ])

    await declare(first?.SubnetId)
    const elsewhere = await launch()
    t.match(elsewhere.Instances, [
      {
        InstanceType: 't3a.small',
        LaunchTemplateAndOverrides: { Overrides: { SubnetId: second?.SubnetId } },
      },
    ])
    const zone = first?.AvailabilityZone
    t.match(elsewhere.Errors, [
      {
        ErrorCode: 'InsufficientInstanceCapacity',
        ErrorMessage: `We currently do not have sufficient t3a.small capacity in the Availability Zone you requested (${zone})`,
        LaunchTemplateAndOverrides: { Overrides: { InstanceType: 't3a.small', AvailabilityZone: zone } },
      },
    ])

    await declare(second?.SubnetId)
    const other = await launch()
    t.match(other.Instances, [{ InstanceType: 't3.small' }])
    t.equal(other.Errors?.length, 2)
    const run = (InstanceType: InstanceType) =>
      ec2.send(
        new RunInstancesCommand({
          MinCount: 1,
          MaxCount: 1,
          InstanceType,
          ImageId: 'ami-ec510003520260714',
          SubnetId: first?.SubnetId,
        }),
      )
    await t.rejects(run('m6a.large'), { name: 'InsufficientInstanceCapacity' })
    t.match(await run('m6a.xlarge'), { Instances: [{}] }, 'other types are available')

    await ec2.send(
      new DeleteTagsCommand({ Resources: [first?.SubnetId ?? ''], Tags: [{ Key: UNAVAILABLE_TYPES_TAG }] }),
    )
    t.match((await launch()).Errors, [])
  },
)

t.test('a fleet of several instances is fulfilled as far as there is room', async (t) => {
  const { createFleet } = await startAccount(t, { maxNodes: 2 })
  const { Instances = [], Errors = [] } = await createFleet([['t3a.small', 0]], {
    TargetCapacitySpecification: { TotalTargetCapacity: 3 },
  })
  t.equal(Instances.length, 1, 'one item for each pool')
  t.equal(Instances[0]?.InstanceIds?.length, 2)
  t.match(Errors, [{ ErrorCode: 'InsufficientInstanceCapacity', ErrorMessage: /BOX_MAX_NODES is 2/ }])
})

t.test('instances of a spot fleet are spot instances', async (t) => {
  const { createFleet, describe } = await startAccount(t)
  const { Instances = [] } = await createFleet(
    [
      ['t3.small', 0],
      ['t3a.small', 0],
    ],
    {
      SpotOptions: { AllocationStrategy: 'price-capacity-optimized' },
      TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
    },
  )
  t.match(Instances, [{ InstanceType: 't3a.small', Lifecycle: 'spot' }])
  t.match(await describe(Instances[0]?.InstanceIds?.[0] ?? ''), {
    InstanceLifecycle: 'spot',
    SpotInstanceRequestId: /^sir-/,
  })
})

t.test('dry runs launch nothing, and need no room', async (t) => {
  const { ec2, createFleet } = await startAccount(t, { maxNodes: 1 })
  await createFleet([['t3a.small', 0]])
  const succeeds = { name: 'DryRunOperation', $metadata: { httpStatusCode: 412 } }
  await t.rejects(createFleet([['t3a.small', 0]], { DryRun: true }), succeeds)
  await t.rejects(
    ec2.send(
      new RunInstancesCommand({
        DryRun: true,
        MinCount: 1,
        MaxCount: 1,
        InstanceType: 't3a.small',
        LaunchTemplate: { LaunchTemplateName: 'karpenter.k8s.aws/1', Version: '$Latest' },
      }),
    ),
    succeeds,
  )
  await t.rejects(ec2.send(new DescribeInstanceTypesCommand({ DryRun: true })), succeeds)
  await t.rejects(
    createFleet([], {
      LaunchTemplateConfigs: [
        { LaunchTemplateSpecification: { LaunchTemplateName: 'missing', Version: '$Latest' } },
      ],
    }),
    { name: 'InvalidLaunchTemplateName.NotFoundException' },
    'Karpenter then creates it again',
  )
})

t.test('the catalogue of instance types is small, and has prices', async (t) => {
  const { ec2, call } = await startAccount(t)
  const { InstanceTypes = [] } = await ec2.send(
    new DescribeInstanceTypesCommand({
      Filters: [
        { Name: 'supported-virtualization-type', Values: ['hvm'] },
        { Name: 'processor-info.supported-architecture', Values: ['x86_64', 'arm64'] },
      ],
      MaxResults: 100,
    }),
  )
  const names = InstanceTypes.map((type) => type.InstanceType ?? '')
  t.ok(names.length > 50 && names.length <= 100, `${names.length} types`)
  t.ok(names.includes('t4g.small') && names.includes('t3a.small'))
  const named = await ec2.send(new DescribeInstanceTypesCommand({ InstanceTypes: ['m5.xlarge'] }))
  t.equal(named.InstanceTypes?.length, 1, 'other types exist as well')
  const { InstanceTypeOfferings = [] } = await ec2.send(
    new DescribeInstanceTypeOfferingsCommand({ LocationType: 'availability-zone', MaxResults: 1000 }),
  )
  t.strictSame(
    new Set(InstanceTypeOfferings.map((offering) => offering.InstanceType)),
    new Set<string>(names),
    'all of them are offered',
  )

  /** With Karpenter's filters (pkg/providers/pricing/pricing.go). */
  const prices = async (tenancy: string, productFamily: string) => {
    const filters = {
      regionCode: region,
      serviceCode: 'AmazonEC2',
      preInstalledSw: 'NA',
      operatingSystem: 'Linux',
      capacitystatus: 'Used',
      marketoption: 'OnDemand',
      tenancy,
      productFamily,
    }
    const { PriceList = [] } = (await call('pricing', 'AWSPriceListService.GetProducts', {
      ServiceCode: 'AmazonEC2',
      Filters: Object.entries(filters).map(([Field, Value]) => ({ Type: 'TERM_MATCH', Field, Value })),
    })) as { PriceList?: string[] }
    return PriceList.map((text) => JSON.parse(text)).map(({ product, terms }) => {
      const [term] = Object.values(terms.OnDemand) as { priceDimensions: object }[]
      const [dimension] = Object.values(term?.priceDimensions ?? {})
      return [product.attributes.instanceType, Number(dimension.pricePerUnit.USD)] as const
    })
  }
  const shared = new Map(await prices('Shared', 'Compute Instance'))
  const metal = new Map(await prices('Dedicated', 'Compute Instance (bare metal)'))
  t.equal(shared.get('t4g.small'), 0.0192)
  t.strictSame([...metal], [['c6g.metal', 2.4832]])
  t.strictSame(new Set([...shared.keys(), ...metal.keys()]), new Set(names), 'every type has a price')

  const { SpotPriceHistory = [] } = await ec2.send(
    new DescribeSpotPriceHistoryCommand({ ProductDescriptions: ['Linux/UNIX'], StartTime: new Date() }),
  )
  t.equal(SpotPriceHistory.length, 3 * names.length, 'one for each type and zone')
  t.ok(SpotPriceHistory.every(({ SpotPrice, Timestamp }) => Number(SpotPrice) > 0 && Timestamp !== undefined))
})

t.test("the images of EKS's releases exist", async (t) => {
  const { ec2, call } = await startAccount(t)
  const get = async (path: string) =>
    (await call('ssm', 'AmazonSSM.GetParameter', {
      Name: `/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/${path}/image_id`,
    })) as { status: number; __type?: string; Parameter?: { Value: string } }
  const image = async (path: string) => {
    const ImageId = (await get(path)).Parameter?.Value ?? ''
    // As Karpenter asks (pkg/providers/amifamily/al2023.go).
    const { Images = [] } = await ec2.send(
      new DescribeImagesCommand({ Filters: [{ Name: 'image-id', Values: [ImageId] }] }),
    )
    return Images[0]
  }
  const arm64 = await image('arm64/standard/amazon-eks-node-al2023-arm64-standard-1.35-v20260714')
  t.match(arm64, {
    Name: 'amazon-eks-node-al2023-arm64-standard-1.35-v20260714',
    Architecture: 'arm64',
    State: 'available',
    CreationDate: '2026-07-14T00:00:00.000Z',
  })
  const newer = await image('arm64/standard/amazon-eks-node-al2023-arm64-standard-1.35-v20260801')
  t.not(newer?.ImageId, arm64?.ImageId, 'a newer release is another image')
  t.match(await image('x86_64/standard/recommended'), { Architecture: 'x86_64' })
  for (const path of [
    'arm64/nvidia/recommended',
    'x86_64/standard/amazon-eks-node-al2023-arm64-standard-1.35-v20260714',
  ]) {
    t.match(await get(path), { status: 400, __type: /ParameterNotFound/ }, path)
  }
  const all = await ec2.send(new DescribeImagesCommand({ Owners: ['amazon'] }))
  t.ok((all.Images?.length ?? 0) > 10, 'the others exist as well')
})

t.test('instance profiles are listed below a path', async (t) => {
  const { iam } = await startAccount(t)
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: 'eks-group' }))
  const list = async (PathPrefix?: string) => {
    const { InstanceProfiles = [] } = await iam.send(new ListInstanceProfilesCommand({ PathPrefix }))
    return InstanceProfiles.map(({ InstanceProfileName, Roles }) => [InstanceProfileName, Roles?.length])
  }
  t.strictSame(await list(`/karpenter/${region}/shop/`), [['nodes', 1]])
  t.strictSame(await list(`/karpenter/${region}/other/`), [])
  t.equal((await list()).length, 2)
})

t.test('all launch templates are described', async (t) => {
  const { ec2 } = await startAccount(t)
  for (let count = 0; count < 20; count++) {
    await ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName: `template-${count}`,
        LaunchTemplateData: { InstanceType: 't3.small' },
      }),
    )
  }
  const { LaunchTemplates } = await ec2.send(new DescribeLaunchTemplatesCommand({}))
  t.equal(LaunchTemplates?.length, 21)
})

t.test("a node's network interface has the addresses of its pods", async (t) => {
  const { ec2, createFleet, describe, nodes } = await startAccount(t)
  const { Instances = [] } = await createFleet([['t3a.small', 0]])
  const [id = ''] = Instances[0]?.InstanceIds ?? []
  nodes.push({ address: (await describe(id))?.PrivateIpAddress ?? '', podSubnet: '10.0.48.0/24' })
  const { NetworkInterfaces = [] } = await ec2.send(new DescribeNetworkInterfacesCommand({}))
  for (const [found] of [(await describe(id))?.NetworkInterfaces ?? [], NetworkInterfaces]) {
    t.equal(found?.Ipv4Prefixes?.length, 16)
    t.equal(found?.Ipv4Prefixes?.[1]?.Ipv4Prefix, '10.0.48.16/28')
    t.equal(found?.PrivateIpAddresses?.length, 1)
  }
})

t.test(
  'EventBridge delivers changes of instances to a queue, and events of AWS that a test sends',
  async (t) => {
    const { ec2, call, createFleet, stateChanges } = await startAccount(t)
    const sqs = (operation: string, body: object) => call('sqs', `AmazonSQS.${operation}`, body)
    const { QueueUrl } = await sqs('CreateQueue', { QueueName: 'karpenter' })
    const event = (operation: string, body: object) => call('events', `AWSEvents.${operation}`, body)
    for (const name of ['EC2 Instance State-change Notification', 'EC2 Spot Instance Interruption Warning']) {
      const Name = name.replaceAll(' ', '')
      await event('PutRule', {
        Name,
        EventPattern: JSON.stringify({ source: ['aws.ec2'], 'detail-type': [name] }),
      })
      const Arn = `arn:aws:sqs:${region}:123456789012:karpenter`
      await event('PutTargets', { Rule: Name, Targets: [{ Id: 'queue', Arn }] })
    }
    /** The next messages, which it deletes. */
    const receive = async (WaitTimeSeconds: number) => {
      const { Messages = [] } = (await sqs('ReceiveMessage', {
        QueueUrl,
        WaitTimeSeconds,
        MaxNumberOfMessages: 10,
      })) as { Messages?: { Body: string; ReceiptHandle: string }[] }
      for (const { ReceiptHandle } of Messages) await sqs('DeleteMessage', { QueueUrl, ReceiptHandle })
      return Messages.map(({ Body }) => JSON.parse(Body))
    }
    t.strictSame(await receive(0), [])
    const { Instances = [] } = await createFleet([['t3a.small', 0]])
    const [id = ''] = Instances[0]?.InstanceIds ?? []
    await stateChanges.announce()
    const states = (events: { detail: object }[]) => events.map(({ detail }) => detail)
    t.strictSame(states(await receive(0)), [
      { 'instance-id': id, state: 'pending' },
      { 'instance-id': id, state: 'running' },
    ])
    const waiting = receive(20)
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    t.match(await waiting, [
      {
        source: 'aws.ec2',
        'detail-type': 'EC2 Instance State-change Notification',
        resources: [`arn:aws:ec2:${region}:123456789012:instance/${id}`],
        detail: { 'instance-id': id, state: 'shutting-down' },
      },
    ])
    await stateChanges.announce()
    await receive(0)
    const warning = {
      Source: 'aws.ec2',
      DetailType: 'EC2 Spot Instance Interruption Warning',
      Detail: JSON.stringify({ 'instance-id': id, 'instance-action': 'terminate' }),
    }
    await event('PutEvents', { Entries: [warning] })
    t.match(await receive(0), [{ 'detail-type': warning.DetailType, detail: { 'instance-id': id } }])
  },
)
