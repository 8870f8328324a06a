/** Recovery of a cluster and a database whose creation was interrupted, and that the next apply would replace. */
import { type EKSClient, waitUntilClusterActive } from '@aws-sdk/client-eks'
import { waitUntilDBInstanceAvailable } from '@aws-sdk/client-rds'
import { ActionableError } from 'shared/errors'
import { awsClients, describeCluster } from './aws.ts'
import { creates, type PlanDocument } from './plan.ts'
import {
  type DeclaredCluster,
  declaredCluster,
  readState,
  type StackState,
  type StateResource,
  stackOutputs,
} from './state.ts'
import { LOCK_TIMEOUT, run, type Stack } from './terraform.ts'

/** How long EKS may take to create a cluster, in seconds. It usually takes about ten minutes. */
const CLUSTER_TIMEOUT = 1800

/** How long RDS may take to create or restore a database, in seconds. A restore replays the log of up to a day. */
const DATABASE_TIMEOUT = 7200

/** Addresses of tainted clusters: Terraform did not see their creation succeed and would replace them. */
export function unfinishedClusters(resources: readonly StateResource[]): string[] {
  return resources
    .filter(({ type, tainted }) => type === 'aws_eks_cluster' && tainted === true)
    .map(({ address }) => address)
}

/**
 * Recovers what AWS went on creating after an interrupted apply.
 *
 * @param plan - a plan of the stack; recovery is only tried for what it would create or replace
 * @returns whether the state has changed, so that the plan is out of date.
 * @throws ActionableError when AWS does not finish the creation.
 */
export async function recoverInterrupted(stack: Stack, plan: PlanDocument): Promise<boolean> {
  if (creates(plan, 'aws_eks_cluster')) return recoverCluster(stack)
  const database = unfinishedDatabase(plan)
  return database !== undefined && (await recoverDatabase(stack, database))
}

async function waitUntilActive(client: EKSClient, name: string, region: string): Promise<void> {
  const waiting = waitUntilClusterActive({ client, maxWaitTime: CLUSTER_TIMEOUT, minDelay: 2 }, { name })
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
async function recoverCluster(stack: Stack): Promise<boolean> {
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

/** A database whose creation Terraform did not see succeed. */
export interface UnfinishedDatabase {
  address: string
  identifier: string
}

/** The database that a plan would replace only because its creation was interrupted. One that RDS lacks is not replaced. */
export function unfinishedDatabase({ resource_changes = [] }: PlanDocument): UnfinishedDatabase | undefined {
  const found = resource_changes.find(
    ({ type, action_reason }) => type === 'aws_db_instance' && action_reason === 'replace_because_tainted',
  )
  if (found === undefined) return undefined
  const { identifier } = found.change.before as { identifier: string }
  return { address: found.address, identifier }
}

/**
 * Waits for a database that RDS went on creating or restoring after an interrupted apply, and keeps it. Terraform would
 * delete it and create it again, or fail because of its deletion protection.
 *
 * @returns false when RDS failed to create it, so that Terraform has to replace it.
 * @throws ActionableError when it does not become available in time.
 */
async function recoverDatabase(stack: Stack, { address, identifier }: UnfinishedDatabase): Promise<boolean> {
  const { cluster } = await stackOutputs(stack.environment, 'cluster')
  const region = String(cluster['region'])
  console.log(
    `RDS is still creating database ${identifier} after an interruption: waiting until it is available`,
  )
  try {
    await waitUntilDBInstanceAvailable(
      {
        client: awsClients(stack.environment, region).rds,
        ...{ maxWaitTime: DATABASE_TIMEOUT, minDelay: 2, maxDelay: 15 },
      },
      { DBInstanceIdentifier: identifier },
    )
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== 'TimeoutError') {
      console.log(`RDS did not create database ${identifier}: it is replaced`)
      return false
    }
    const command = `aws rds describe-events --source-type db-instance --source-identifier ${identifier} --region ${region}`
    throw new ActionableError(
      `database ${identifier} does not become available after its interrupted creation`,
      `see \`${command}\`, then run the command again`,
      { cause },
    )
  }
  await run(stack, ['untaint', LOCK_TIMEOUT, address])
  return true
}
