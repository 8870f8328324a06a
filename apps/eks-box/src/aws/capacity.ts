import { DescribeInstancesCommand, DescribeSubnetsCommand, type EC2Client } from '@aws-sdk/client-ec2'
import { AwsError } from './aws-error.ts'

/**
 * With this tag, an operator declares that a subnet's zone has no capacity for some instance types: their names,
 * separated by spaces. Tags of AWS can contain neither commas nor asterisks.
 */
export const UNAVAILABLE_TYPES_TAG = 'eks-box/unavailable-types'

/** What a request launches. */
export interface Launch {
  count: number
  /** Undefined if only the launch template contains it. */
  type: string | undefined
  /** Undefined if only the launch template contains it, or for the default subnet. */
  subnetId: string | undefined
}

/** The room for instances of the emulated EC2. Each instance of the cluster is a node on this machine. */
export class Capacity {
  readonly #ec2: EC2Client
  readonly #cluster: string
  readonly #maxNodes: number
  #lastLaunch: Promise<unknown> = Promise.resolve()

  constructor(ec2: EC2Client, cluster: string, maxNodes: number) {
    this.#ec2 = ec2
    this.#cluster = cluster
    this.#maxNodes = maxNodes
  }

  /** Why `count` more instances cannot be launched, in the words of EC2; undefined if they can. */
  async shortage(count: number): Promise<string | undefined> {
    const { Reservations = [] } = await this.#ec2.send(
      new DescribeInstancesCommand({
        Filters: [
          { Name: 'tag-key', Values: [`kubernetes.io/cluster/${this.#cluster}`] },
          { Name: 'instance-state-name', Values: ['pending', 'running'] },
        ],
      }),
    )
    const running = Reservations.flatMap(({ Instances = [] }) => Instances).length
    if (running + count <= this.#maxNodes) return undefined
    return `We currently do not have sufficient capacity: this machine runs ${running} nodes, and BOX_MAX_NODES is ${this.#maxNodes}`
  }

  /** The shortage that an operator has declared for the type in the subnet, in the words of EC2. */
  async #declaredShortage({ type, subnetId }: Launch): Promise<string | undefined> {
    if (type === undefined || subnetId === undefined) return undefined
    const { Subnets = [] } = await this.#ec2.send(
      new DescribeSubnetsCommand({
        Filters: [
          { Name: 'subnet-id', Values: [subnetId] },
          { Name: 'tag-key', Values: [UNAVAILABLE_TYPES_TAG] },
        ],
      }),
    )
    const [subnet] = Subnets
    const declared = subnet?.Tags?.find(({ Key }) => Key === UNAVAILABLE_TYPES_TAG)?.Value ?? ''
    if (!declared.split(' ').includes(type)) return undefined
    return `We currently do not have sufficient ${type} capacity in the Availability Zone you requested (${subnet?.AvailabilityZone}): see the tag ${UNAVAILABLE_TYPES_TAG} of ${subnetId}`
  }

  /**
   * Launches instances. Launches run one after another, because each of them takes room from the next.
   *
   * @throws AwsError when there is no room for them.
   */
  launch<Result>(requested: Launch, run: () => Promise<Result>): Promise<Result> {
    const launched = this.#lastLaunch.then(async () => {
      const shortage = (await this.#declaredShortage(requested)) ?? (await this.shortage(requested.count))
      if (shortage !== undefined) throw new AwsError('capacity', shortage)
      return run()
    })
    this.#lastLaunch = launched.catch(() => {})
    return launched
  }
}
