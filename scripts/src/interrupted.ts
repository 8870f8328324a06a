/** What interrupted runs, and EKS itself, leave in the way of the next apply. */
import { readFile } from 'node:fs/promises'
import { DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs'
import { waitUntilClusterActive } from '@aws-sdk/client-eks'
import type { BoxConfig } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'
import { type AwsClients, awsClients } from './aws.ts'
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
    const { eks } = awsClients(stack.environment, box, region)
    await waitUntilClusterActive({ client: eks, maxWaitTime: CREATION_TIMEOUT, minDelay: 2 }, { name }).catch(
      (cause: unknown) => {
        const option = `--name ${name} --region ${region}`
        throw new ActionableError(
          `cluster ${name}, whose creation was interrupted, does not become active: ${cause instanceof Error ? cause.message : cause}`,
          `see \`aws eks describe-cluster ${option}\`; if it has failed, \`aws eks delete-cluster ${option}\`, then run the command again`,
          { cause },
        )
      },
    )
    await run(stack, ['untaint', LOCK_TIMEOUT, address])
  }
}

interface PlannedChanges {
  resource_changes?: {
    address: string
    type: string
    change: { actions: string[]; after: { name?: string } | null }
  }[]
}

/**
 * The log groups that a plan would create and that exist already. EKS writes the control plane's group again when a
 * cluster is deleted, up to minutes after destroy has removed it, and CloudWatch refuses to create it twice.
 */
export async function existingLogGroups(
  { resource_changes = [] }: PlannedChanges,
  logs: Pick<AwsClients['logs'], 'send'>,
): Promise<{ address: string; name: string }[]> {
  const found: { address: string; name: string }[] = []
  for (const { address, type, change } of resource_changes) {
    const name = change.after?.name
    if (type !== 'aws_cloudwatch_log_group' || change.actions.join() !== 'create' || name === undefined)
      continue
    const { logGroups = [] } = await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }))
    if (logGroups.some(({ logGroupName }) => logGroupName === name)) found.push({ address, name })
  }
  return found
}

/**
 * Takes log groups that exist already into the stack's state, with all that they hold.
 *
 * @param plan file with a plan as JSON.
 * @returns whether there were any, which makes that plan obsolete.
 */
export async function adoptLogGroups(stack: Stack, plan: string, box: BoxConfig): Promise<boolean> {
  const changes = JSON.parse(await readFile(plan, 'utf8')) as PlannedChanges
  if (!changes.resource_changes?.some(({ type }) => type === 'aws_cloudwatch_log_group')) return false
  const { region } = await declaredCluster(stack)
  const { logs } = awsClients(stack.environment, box, region)
  const groups = await existingLogGroups(changes, logs)
  for (const { address, name } of groups) {
    await run(stack, ['import', '-no-color', LOCK_TIMEOUT, ...stack.options, address, name])
    console.log(`log group ${name} exists already, from an earlier cluster of this name: it is kept`)
  }
  return groups.length > 0
}
