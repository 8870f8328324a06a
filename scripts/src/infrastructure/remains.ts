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

/** How each kind is removed by hand, should its controller not do it; the id follows. */
const removal = {
  'load balancer': 'aws elbv2 delete-load-balancer --load-balancer-arn',
  'target group': 'aws elbv2 delete-target-group --target-group-arn',
  instance: 'aws ec2 terminate-instances --instance-ids',
  'launch template': 'aws ec2 delete-launch-template --launch-template-id',
  volume: 'aws ec2 delete-volume --volume-id',
  'network interface': 'aws ec2 delete-network-interface --network-interface-id',
  // Last, as the others refer to them.
  'security group': 'aws ec2 delete-security-group --group-id',
} as const

export type RemainKind = keyof typeof removal

/** An object in AWS that a controller in the cluster made, and that no Terraform state knows. */
export interface Remain {
  kind: RemainKind
  id: string
  /** Who made it, and for what. */
  why: string
}

/** A cluster, and the volumes that it is known to use. */
export interface Owner {
  name: string
  region: string
  volumeIds?: readonly string[]
}

type Searched = Pick<AwsClients, 'ec2' | 'elb'>

interface Tag {
  Key?: string | undefined
  Value?: string | undefined
}

/** On all that the AWS Load Balancer Controller makes (its documentation, "Resource Tags"). */
const LOAD_BALANCER_CLUSTER = 'elbv2.k8s.aws/cluster'
/** Namespace and name of the Ingress or Service, behind the prefix `ingress` or `service`. */
const LOAD_BALANCER_STACK = '.k8s.aws/stack'
/** On all that Karpenter makes (its documentation, EC2NodeClass, "spec.tags"); EKS's own node groups lack it. */
const KARPENTER_CLUSTER = 'eks:eks-cluster-name'
const KARPENTER_NODE_POOL = 'karpenter.sh/nodepool'
/** On network interfaces that the VPC CNI plugin attaches (its ipamd). */
const CNI_CLUSTER = 'cluster.k8s.amazonaws.com/name'
/**
 * On volumes that the EBS CSI driver provisions: with AWS's cluster-scoped policy, or as the cluster stack asks for it;
 * and with the driver's option `k8s-tag-cluster-id` (its documentation, "Tagging").
 */
const VOLUME_CLUSTER = 'ebs.csi.aws.com/cluster-name'
/** On every volume that the driver provisions; the nodes' own disks lack it. */
const VOLUME_BY_DRIVER = 'CSIVolumeName'
const VOLUME_CLAIM = 'kubernetes.io/created-for/pvc/name'
const VOLUME_NAMESPACE = 'kubernetes.io/created-for/pvc/namespace'
/** On what belongs to one cluster alone: EKS's own security group, instances, volumes. Subnets have `shared`. */
const ownedBy = (clusterName: string) => ({
  Name: `tag:kubernetes.io/cluster/${clusterName}`,
  Values: ['owned'],
})

/** The most that DescribeTags takes (API reference of Elastic Load Balancing). */
const TAGGED_AT_ONCE = 20

/**
 * What the AWS Load Balancer Controller, Karpenter, the VPC CNI plugin and the EBS CSI driver made for a cluster and
 * that still exists. What belongs to the cluster's managed node groups is none of it. Instances that are terminated do
 * not count.
 */
