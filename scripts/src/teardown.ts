import { EC2Client } from '@aws-sdk/client-ec2'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  NetworkingV1Api,
} from '@kubernetes/client-node'
import { CLUSTER_NAME, REGION } from 'eks-box/cluster'
import { awsEnvironment, type BoxConfig } from 'eks-box/config'
import type { Environment } from './environment.ts'
import { type AwsClients, controllerRemains, waitUntilGone } from './remains.ts'

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
    (line) => console.log(line),
  )
}
