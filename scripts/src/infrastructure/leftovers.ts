import { setTimeout as sleep } from 'node:timers/promises'
import { type CloudWatchLogsClient, DeleteLogGroupCommand } from '@aws-sdk/client-cloudwatch-logs'
import {
  type EC2Client,
  type Filter,
  paginateDescribeInstances,
  paginateDescribeLaunchTemplates,
  paginateDescribeNetworkInterfaces,
  paginateDescribeSecurityGroups,
  paginateDescribeVolumes,
} from '@aws-sdk/client-ec2'
import {
  DescribeTagsCommand,
  type ElasticLoadBalancingV2Client,
  paginateDescribeLoadBalancers,
  paginateDescribeTargetGroups,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { ActionableError } from 'shared/errors'
import type { AwsClients } from './aws.ts'

/** The command that deletes each kind, in case its controller does not; the id follows. */
const removal = {
  'load balancer': 'aws elbv2 delete-load-balancer --load-balancer-arn',
  'target group': 'aws elbv2 delete-target-group --target-group-arn',
  instance: 'aws ec2 terminate-instances --instance-ids',
  'launch template': 'aws ec2 delete-launch-template --launch-template-id',
  volume: 'aws ec2 delete-volume --volume-id',
  'network interface': 'aws ec2 delete-network-interface --network-interface-id',
  // Last, because the others refer to it.
  'security group': 'aws ec2 delete-security-group --group-id',
} as const

export type LeftoverKind = keyof typeof removal

/** A resource in AWS that a controller in the cluster created, so it is in no Terraform state. */
export interface Leftover {
  kind: LeftoverKind
  id: string
  /** What created it, and for what. */
  origin: string
}

/** A cluster, and the EBS volumes that it is known to use. */
export interface OwningCluster {
  name: string
  region: string
  volumeIds?: readonly string[]
}

type SearchClients = Pick<AwsClients, 'ec2' | 'elb'>

interface Tag {
  Key?: string | undefined
  Value?: string | undefined
}

/** On all resources of the AWS Load Balancer Controller (its documentation, "Resource Tags"). */
const LOAD_BALANCER_CLUSTER = 'elbv2.k8s.aws/cluster'
/** Holds namespace and name of the Ingress or Service. The prefix is `ingress` or `service`. */
const LOAD_BALANCER_STACK = '.k8s.aws/stack'
/** On all resources of Karpenter (its documentation, EC2NodeClass, "spec.tags"), but not on managed node groups. */
const KARPENTER_CLUSTER = 'eks:eks-cluster-name'
const KARPENTER_NODE_POOL = 'karpenter.sh/nodepool'
/** On the network interfaces of the VPC CNI plugin (set by its ipamd). */
const CNI_CLUSTER = 'cluster.k8s.amazonaws.com/name'
/**
 * On volumes of the EBS CSI driver, if AWS's cluster-scoped policy, the cluster stack or the driver's option
 * `k8s-tag-cluster-id` (its documentation, "Tagging") sets it.
 */
const VOLUME_CLUSTER = 'ebs.csi.aws.com/cluster-name'
/** On every volume of the EBS CSI driver, but not on the nodes' root volumes. */
const VOLUME_BY_DRIVER = 'CSIVolumeName'
const VOLUME_CLAIM = 'kubernetes.io/created-for/pvc/name'
const VOLUME_NAMESPACE = 'kubernetes.io/created-for/pvc/namespace'
/** On resources of a single cluster: its security group, instances and volumes. Subnets have `shared` instead. */
const ownedBy = (clusterName: string) => ({
  Name: `tag:kubernetes.io/cluster/${clusterName}`,
  Values: ['owned'],
})

/** Maximum number of resources in one DescribeTags request. */
const DESCRIBE_TAGS_LIMIT = 20

/**
 * Finds what the AWS Load Balancer Controller, Karpenter, the VPC CNI plugin and the EBS CSI driver created for a
 * cluster and did not delete. Resources of managed node groups and terminated instances do not count.
 */
export async function findControllerLeftovers(
  { name, volumeIds = [] }: OwningCluster,
  { ec2, elb }: SearchClients,
): Promise<Leftover[]> {
  const byKind = await Promise.all([
    loadBalancers(name, elb),
    targetGroups(name, elb),
    instances(ec2, [
      { Name: `tag:${KARPENTER_CLUSTER}`, Values: [name] },
      { Name: 'tag-key', Values: [KARPENTER_NODE_POOL] },
    ]),
    launchTemplates(name, ec2),
    volumes(name, volumeIds, ec2),
    networkInterfaces(name, ec2),
    securityGroups(ec2, [{ Name: `tag:${LOAD_BALANCER_CLUSTER}`, Values: [name] }]),
  ])
  return byKind.flat()
}

/**
 * Finds everything in AWS that is tagged with a deleted cluster: leftovers of its controllers, and the cluster's own
 * instances and security groups.
 */
export async function findClusterLeftovers(
  cluster: OwningCluster,
  clients: SearchClients,
): Promise<Leftover[]> {
  const byKind = await Promise.all([
    findControllerLeftovers(cluster, clients),
    instances(clients.ec2, [ownedBy(cluster.name)]),
    securityGroups(clients.ec2, [ownedBy(cluster.name)]),
  ])
  return [...new Map(byKind.flat().map((leftover) => [leftover.id, leftover])).values()]
}

async function loadBalancers(clusterName: string, elb: ElasticLoadBalancingV2Client): Promise<Leftover[]> {
  const arns: string[] = []
  for await (const { LoadBalancers = [] } of paginateDescribeLoadBalancers({ client: elb }, {})) {
    arns.push(...LoadBalancers.flatMap(({ LoadBalancerArn = [] }) => LoadBalancerArn))
  }
  return taggedForCluster('load balancer', arns, clusterName, elb)
}

async function targetGroups(clusterName: string, elb: ElasticLoadBalancingV2Client): Promise<Leftover[]> {
  const arns: string[] = []
  for await (const { TargetGroups = [] } of paginateDescribeTargetGroups({ client: elb }, {})) {
    arns.push(...TargetGroups.flatMap(({ TargetGroupArn = [] }) => TargetGroupArn))
  }
  return taggedForCluster('target group', arns, clusterName, elb)
}

/** Elastic Load Balancing cannot filter by tag, and lists resources without their tags. */
async function taggedForCluster(
  kind: LeftoverKind,
  arns: readonly string[],
  clusterName: string,
  elb: ElasticLoadBalancingV2Client,
): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  for (let start = 0; start < arns.length; start += DESCRIBE_TAGS_LIMIT) {
    const ResourceArns = arns.slice(start, start + DESCRIBE_TAGS_LIMIT)
    const { TagDescriptions = [] } = await elb.send(new DescribeTagsCommand({ ResourceArns }))
    for (const { ResourceArn = '', Tags = [] } of TagDescriptions) {
      if (tagValue(Tags, LOAD_BALANCER_CLUSTER) !== clusterName) continue
      leftovers.push({ kind, id: ResourceArn, origin: loadBalancerOrigin(Tags) })
    }
  }
  return leftovers
}

