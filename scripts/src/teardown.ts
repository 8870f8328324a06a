import { setTimeout as sleep } from 'node:timers/promises'
import {
  DescribeInstancesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2'
import {
  DescribeLoadBalancersCommand,
  DescribeTagsCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  NetworkingV1Api,
} from '@kubernetes/client-node'
import { CLUSTER_NAME, REGION } from 'eks-box/cluster'
import { awsEnvironment, type BoxConfig } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'
import type { Environment } from './environment.ts'

/** An object in AWS that a controller in the cluster made, and that no Terraform state knows. */
export interface Remain {
  kind: 'load balancer' | 'target group' | 'security group' | 'instance' | 'network interface'
  id: string
}

export interface AwsClients {
  ec2: EC2Client
  elb: ElasticLoadBalancingV2Client
}

/** How long the controllers may take to take away what they made: an instance takes EC2 the longest. In milliseconds. */
const deadline = 600_000
const pollInterval = 5_000

/** The tag the AWS Load Balancer Controller puts on all it makes (its documentation, resource tags). */
const loadBalancerTag = 'elbv2.k8s.aws/cluster'

/** Clients of the environment's AWS. */
export function awsClients(environment: Environment, box: BoxConfig): AwsClients {
  if (environment.name !== 'local')
    return { ec2: new EC2Client({}), elb: new ElasticLoadBalancingV2Client({}) }
  const aws = awsEnvironment(box)
  const options = {
    endpoint: aws['AWS_ENDPOINT_URL'] ?? '',
    region: REGION,
    credentials: {
      accessKeyId: aws['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: aws['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  }
  return { ec2: new EC2Client(options), elb: new ElasticLoadBalancingV2Client(options) }
}

/** What the load balancer controller and Karpenter made for a cluster and that still exists. */
export async function controllerRemains(cluster: string, { ec2, elb }: AwsClients): Promise<Remain[]> {
  const { SecurityGroups = [] } = await ec2.send(
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: `tag:${loadBalancerTag}`, Values: [cluster] }] }),
  )
  const { Reservations = [] } = await ec2.send(
    new DescribeInstancesCommand({
      Filters: [
        { Name: 'tag-key', Values: ['karpenter.sh/nodepool'] },
        { Name: `tag:kubernetes.io/cluster/${cluster}`, Values: ['owned'] },
        {
          Name: 'instance-state-name',
          Values: ['pending', 'running', 'shutting-down', 'stopping', 'stopped'],
        },
      ],
    }),
  )
  // The VPC CNI plugin tags the interfaces it attaches; one outlives its instance when that ends in the wrong moment.
  const { NetworkInterfaces = [] } = await ec2.send(
    new DescribeNetworkInterfacesCommand({
      Filters: [
        { Name: 'tag:cluster.k8s.amazonaws.com/name', Values: [cluster] },
        { Name: 'status', Values: ['available'] },
      ],
    }),
  )
  return [
    ...(await taggedForElb(cluster, elb)),
    ...SecurityGroups.map(({ GroupId = '' }) => ({ kind: 'security group' as const, id: GroupId })),
    ...Reservations.flatMap(({ Instances = [] }) => Instances).map(({ InstanceId = '' }) => ({
      kind: 'instance' as const,
      id: InstanceId,
    })),
    ...NetworkInterfaces.map(({ NetworkInterfaceId = '' }) => ({
      kind: 'network interface' as const,
      id: NetworkInterfaceId,
    })),
  ]
}

