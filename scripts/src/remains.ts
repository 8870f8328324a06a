import { setTimeout as sleep } from 'node:timers/promises'
import {
  type EC2Client,
  paginateDescribeInstances,
  paginateDescribeLaunchTemplates,
  paginateDescribeNetworkInterfaces,
  paginateDescribeSecurityGroups,
} from '@aws-sdk/client-ec2'
import {
  DescribeTagsCommand,
  type ElasticLoadBalancingV2Client,
  paginateDescribeLoadBalancers,
  paginateDescribeTargetGroups,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { ActionableError } from 'eks-box/errors'

/** How each kind is removed by hand, should its controller not do it; the id follows. */
const removal = {
  'load balancer': 'aws elbv2 delete-load-balancer --load-balancer-arn',
  'target group': 'aws elbv2 delete-target-group --target-group-arn',
  instance: 'aws ec2 terminate-instances --instance-ids',
  'launch template': 'aws ec2 delete-launch-template --launch-template-id',
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

export interface AwsClients {
  ec2: EC2Client
  elb: ElasticLoadBalancingV2Client
}

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

/** The most that DescribeTags takes (API reference of Elastic Load Balancing). */
const TAGGED_AT_ONCE = 20

/**
 * What the AWS Load Balancer Controller, Karpenter and the VPC CNI plugin made for a cluster and that still exists.
 * What belongs to the cluster's managed node groups is none of it. Instances that are terminated do not count.
 */
export async function controllerRemains(clusterName: string, { ec2, elb }: AwsClients): Promise<Remain[]> {
  const byKind = await Promise.all([
    loadBalancers(clusterName, elb),
    targetGroups(clusterName, elb),
    instances(clusterName, ec2),
    launchTemplates(clusterName, ec2),
    networkInterfaces(clusterName, ec2),
    securityGroups(clusterName, ec2),
  ])
  return byKind.flat()
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

async function securityGroups(clusterName: string, ec2: EC2Client): Promise<Remain[]> {
  const remains: Remain[] = []
  const Filters = [{ Name: `tag:${LOAD_BALANCER_CLUSTER}`, Values: [clusterName] }]
  for await (const { SecurityGroups = [] } of paginateDescribeSecurityGroups({ client: ec2 }, { Filters })) {
    for (const { GroupId = '', Tags = [] } of SecurityGroups) {
      remains.push({ kind: 'security group', id: GroupId, why: loadBalancingReason(Tags) })
    }
  }
  return remains
}

async function instances(clusterName: string, ec2: EC2Client): Promise<Remain[]> {
  const remains: Remain[] = []
  const Filters = [
    { Name: `tag:${KARPENTER_CLUSTER}`, Values: [clusterName] },
    { Name: 'tag-key', Values: [KARPENTER_NODE_POOL] },
    {
      Name: 'instance-state-name',
      Values: ['pending', 'running', 'shutting-down', 'stopping', 'stopped'],
    },
  ]
  for await (const { Reservations = [] } of paginateDescribeInstances({ client: ec2 }, { Filters })) {
    for (const { InstanceId = '', Tags = [] } of Reservations.flatMap(({ Instances = [] }) => Instances)) {
      const why = `node of Karpenter's NodePool ${tagValue(Tags, KARPENTER_NODE_POOL)}`
      remains.push({ kind: 'instance', id: InstanceId, why })
    }
  }
  return remains
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
const DEFAULT_PATIENCE: Patience = { interval: 5_000, deadline: 900_000 }

/**
 * Waits until the controllers have removed what they made. To be called once its cause is deleted (Ingresses,
 * NodePools), and while the controllers still run.
 *
 * @param look - finds what still exists, such as {@link controllerRemains}
 * @param report - is told what is waited for, each time that changes
 * @throws ActionableError when `patience.deadline` has passed, naming all that is left and how to remove it
 */
export async function waitUntilGone(
  look: () => Promise<Remain[]>,
  report: (line: string) => void,
  patience: Patience = DEFAULT_PATIENCE,
  clock: Clock = { now: Date.now, sleep },
): Promise<void> {
  const end = clock.now() + patience.deadline
  let reported = ''
  for (;;) {
    const remains = await look()
    if (remains.length === 0) return
    if (clock.now() >= end) throw leftBehind(remains, patience.deadline)
    const line = `waiting for AWS to be rid of ${remains.map(({ kind, id }) => `${kind} ${id}`).join(', ')}`
    if (line !== reported) report(line)
    reported = line
    await clock.sleep(patience.interval)
  }
}

function leftBehind(remains: readonly Remain[], deadline: number): ActionableError {
  const commands = Object.entries(removal).flatMap(([kind, command]) =>
    remains.filter((remain) => remain.kind === kind).map(({ id }) => `  ${command} ${id}`),
  )
  return new ActionableError(
    [
      `the cluster's controllers left this in AWS, after ${Math.round(deadline / 60_000)} min:`,
      ...remains.map(({ kind, id, why }) => `  ${kind} ${id}, ${why}`),
    ].join('\n'),
    [
      'look in the logs of aws-load-balancer-controller and karpenter (namespace kube-system) for the reason, or remove it by hand, in this order; then run the command again:',
      ...commands,
    ].join('\n'),
  )
}
