import {
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypesCommand,
  DescribeSubnetsCommand,
  type EC2Client,
  type Instance as Ec2Instance,
} from '@aws-sdk/client-ec2'
import type { Instance, InstanceType } from './spec.ts'

/** An instance that belongs to the cluster. */
export interface ClusterInstance {
  id: string
  state: 'running' | 'stopped' | 'terminated'
  /** ARN of its instance profile. */
  profile?: string
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
    const { Reservations = [] } = await this.#ec2.send(
      new DescribeInstancesCommand({
        Filters: [{ Name: 'tag-key', Values: [`kubernetes.io/cluster/${this.#cluster}`] }],
      }),
    )
    return Reservations.flatMap(({ Instances = [] }) => Instances).map((instance) => ({
      id: instance.InstanceId ?? '',
      state: stateOf(instance),
      ...(instance.IamInstanceProfile?.Arn === undefined ? {} : { profile: instance.IamInstanceProfile.Arn }),
      details: () => this.#details(instance),
    }))
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
  const [type] = InstanceTypes
  return {
    name,
    processors: type?.VCpuInfo?.DefaultVCpus ?? 1,
    memoryMiB: type?.MemoryInfo?.SizeInMiB ?? 1024,
    networkInterfaces: type?.NetworkInfo?.MaximumNetworkInterfaces ?? 2,
    addressesPerInterface: type?.NetworkInfo?.Ipv4AddressesPerInterface ?? 4,
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
