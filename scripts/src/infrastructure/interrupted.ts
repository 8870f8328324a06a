/** The cluster that an interrupted apply leaves in the way of the next run. */
import { type EKSClient, waitUntilClusterActive } from '@aws-sdk/client-eks'
import { ActionableError } from 'shared/errors'
import { awsClients, describeCluster } from './aws.ts'
import {
  type DeclaredCluster,
  declaredCluster,
  LOCK_TIMEOUT,
  readState,
  run,
  type Stack,
  type StackState,
  type StateResource,
} from './terraform.ts'

/** How long EKS may take to create a cluster, in seconds; usually it takes about ten minutes. */
const CREATION_TIMEOUT = 1800

/** Addresses of the clusters whose creation Terraform did not see the end of, and would therefore replace. */
export function unfinishedClusters(resources: readonly StateResource[]): string[] {
  return resources
    .filter(({ type, tainted }) => type === 'aws_eks_cluster' && tainted === true)
    .map(({ address }) => address)
}

async function untilActive(client: EKSClient, name: string, region: string): Promise<void> {
  const waiting = waitUntilClusterActive({ client, maxWaitTime: CREATION_TIMEOUT, minDelay: 2 }, { name })
  await waiting.catch((cause: unknown) => {
    const option = `--name ${name} --region ${region}`
    throw new ActionableError(
      `cluster ${name}, whose creation was interrupted, does not become active: ${cause instanceof Error ? cause.message : cause}`,
      `see \`aws eks describe-cluster ${option}\`; if it has failed, \`aws eks delete-cluster ${option}\`, then run the command again`,
      { cause },
    )
  })
}

/** Where the module keeps the cluster. */
const CLUSTER_ADDRESS = 'module.eks.aws_eks_cluster.this[0]'

/**
 * Whether a cluster that the state does not know was created by an interrupted apply of the stack: it runs with an IAM
 * role that the state knows.
 */
export function isOwnCluster(resources: readonly StateResource[], roleArn: string): boolean {
  if (resources.some(({ type }) => type === 'aws_eks_cluster')) return false
  return resources.some(({ type, values }) => type === 'aws_iam_role' && values['arn'] === roleArn)
}

/**
 * Takes a cluster into the state that EKS created while an apply was interrupted: Terraform asked for it and never read
 * the answer. Left alone, every later apply would fail because the name is taken.
 *
 * @returns whether there was one.
 */
export async function adoptLostCluster(
  stack: Stack,
  { resources }: StackState,
  { name, region }: DeclaredCluster,
): Promise<boolean> {
  if (resources.length === 0) return false
  const cluster = await describeCluster(awsClients(stack.environment, region).eks, name)
  if (!isOwnCluster(resources, cluster?.roleArn ?? '')) return false
  await run(stack, ['import', '-no-color', LOCK_TIMEOUT, ...stack.options, CLUSTER_ADDRESS, name])
  console.log(`took over cluster ${name}, which an interrupted apply created`)
  return true
}

/**
 * Keeps the cluster whose creation was interrupted while EKS went on with it, whether the state knows it as unfinished
 * or not at all. It could never be replaced: node groups are created before they are destroyed, and so is the cluster
 * they depend on, under a name that is taken.
 *
 * Call it once the lock of the state was free: an apply that still runs is not an interrupted one.
 *
 * @returns whether the state has changed.
 * @throws ActionableError when the cluster does not become active.
 */
export async function recoverCluster(stack: Stack): Promise<boolean> {
  const state = await readState(stack)
  const declared = await declaredCluster(stack)
  const unfinished = unfinishedClusters(state.resources)
  if (unfinished.length === 0 && !(await adoptLostCluster(stack, state, declared))) return false
  const { name, region } = declared
  const { eks } = awsClients(stack.environment, region)
  // Gone in the meantime: then it is simply created.
  if ((await describeCluster(eks, name)) === undefined) return false
  console.log(
    `the creation of cluster ${name} was interrupted, EKS goes on with it: waiting until it is active`,
  )
  await untilActive(eks, name, region)
  for (const address of unfinished) await run(stack, ['untaint', LOCK_TIMEOUT, address])
  return true
}