async function securityGroups(ec2: EC2Client, Filters: Filter[]): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  for await (const { SecurityGroups = [] } of paginateDescribeSecurityGroups({ client: ec2 }, { Filters })) {
    for (const { GroupId = '', GroupName, Tags = [] } of SecurityGroups) {
      const byController = tagValue(Tags, LOAD_BALANCER_CLUSTER) !== undefined
      const origin = byController ? loadBalancerOrigin(Tags) : `${GroupName}, of the cluster itself`
      leftovers.push({ kind: 'security group', id: GroupId, origin })
    }
  }
  return leftovers
}

async function instances(ec2: EC2Client, tags: Filter[]): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  const alive = {
    Name: 'instance-state-name',
    Values: ['pending', 'running', 'shutting-down', 'stopping', 'stopped'],
  }
  const pages = paginateDescribeInstances({ client: ec2 }, { Filters: [...tags, alive] })
  for await (const { Reservations = [] } of pages) {
    for (const { InstanceId = '', Tags = [] } of Reservations.flatMap(({ Instances = [] }) => Instances)) {
      const pool = tagValue(Tags, KARPENTER_NODE_POOL)
      const origin = pool === undefined ? 'node of the cluster' : `node of Karpenter's NodePool ${pool}`
      leftovers.push({ kind: 'instance', id: InstanceId, origin })
    }
  }
  return leftovers
}

