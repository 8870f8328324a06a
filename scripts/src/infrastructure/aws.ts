import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs'
import { EC2Client } from '@aws-sdk/client-ec2'
import { ECRClient } from '@aws-sdk/client-ecr'
import { type Cluster, DescribeClusterCommand, EKSClient } from '@aws-sdk/client-eks'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { awsEnvironment, type BoxConfig } from 'shared/box'
import { type Environment, REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** The services of AWS that hold what belongs to a cluster. */
export interface AwsClients {
  ec2: EC2Client
  ecr: ECRClient
  eks: EKSClient
  elb: ElasticLoadBalancingV2Client
  logs: CloudWatchLogsClient
}

/**
 * Clients of the environment's AWS: the box's, or the caller's account.
 *
 * @param region of the stack. Never the one of the caller's shell, which may be set for other work.
 * @throws ActionableError when the box has not been started.
 */
export function awsClients({ name, box }: Environment, region: string): AwsClients {
  return clientsFor({ region, ...(name === 'local' ? boxEndpoint(box) : {}) })
}

/**
 * The region of the environment's cluster, as the variables of its stack name it. The region of the caller's shell has
 * no effect: it may be set for other work.
 *
 * @throws ActionableError when they name none.
 */
export async function clusterRegion({ name }: Environment): Promise<string> {
  const file = join('infrastructure-hcl', 'environments', name, 'cluster.tfvars')
  const text = await readFile(join(REPOSITORY_ROOT, file), 'utf8')
  const region = /^region\s*=\s*"([a-z0-9-]+)"/m.exec(text)?.[1]
  if (region !== undefined) return region
  throw new ActionableError(`${file} does not name a region`, 'add the region of the cluster: region = "..."')
}

/** Clients with one configuration. */
export function clientsFor(
  options: { region: string } & Partial<ReturnType<typeof boxEndpoint>>,
): AwsClients {
  return {
    ec2: new EC2Client(options),
    ecr: new ECRClient(options),
    eks: new EKSClient(options),
    elb: new ElasticLoadBalancingV2Client(options),
    logs: new CloudWatchLogsClient(options),
  }
}

/** What EKS says of a cluster; undefined when there is none of this name. */
export async function describeCluster(eks: EKSClient, name: string): Promise<Cluster | undefined> {
  try {
    return (await eks.send(new DescribeClusterCommand({ name }))).cluster
  } catch (error) {
    if (error instanceof Error && error.name === 'ResourceNotFoundException') return undefined
    throw error
  }
}

function boxEndpoint(box: BoxConfig) {
  const aws = awsEnvironment(box)
  return {
    endpoint: aws['AWS_ENDPOINT_URL'] ?? '',
    credentials: {
      accessKeyId: aws['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: aws['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  }
}
