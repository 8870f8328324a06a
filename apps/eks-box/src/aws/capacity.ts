import { DescribeInstancesCommand, type EC2Client } from '@aws-sdk/client-ec2'

/** The room for instances of the emulated EC2. Each instance of the cluster is a node on this machine. */
export class Capacity {
  readonly #ec2: EC2Client
  readonly #cluster: string
  readonly #maxNodes: number

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
}