/** Searches by each tag that may name the cluster and by id, because a driver without cluster name sets no tag. */
async function volumes(clusterName: string, ids: readonly string[], ec2: EC2Client): Promise<Leftover[]> {
  const provisioned = { Name: 'tag-key', Values: [VOLUME_BY_DRIVER] }
  const searches: Filter[][] = [
    [{ Name: `tag:${VOLUME_CLUSTER}`, Values: [clusterName] }, provisioned],
    [ownedBy(clusterName), provisioned],
    ...(ids.length === 0 ? [] : [[{ Name: 'volume-id', Values: [...ids] }]]),
  ]
  const found = new Map<string, Leftover>()
  for (const Filters of searches) {
    for await (const { Volumes = [] } of paginateDescribeVolumes({ client: ec2 }, { Filters })) {
      for (const { VolumeId = '', Tags = [] } of Volumes) {
        const claim = tagValue(Tags, VOLUME_CLAIM)
        const namespace = tagValue(Tags, VOLUME_NAMESPACE)
        const origin = `data of ${claim === undefined ? 'a claim' : `the claim ${namespace}/${claim}`}`
        found.set(VolumeId, { kind: 'volume', id: VolumeId, origin })
      }
    }
  }
  return [...found.values()]
}

async function launchTemplates(clusterName: string, ec2: EC2Client): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  const Filters = [{ Name: `tag:${KARPENTER_CLUSTER}`, Values: [clusterName] }]
  for await (const { LaunchTemplates = [] } of paginateDescribeLaunchTemplates(
    { client: ec2 },
    { Filters },
  )) {
    for (const { LaunchTemplateId = '' } of LaunchTemplates) {
      leftovers.push({ kind: 'launch template', id: LaunchTemplateId, origin: "of Karpenter's nodes" })
    }
  }
  return leftovers
}

/** AWS deletes an interface with its instance, except one that was being detached when the instance terminated. */
async function networkInterfaces(clusterName: string, ec2: EC2Client): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  const Filters = [
    { Name: `tag:${CNI_CLUSTER}`, Values: [clusterName] },
    { Name: 'status', Values: ['available'] },
  ]
  for await (const page of paginateDescribeNetworkInterfaces({ client: ec2 }, { Filters })) {
    for (const { NetworkInterfaceId = '' } of page.NetworkInterfaces ?? []) {
      const origin = 'left by the VPC CNI plugin of a deleted node'
      leftovers.push({ kind: 'network interface', id: NetworkInterfaceId, origin })
    }
  }
  return leftovers
}

function tagValue(tags: readonly Tag[], key: string): string | undefined {
  return tags.find(({ Key }) => Key === key)?.Value
}

/** Every resource is for one Ingress or Service, except the security group that all load balancers share. */
function loadBalancerOrigin(tags: readonly Tag[]): string {
  const stack = tags.find(({ Key }) => Key?.endsWith(LOAD_BALANCER_STACK))?.Value
  return `created by the AWS Load Balancer Controller${stack === undefined ? '' : ` for ${stack}`}`
}

/** How often to look, and for how long, in milliseconds. */
export interface Polling {
  interval: number
  timeout: number
}

/** The clock to wait by, in milliseconds. Tests use a fake one. */
export interface Clock {
  now: () => number
  sleep: (milliseconds: number) => Promise<unknown>
}

