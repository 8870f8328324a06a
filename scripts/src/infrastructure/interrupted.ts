/** Recovery of a cluster whose creation was interrupted and that would block the next apply. */
import { type EKSClient, waitUntilClusterActive } from '@aws-sdk/client-eks'
import { ActionableError } from 'shared/errors'
import { awsClients, describeCluster } from './aws.ts'
import {
  type DeclaredCluster,
  declaredCluster,
  readState,
  type StackState,
  type StateResource,
} from './state.ts'
import { LOCK_TIMEOUT, run, type Stack } from './terraform.ts'

/** How long EKS may take to create a cluster, in seconds. It usually takes about ten minutes. */
const CREATION_TIMEOUT = 1800

/** Addresses of tainted clusters: Terraform did not see their creation succeed and would replace them. */
export function unfinishedClusters(resources: readonly StateResource[]): string[] {
  return resources
    .filter(({ type, tainted }) => type === 'aws_eks_cluster' && tainted === true)
    .map(({ address }) => address)
}

async function waitUntilActive(client: EKSClient, name: string, region: string): Promise<void> {
  const waiting = waitUntilClusterActive({ client, maxWaitTime: CREATION_TIMEOUT, minDelay: 2 }, { name })
  await waiting.catch((cause: unknown) => {
    const option = `--name ${name} --region ${region}`
    throw new ActionableError(
      `cluster ${name} does not become active after its interrupted creation: ${cause instanceof Error ? cause.message : cause}`,
      `see \`aws eks describe-cluster ${option}\`; if it has failed, delete it with \`aws eks delete-cluster ${option}\` and run the command again`,
      { cause },
    )
  })
}

/** The cluster's address in the EKS module. */
const CLUSTER_ADDRESS = 'module.eks.aws_eks_cluster.this[0]'

/**
 * Whether a cluster that is missing from the state was created by an interrupted apply of this stack. It was if its IAM
 * role is in the state.
 */
export function isOrphanedCluster(resources: readonly StateResource[], roleArn: string): boolean {
  if (resources.some(({ type }) => type === 'aws_eks_cluster')) return false
  return resources.some(({ type, values }) => type === 'aws_iam_role' && values['arn'] === roleArn)
}

/**
 * Imports a cluster that EKS created although the apply was interrupted before it could record it. Without this, every
 * later apply would fail because the name is taken.
 *
 * @returns whether it imported a cluster.
 */
export async function importOrphanedCluster(
  stack: Stack,
  { resources }: StackState,
  { name, region }: DeclaredCluster,
): Promise<boolean> {
  if (resources.length === 0) return false
  const cluster = await describeCluster(awsClients(stack.environment, region).eks, name)
  if (!isOrphanedCluster(resources, cluster?.roleArn ?? '')) return false
  await run(stack, ['import', '-no-color', LOCK_TIMEOUT, ...stack.options, CLUSTER_ADDRESS, name])
  console.log(`took over cluster ${name}, which an interrupted apply had created`)
  return true
}

/**
 * Recovers a cluster that EKS went on creating after an interrupted apply, whether it is tainted or missing from the
 * state. Replacing it never works: the module's create_before_destroy extends from the node groups to the cluster, so
 * Terraform would create a second cluster of the same name.
 *
 * Call it only after a command has held the state's lock: until then, another apply may still be running.
 *
 * @returns whether the state has changed.
 * @throws ActionableError when the cluster does not become active.
 */
export async function recoverCluster(stack: Stack): Promise<boolean> {
  const state = await readState(stack)
  const declared = await declaredCluster(stack)
  const unfinished = unfinishedClusters(state.resources)
  if (unfinished.length === 0 && !(await importOrphanedCluster(stack, state, declared))) return false
  const { name, region } = declared
  const { eks } = awsClients(stack.environment, region)
  // Deleted in the meantime, so the apply can simply create it.
  if ((await describeCluster(eks, name)) === undefined) return false
  console.log(`EKS is still creating cluster ${name} after an interruption: waiting until it is active`)
  await waitUntilActive(eks, name, region)
  for (const address of unfinished) await run(stack, ['untaint', LOCK_TIMEOUT, address])
  return true
}
