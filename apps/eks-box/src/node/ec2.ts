import {
  AssociateIamInstanceProfileCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstanceTypesCommand,
  DescribeSubnetsCommand,
  type EC2Client,
  type Instance as Ec2Instance,
  paginateDescribeInstances,
} from '@aws-sdk/client-ec2'
import type { Instance, InstanceType } from './spec.ts'

/** An instance that belongs to the cluster. */
export interface ClusterInstance {
  id: string
  state: 'running' | 'stopped' | 'terminated'
  /** Name of its instance profile. */
  profile: string | undefined
  /** Name of its Auto Scaling group. */
  autoScalingGroup: string | undefined
  details: () => Promise<Instance>
}

/**
 * Reads the instances of a cluster: those with the tag `kubernetes.io/cluster/<name>`, which managed node groups and
 * Karpenter set. What never changes about an instance, a type or a subnet is read once.
 */
export class ClusterInstances {
  readonly #ec2: EC2Client
  readonly #cluster: string
  readonly #types = new Map<string, Promise<InstanceType>>()
  readonly #subnets = new Map<string, Promise<string>>()

  constructor(ec2: EC2Client, cluster: string) {
    this.#ec2 = ec2
    this.#cluster = cluster
  }

  async list(): Promise<ClusterInstance[]> {
    const Filters = [{ Name: 'tag-key', Values: [`kubernetes.io/cluster/${this.#cluster}`] }]
    const found: Ec2Instance[] = []
    // The emulator keeps terminated instances, so there may be several pages.
    for await (const { Reservations = [] } of paginateDescribeInstances({ client: this.#ec2 }, { Filters })) {
      found.push(...Reservations.flatMap(({ Instances = [] }) => Instances))
    }
    return found.map((instance) => ({
      id: instance.InstanceId ?? '',
      state: stateOf(instance),
      profile: instance.IamInstanceProfile?.Arn?.split('/').at(-1),
      autoScalingGroup: instance.Tags?.find(({ Key }) => Key === 'aws:autoscaling:groupName')?.Value,
      details: () => this.#details(instance),
    }))
  }

  /**
   * Gives an instance of a managed node group the group's instance profile, which has the same name as its Auto Scaling
   * group. The emulator's Auto Scaling groups ignore the profile of the launch template.
   */
  async giveProfile({ id, profile, autoScalingGroup }: ClusterInstance): Promise<string | undefined> {
    if (profile !== undefined || autoScalingGroup === undefined) return profile
    await this.#ec2.send(
      new AssociateIamInstanceProfileCommand({
        InstanceId: id,
        IamInstanceProfile: { Name: autoScalingGroup },
      }),
    )
    return autoScalingGroup
  }

  async #details(instance: Ec2Instance): Promise<Instance> {
    const { InstanceId = '', SubnetId = '', InstanceType = 'm1.small' } = instance
    const { UserData } = await this.#ec2.send(
      new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'userData' }),
    )
    return {
      id: InstanceId,
      dnsName: instance.PrivateDnsName ?? '',
      address: instance.PrivateIpAddress ?? '',
      zone: instance.Placement?.AvailabilityZone ?? '',
      type: await this.#type(InstanceType),
      subnet: await this.#subnet(SubnetId),
      userData: Buffer.from(UserData?.Value ?? '', 'base64').toString(),
    }
  }

  #type(name: NonNullable<Ec2Instance['InstanceType']>): Promise<InstanceType> {
    return remember(this.#types, name, () => describeInstanceType(this.#ec2, name))
  }

  #subnet(id: string): Promise<string> {
    return remember(this.#subnets, id, async () => {
      const { Subnets = [] } = await this.#ec2.send(new DescribeSubnetsCommand({ SubnetIds: [id] }))
      return Subnets[0]?.CidrBlock ?? ''
    })
  }
}

/** What EC2 publishes about an instance type. */
export async function describeInstanceType(
  ec2: EC2Client,
  name: NonNullable<Ec2Instance['InstanceType']>,
): Promise<InstanceType> {
  const { InstanceTypes = [] } = await ec2.send(new DescribeInstanceTypesCommand({ InstanceTypes: [name] }))
  const { ProcessorInfo, VCpuInfo, MemoryInfo, NetworkInfo } = InstanceTypes[0] ?? {}
  const known = (value: number | undefined) => {
    if (value === undefined) throw new Error(`EC2 does not describe the instance type ${name}`)
    return value
  }
  return {
    name,
    architecture: ProcessorInfo?.SupportedArchitectures?.[0] ?? '',
    processors: known(VCpuInfo?.DefaultVCpus),
    memoryMiB: known(MemoryInfo?.SizeInMiB),
    networkInterfaces: known(NetworkInfo?.MaximumNetworkInterfaces),
    addressesPerInterface: known(NetworkInfo?.Ipv4AddressesPerInterface),
  }
}

function stateOf({ State }: Ec2Instance): ClusterInstance['state'] {
  if (State?.Name === 'pending' || State?.Name === 'running') return 'running'
  return State?.Name === 'stopping' || State?.Name === 'stopped' ? 'stopped' : 'terminated'
}

/** Returns the known value, or reads it. A failed read is not remembered. */
function remember<Value>(
  known: Map<string, Promise<Value>>,
  key: string,
  read: () => Promise<Value>,
): Promise<Value> {
  const before = known.get(key)
  if (before !== undefined) return before
  const value = read()
  known.set(key, value)
  value.catch(() => known.delete(key))
  return value
}
