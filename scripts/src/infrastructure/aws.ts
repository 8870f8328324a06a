import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs'
import { EC2Client } from '@aws-sdk/client-ec2'
import { ECRClient } from '@aws-sdk/client-ecr'
import { type Cluster, DescribeClusterCommand, EKSClient } from '@aws-sdk/client-eks'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { ElastiCacheClient } from '@aws-sdk/client-elasticache'
import { RDSClient } from '@aws-sdk/client-rds'
import { S3Client } from '@aws-sdk/client-s3'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { STSClient } from '@aws-sdk/client-sts'
import { awsEnvironment, type BoxConfig } from 'shared/box'
import { type Environment, REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** Clients of the AWS services that hold an environment's resources, and its states. */
export interface AwsClients {
  ec2: EC2Client
  ecr: ECRClient
  eks: EKSClient
  elb: ElasticLoadBalancingV2Client
  logs: CloudWatchLogsClient
  rds: RDSClient
  s3: S3Client
  elastiCache: ElastiCacheClient
  secretsManager: SecretsManagerClient
  sts: STSClient
}

/**
 * Clients for the environment's AWS: the box's, or the caller's account.
 *
 * @param region - the stack's, not that of the caller's shell, which may be set for other work
 * @throws ActionableError when the box has not been started.
 */
export function awsClients({ name, box }: Environment, region: string): AwsClients {
  return clientsFor({ region, ...(name === 'local' ? boxEndpoint(box) : {}) })
}

/**
 * Reads the region that an environment's file sets. The region of the caller's shell is ignored: it may be set for
 * other work.
 *
 * @throws ActionableError when the file sets no region.
 */
export async function readRegion(
  { name }: Environment,
  file: 'cluster.tfvars' | 'backend.hcl',
): Promise<string> {
  const path = join('infrastructure-hcl', 'environments', name, file)
  const text = await readFile(join(REPOSITORY_ROOT, path), 'utf8')
  const region = /^region\s*=\s*"([a-z0-9-]+)"/m.exec(text)?.[1]
  if (region !== undefined) return region
  throw new ActionableError(`${path} does not set a region`, 'add it: region = "..."')
}

/** The error for calls to AWS that fail because the caller is not signed in. */
export function needsCredentials({ name }: Environment, cause: unknown): ActionableError {
  return new ActionableError(
    `ENV=${name} needs AWS credentials: ${cause instanceof Error ? cause.message : cause}`,
    'sign in to AWS (`aws sso login`, or AWS_PROFILE), then run the command again',
    { cause },
  )
}

export function clientsFor(
  options: { region: string } & Partial<ReturnType<typeof boxEndpoint>>,
): AwsClients {
  return {
    ec2: new EC2Client(options),
    ecr: new ECRClient(options),
    eks: new EKSClient(options),
    elb: new ElasticLoadBalancingV2Client(options),
    logs: new CloudWatchLogsClient(options),
    rds: new RDSClient(options),
    s3: new S3Client(options),
    elastiCache: new ElastiCacheClient(options),
    secretsManager: new SecretsManagerClient(options),
    sts: new STSClient(options),
  }
}

/** Describes a cluster; undefined when EKS has no cluster of this name. */
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