async function taggedForElb(cluster: string, elb: ElasticLoadBalancingV2Client): Promise<Remain[]> {
  const { LoadBalancers = [] } = await elb.send(new DescribeLoadBalancersCommand({}))
  const { TargetGroups = [] } = await elb.send(new DescribeTargetGroupsCommand({}))
  const all: Remain[] = [
    ...LoadBalancers.map(({ LoadBalancerArn = '' }) => ({
      kind: 'load balancer' as const,
      id: LoadBalancerArn,
    })),
    ...TargetGroups.map(({ TargetGroupArn = '' }) => ({ kind: 'target group' as const, id: TargetGroupArn })),
  ]
  const ours = new Set<string>()
  // DescribeTags takes 20 ARNs at a time.
  for (let start = 0; start < all.length; start += 20) {
    const ResourceArns = all.slice(start, start + 20).map(({ id }) => id)
    const { TagDescriptions = [] } = await elb.send(new DescribeTagsCommand({ ResourceArns }))
    for (const { ResourceArn = '', Tags = [] } of TagDescriptions) {
      if (Tags.some(({ Key, Value }) => Key === loadBalancerTag && Value === cluster)) ours.add(ResourceArn)
    }
  }
  return all.filter(({ id }) => ours.has(id))
}

/**
 * Deletes what makes controllers keep objects in AWS: Ingresses, Services of type LoadBalancer, NodePools. A
 * cluster that is gone already has none.
 */
export async function deleteClaims(cluster: KubeConfig): Promise<string[]> {
  const core = cluster.makeApiClient(CoreV1Api)
  const networking = cluster.makeApiClient(NetworkingV1Api)
  const custom = cluster.makeApiClient(CustomObjectsApi)
  const deleted: string[] = []
  for (const { metadata } of (await networking.listIngressForAllNamespaces()).items) {
    const named = { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '' }
    await networking.deleteNamespacedIngress(named)
    deleted.push(`Ingress ${named.namespace}/${named.name}`)
  }
  for (const { metadata, spec } of (await core.listServiceForAllNamespaces()).items) {
    if (spec?.type !== 'LoadBalancer') continue
    const named = { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '' }
    await core.deleteNamespacedService(named)
    deleted.push(`Service ${named.namespace}/${named.name}`)
  }
  const pools = { group: 'karpenter.sh', version: 'v1', plural: 'nodepools' }
  const list = (await custom.listClusterCustomObject(pools).catch((error: unknown) => {
    // Without Karpenter there is no such kind.
    if (error instanceof ApiException && error.code === 404) return { items: [] }
    throw error
  })) as { items: { metadata: { name: string } }[] }
  for (const { metadata } of list.items) {
    await custom.deleteClusterCustomObject({ ...pools, name: metadata.name })
    deleted.push(`NodePool ${metadata.name}`)
  }
  return deleted
}

/**
 * Waits until nothing of the controllers' is left in AWS.
 *
 * @param look finds what is left.
 * @param onWait is told what is waited for, each time that changes.
 * @param limits in milliseconds.
 * @throws ActionableError naming what is left.
 */
export async function waitUntilGone(
  look: () => Promise<Remain[]>,
  onWait: (remains: Remain[]) => void,
  limits = { deadline, pollInterval },
): Promise<void> {
  const end = Date.now() + limits.deadline
  let told = ''
  while (true) {
    const remains = await look()
    if (remains.length === 0) return
    const names = remains.map(({ kind, id }) => `${kind} ${id}`).join(', ')
    if (names !== told) onWait(remains)
    told = names
    if (Date.now() > end) {
      throw new ActionableError(
        `the controllers left behind: ${names}`,
        'see in the logs of aws-load-balancer-controller and karpenter why, delete these by hand, then run it again; nothing of the stacks was destroyed',
      )
    }
    await sleep(limits.pollInterval)
  }
}

/**
 * Empties an environment's cluster of all that controllers keep in AWS, so that its stacks can be destroyed
 * without an orphan.
 *
 * @throws ActionableError naming what does not go away.
 */
export async function emptyCluster(
  environment: Environment,
  box: BoxConfig,
  cluster: KubeConfig,
): Promise<void> {
  for (const deleted of await deleteClaims(cluster)) console.log(`deleted ${deleted}`)
  const clients = awsClients(environment, box)
  await waitUntilGone(
    () => controllerRemains(CLUSTER_NAME, clients),
    (remains) =>
      console.log(`waiting for ${remains.map(({ kind, id }) => `${kind} ${id}`).join(', ')} to be gone`),
  )
}