/** Instances take longest: up to 10 minutes for the NodePool's grace period, and some more to shut down. */
export const CONTROLLER_POLLING: Polling = { interval: 5_000, timeout: 900_000 }

const realClock: Clock = { now: Date.now, sleep }

/**
 * Waits until the controllers have deleted their resources. Call it after deleting the Kubernetes objects that those
 * resources belong to (Ingresses, NodePools, claims), while the controllers still run.
 *
 * @param find - finds what still exists, such as {@link findControllerLeftovers}
 * @param report - receives a line whenever the list of leftovers changes
 * @throws ActionableError after `polling.timeout`, with all leftovers and the commands that delete them
 */
export async function waitUntilGone(
  { region }: Pick<OwningCluster, 'region'>,
  find: () => Promise<Leftover[]>,
  report: (line: string) => void,
  polling: Polling = CONTROLLER_POLLING,
  clock: Clock = realClock,
): Promise<void> {
  const deadline = clock.now() + polling.timeout
  let reported = ''
  for (;;) {
    const leftovers = await find()
    if (leftovers.length === 0) return
    if (clock.now() >= deadline) {
      const minutes = Math.round(polling.timeout / 60_000)
      throw leftoversError(
        leftovers,
        region,
        `these resources still exist in AWS after ${minutes} min`,
        'look for the reason in the logs of aws-load-balancer-controller, karpenter and ebs-csi-controller (namespace kube-system), or delete the resources by hand',
      )
    }
    const line = `waiting for the deletion of ${leftovers.map(({ kind, id }) => `${kind} ${id}`).join(', ')}`
    if (line !== reported) report(line)
    reported = line
    await clock.sleep(polling.interval)
  }
}

/** An error that lists leftovers, with the commands that delete them in an order that works. */
export function leftoversError(
  leftovers: readonly Leftover[],
  region: string,
  situation: string,
  advice: string,
): ActionableError {
  const commands = Object.entries(removal).flatMap(([kind, command]) =>
    leftovers
      .filter((leftover) => leftover.kind === kind)
      .map(({ id }) => `  ${command} ${id} --region ${region}`),
  )
  return new ActionableError(
    [`${situation}:`, ...leftovers.map(({ kind, id, origin }) => `  ${kind} ${id}, ${origin}`)].join('\n'),
    [`${advice}, in this order; then run the command again:`, ...commands].join('\n'),
  )
}

/**
 * How long the control plane's log group must stay deleted to count as gone. EKS delivers logs for some time after a
 * cluster is deleted, and each delivery recreates the group (terraform-aws-modules/terraform-aws-eks, issues 920 and
 * 2763).
 */
const LOG_GROUP_QUIET_PERIOD: Polling = { interval: 2_000, timeout: 20_000 }
/** Destroy gives up after this time, in milliseconds. */
const LOG_GROUP_TIMEOUT = 300_000

/**
 * Deletes the log group of a deleted cluster, as often as EKS recreates it.
 *
 * @param quietPeriod - how long the group must stay deleted; a timeout of 0 tries once
 */
export async function removeLogGroup(
  clusterName: string,
  logs: Pick<CloudWatchLogsClient, 'send'>,
  report: (line: string) => void,
  quietPeriod: Polling = LOG_GROUP_QUIET_PERIOD,
  clock: Clock = realClock,
): Promise<void> {
  const logGroupName = `/aws/eks/${clusterName}/cluster`
  const start = clock.now()
  let goneSince = start
  for (;;) {
    const existed = await logs.send(new DeleteLogGroupCommand({ logGroupName })).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Error && error.name === 'ResourceNotFoundException') return false
        throw error
      },
    )
    if (existed) {
      report(`removed log group ${logGroupName}, which EKS had recreated`)
      goneSince = clock.now()
    }
    if (clock.now() - goneSince >= quietPeriod.timeout || clock.now() - start >= LOG_GROUP_TIMEOUT) return
    await clock.sleep(quietPeriod.interval)
  }
}
