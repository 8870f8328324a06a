/** What interrupted runs leave in the way of the next apply. */
import { type EKSClient, waitUntilClusterActive } from '@aws-sdk/client-eks'
import type { BoxConfig } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'
import { awsClients, describeCluster } from './aws.ts'
import { declaredCluster, LOCK_TIMEOUT, readState, run, type Stack, type StateResource } from './terraform.ts'

/** How long EKS may take to create a cluster, in seconds; usually it takes about ten minutes. */
const CREATION_TIMEOUT = 1800

/** The clusters whose creation Terraform did not see the end of, and would therefore replace. */
export function unfinishedClusters(resources: readonly StateResource[]): { address: string; name: string }[] {
  return resources
    .filter(({ type, tainted }) => type === 'aws_eks_cluster' && tainted === true)
    .map(({ address, values }) => ({ address, name: String(values['name']) }))
}

/**
 * Waits for such a cluster, whose creation EKS has gone on with, and keeps it. Left alone it could never be replaced:
 * node groups are created before they are destroyed, and so is the cluster they depend on, under a name that is taken.
 *
 * @throws ActionableError when the cluster does not become active.
 */
export async function keepUnfinishedClusters(stack: Stack, box: BoxConfig): Promise<void> {
  const { resources } = await readState(stack)
  for (const { address, name } of unfinishedClusters(resources)) {
    console.log(
      `the creation of cluster ${name} was interrupted, EKS goes on with it: waiting until it is active`,
    )
    const { region } = await declaredCluster(stack)
    await untilActive(awsClients(stack.environment, box, region).eks, name, region)
    await run(stack, ['untaint', LOCK_TIMEOUT, address])
  }
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
 * Takes over a cluster that EKS created while the apply was interrupted: Terraform asked for it and never read the
 * answer. Left alone, every later apply would fail because the name is taken.
 *
 * @throws ActionableError when the cluster does not become active.
 */
export async function adoptLostCluster(stack: Stack, box: BoxConfig): Promise<void> {
  const { resources } = await readState(stack)
  if (resources.length === 0) return
  const { name, region } = await declaredCluster(stack)
  const { eks } = awsClients(stack.environment, box, region)
  if (!isOwnCluster(resources, (await describeCluster(eks, name))?.roleArn ?? '')) return
  console.log(`cluster ${name} was created by an apply that was interrupted: waiting until it is active`)
  await untilActive(eks, name, region)
  await run(stack, ['import', '-no-color', LOCK_TIMEOUT, ...stack.options, CLUSTER_ADDRESS, name])
}