export async function controllerRemains(
  { name, volumeIds = [] }: Owner,
  { ec2, elb }: Searched,
): Promise<Remain[]> {
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
 * Everything in AWS that carries the mark of a cluster that is gone: what its controllers made, and the instances and
 * security groups that were the cluster's own.
 */
export async function clusterRemains(owner: Owner, clients: Searched): Promise<Remain[]> {
  const byKind = await Promise.all([
    controllerRemains(owner, clients),
    instances(clients.ec2, [ownedBy(owner.name)]),
    securityGroups(clients.ec2, [ownedBy(owner.name)]),
  ])
  return [...new Map(byKind.flat().map((remain) => [remain.id, remain])).values()]
}

async function loadBalancers(clusterName: string, elb: ElasticLoadBalancingV2Client): Promise<Remain[]> {
  const arns: string[] = []
  for await (const { LoadBalancers = [] } of paginateDescribeLoadBalancers({ client: elb }, {})) {
    arns.push(...LoadBalancers.flatMap(({ LoadBalancerArn = [] }) => LoadBalancerArn))
  }
  return taggedForCluster('load balancer', arns, clusterName, elb)
}

async function targetGroups(clusterName: string, elb: ElasticLoadBalancingV2Client): Promise<Remain[]> {
  const arns: string[] = []
  for await (const { TargetGroups = [] } of paginateDescribeTargetGroups({ client: elb }, {})) {
    arns.push(...TargetGroups.flatMap(({ TargetGroupArn = [] }) => TargetGroupArn))
  }
  return taggedForCluster('target group', arns, clusterName, elb)
}

/** Elastic Load Balancing lists without tags and filters by none, so they are asked for. */
async function taggedForCluster(
  kind: RemainKind,
  arns: readonly string[],
  clusterName: string,
  elb: ElasticLoadBalancingV2Client,
): Promise<Remain[]> {
  const remains: Remain[] = []
  for (let start = 0; start < arns.length; start += TAGGED_AT_ONCE) {
    const ResourceArns = arns.slice(start, start + TAGGED_AT_ONCE)
    const { TagDescriptions = [] } = await elb.send(new DescribeTagsCommand({ ResourceArns }))
    for (const { ResourceArn = '', Tags = [] } of TagDescriptions) {
      if (tagValue(Tags, LOAD_BALANCER_CLUSTER) !== clusterName) continue
      remains.push({ kind, id: ResourceArn, why: loadBalancingReason(Tags) })
    }
  }
  return remains
}

async function securityGroups(ec2: EC2Client, Filters: Filter[]): Promise<Remain[]> {
  const remains: Remain[] = []
  for await (const { SecurityGroups = [] } of paginateDescribeSecurityGroups({ client: ec2 }, { Filters })) {
    for (const { GroupId = '', GroupName, Tags = [] } of SecurityGroups) {
      const byController = tagValue(Tags, LOAD_BALANCER_CLUSTER) !== undefined
      const why = byController ? loadBalancingReason(Tags) : `${GroupName}, of the cluster itself`
      remains.push({ kind: 'security group', id: GroupId, why })
    }
  }
  return remains
}

async function instances(ec2: EC2Client, marks: Filter[]): Promise<Remain[]> {
  const remains: Remain[] = []
  const alive = {
    Name: 'instance-state-name',
    Values: ['pending', 'running', 'shutting-down', 'stopping', 'stopped'],
  }
  const pages = paginateDescribeInstances({ client: ec2 }, { Filters: [...marks, alive] })
  for await (const { Reservations = [] } of pages) {
    for (const { InstanceId = '', Tags = [] } of Reservations.flatMap(({ Instances = [] }) => Instances)) {
      const pool = tagValue(Tags, KARPENTER_NODE_POOL)
      const why = pool === undefined ? 'node of the cluster' : `node of Karpenter's NodePool ${pool}`
      remains.push({ kind: 'instance', id: InstanceId, why })
    }
  }
  return remains
}

/** By every tag that may name the cluster, and by id: a driver that knows no cluster name tags none. */
async function volumes(clusterName: string, ids: readonly string[], ec2: EC2Client): Promise<Remain[]> {
  const provisioned = { Name: 'tag-key', Values: [VOLUME_BY_DRIVER] }
  const searches: Filter[][] = [
    [{ Name: `tag:${VOLUME_CLUSTER}`, Values: [clusterName] }, provisioned],
    [ownedBy(clusterName), provisioned],
    ...(ids.length === 0 ? [] : [[{ Name: 'volume-id', Values: [...ids] }]]),
  ]
  const found = new Map<string, Remain>()
  for (const Filters of searches) {
    for await (const { Volumes = [] } of paginateDescribeVolumes({ client: ec2 }, { Filters })) {
      for (const { VolumeId = '', Tags = [] } of Volumes) {
        const claim = tagValue(Tags, VOLUME_CLAIM)
        const namespace = tagValue(Tags, VOLUME_NAMESPACE)
        const why = `data of ${claim === undefined ? 'a claim' : `the claim ${namespace}/${claim}`}`
        found.set(VolumeId, { kind: 'volume', id: VolumeId, why })
      }
    }
  }
  return [...found.values()]
}

async function launchTemplates(clusterName: string, ec2: EC2Client): Promise<Remain[]> {
  const remains: Remain[] = []
  const Filters = [{ Name: `tag:${KARPENTER_CLUSTER}`, Values: [clusterName] }]
  for await (const { LaunchTemplates = [] } of paginateDescribeLaunchTemplates(
    { client: ec2 },
    { Filters },
  )) {
    for (const { LaunchTemplateId = '' } of LaunchTemplates) {
      remains.push({ kind: 'launch template', id: LaunchTemplateId, why: "of Karpenter's nodes" })
    }
  }
  return remains
}

/** Attached ones go with their instance. One that was being detached when its instance ended stays for good. */
async function networkInterfaces(clusterName: string, ec2: EC2Client): Promise<Remain[]> {
  const remains: Remain[] = []
  const Filters = [
    { Name: `tag:${CNI_CLUSTER}`, Values: [clusterName] },
    { Name: 'status', Values: ['available'] },
  ]
  for await (const page of paginateDescribeNetworkInterfaces({ client: ec2 }, { Filters })) {
    for (const { NetworkInterfaceId = '' } of page.NetworkInterfaces ?? []) {
      const why = 'left by the VPC CNI plugin of a node that is gone'
      remains.push({ kind: 'network interface', id: NetworkInterfaceId, why })
    }
  }
  return remains
}

function tagValue(tags: readonly Tag[], key: string): string | undefined {
  return tags.find(({ Key }) => Key === key)?.Value
}

/** Only the security group that all load balancers share is for no one Ingress or Service. */
function loadBalancingReason(tags: readonly Tag[]): string {
  const stack = tags.find(({ Key }) => Key?.endsWith(LOAD_BALANCER_STACK))?.Value
  return `made by the AWS Load Balancer Controller${stack === undefined ? '' : ` for ${stack}`}`
}

/** In milliseconds. */
export interface Patience {
  interval: number
  deadline: number
}

/** Time as the waiting sees it, in milliseconds; tests bring their own. */
export interface Clock {
  now: () => number
  sleep: (milliseconds: number) => Promise<unknown>
}

/** An instance takes EC2 the longest: up to its NodePool's grace period of 10 minutes, and some to shut down. */
export const CONTROLLERS_PATIENCE: Patience = { interval: 5_000, deadline: 900_000 }

const realClock: Clock = { now: Date.now, sleep }

/**
 * Waits until the controllers have removed what they made. To be called once its cause is deleted (Ingresses,
 * NodePools, claims), and while the controllers still run.
 *
 * @param look - finds what still exists, such as {@link controllerRemains}
 * @param report - receives what is waited for, each time that changes
 * @throws ActionableError when `patience.deadline` has passed, naming all that is left and how to remove it
 */
export async function waitUntilGone(
  { region }: Pick<Owner, 'region'>,
  look: () => Promise<Remain[]>,
  report: (line: string) => void,
  patience: Patience = CONTROLLERS_PATIENCE,
  clock: Clock = realClock,
): Promise<void> {
  const end = clock.now() + patience.deadline
  let reported = ''
  for (;;) {
    const remains = await look()
    if (remains.length === 0) return
    if (clock.now() >= end) {
      const minutes = Math.round(patience.deadline / 60_000)
      throw leftBehind(
        remains,
        region,
        `this is still in AWS after ${minutes} min`,
        'look in the logs of aws-load-balancer-controller, karpenter and ebs-csi-controller (namespace kube-system) for the reason, or remove it by hand',
      )
    }
    const line = `waiting for AWS to be rid of ${remains.map(({ kind, id }) => `${kind} ${id}`).join(', ')}`
    if (line !== reported) report(line)
    reported = line
    await clock.sleep(patience.interval)
  }
}

/** An error that names what is left in AWS, and the commands that remove it in an order that works. */
export function leftBehind(
  remains: readonly Remain[],
  region: string,
  situation: string,
  advice: string,
): ActionableError {
  const commands = Object.entries(removal).flatMap(([kind, command]) =>
    remains.filter((remain) => remain.kind === kind).map(({ id }) => `  ${command} ${id} --region ${region}`),
  )
  return new ActionableError(
    [`${situation}:`, ...remains.map(({ kind, id, why }) => `  ${kind} ${id}, ${why}`)].join('\n'),
    [`${advice}, in this order; then run the command again:`, ...commands].join('\n'),
  )
}

/**
 * How long the control plane's log group has to stay away until it counts as gone. EKS delivers logs for some time
 * after a cluster is deleted, and each delivery creates the group again (terraform-aws-modules/terraform-aws-eks,
 * issues 920 and 2763).
 */
const LOG_GROUP_QUIET: Patience = { interval: 2_000, deadline: 20_000 }
/** After this long, in milliseconds, the next apply has to deal with it. */
const LOG_GROUP_DEADLINE = 300_000

/**
 * Deletes the log group of a cluster that is gone, as often as EKS creates it again.
 *
 * @param quiet - how often to look, and for how long it has to stay away; a deadline of 0 looks once
 */
export async function removeLogGroup(
  clusterName: string,
  logs: Pick<CloudWatchLogsClient, 'send'>,
  report: (line: string) => void,
  quiet: Patience = LOG_GROUP_QUIET,
  clock: Clock = realClock,
): Promise<void> {
  const logGroupName = `/aws/eks/${clusterName}/cluster`
  const begin = clock.now()
  let goneSince = begin
  for (;;) {
    const existed = await logs.send(new DeleteLogGroupCommand({ logGroupName })).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Error && error.name === 'ResourceNotFoundException') return false
        throw error
      },
    )
    if (existed) {
      report(`removed log group ${logGroupName}, which EKS had created again`)
      goneSince = clock.now()
    }
    if (clock.now() - goneSince >= quiet.deadline || clock.now() - begin >= LOG_GROUP_DEADLINE) return
    await clock.sleep(quiet.interval)
  }
}
