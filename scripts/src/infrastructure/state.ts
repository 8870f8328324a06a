import { readFile } from 'node:fs/promises'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { awsClients, needsCredentials } from './aws.ts'
import { stateBucket, statePath } from './prepare-stack.ts'
import { run, type Stack, type StackName } from './terraform.ts'

/** A stack's outputs by their name. */
export type Outputs = Record<string, unknown>

/**
 * The outputs of an environment's cluster stack that are strings; empty when the stack is not applied.
 *
 * @throws ActionableError when its state cannot be read.
 */
export async function clusterOutputs(environment: Environment): Promise<Record<string, string | undefined>> {
  const { cluster } = await stackOutputs(environment, 'cluster')
  return Object.fromEntries(
    Object.entries(cluster).map(([name, value]) => [name, typeof value === 'string' ? value : undefined]),
  )
}

/**
 * All outputs of an environment's stacks; empty for a stack that is not applied. They are read from the states
 * themselves: Terraform would first initialise the stack, which takes seconds, and CI's job for deployments has none.
 *
 * @throws ActionableError when a state cannot be read.
 */
export async function stackOutputs<Name extends StackName>(
  environment: Environment,
  ...stacks: Name[]
): Promise<Record<Name, Outputs>> {
  const read = environment.name === 'local' ? localState(environment) : await remoteState(environment)
  const outputs = stacks.map(async (stack) => [stack, outputsIn(await read(stack))] as const)
  return Object.fromEntries(await Promise.all(outputs)) as Record<Name, Outputs>
}

/** Reads a stack's state file; empty when there is none. */
type StateReader = (stack: StackName) => Promise<string>

function localState({ box }: Environment): StateReader {
  return async (stack) => {
    try {
      return await readFile(statePath(box, stack), 'utf8')
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ''
      throw cause
    }
  }
}

async function remoteState(environment: Environment): Promise<StateReader> {
  const { name, region } = await stateBucket(environment)
  const { s3 } = awsClients(environment, region)
  return async (stack) => {
    const key = `${environment.name}/${stack}.tfstate`
    try {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: name, Key: key }))
      return (await Body?.transformToString()) ?? ''
    } catch (cause) {
      if (!(cause instanceof Error)) throw cause
      if (cause.name === 'NoSuchKey' || cause.name === 'NoSuchBucket') return ''
      if (cause.name === 'CredentialsProviderError') throw needsCredentials(environment, cause)
      throw new ActionableError(
        `the state of the stack ${stack}, s3://${name}/${key}, cannot be read: ${cause.message}`,
        'use a role that may read it, such as the one that applies the stacks',
        { cause },
      )
    }
  }
}

/** The outputs in a state file. Terraform creates an empty file when it first locks a local state. */
function outputsIn(state: string): Outputs {
  if (state === '') return {}
  const { outputs = {} } = JSON.parse(state) as { outputs?: Record<string, { value: unknown }> }
  return Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value]))
}

/** A resource in a state, in the root module or below. */
export interface StateResource {
  address: string
  type: string
  /** Set when Terraform did not see its creation succeed. */
  tainted?: boolean
  values: Record<string, unknown>
}

/** A stack's state. Terraform removes the outputs first, so an interrupted destroy leaves only resources. */
export interface StackState {
  outputs: Record<string, unknown>
  resources: StateResource[]
}

interface StateModule {
  resources?: (StateResource & { mode: string })[]
  child_modules?: StateModule[]
}

/**
 * Reads a stack's state.
 *
 * @throws ActionableError when it cannot be read.
 */
export async function readState(stack: Stack): Promise<StackState> {
  return parseState(await run(stack, ['show', '-json']))
}

/** Parses a state as `terraform show -json` prints it: without values when the state is empty. */
export function parseState(json: string): StackState {
  const { values } = JSON.parse(json) as {
    values?: { outputs?: Record<string, { value?: unknown }>; root_module?: StateModule }
  }
  const flatten = ({ resources = [], child_modules = [] }: StateModule): StateResource[] => [
    ...resources.filter(({ mode }) => mode === 'managed'),
    ...child_modules.flatMap(flatten),
  ]
  const outputs = Object.entries(values?.outputs ?? {}).map(([name, { value }]) => [name, value])
  return { outputs: Object.fromEntries(outputs), resources: flatten(values?.root_module ?? {}) }
}

/** The cluster's name and region according to the stack's variables, whether or not they are applied. */
export interface DeclaredCluster {
  name: string
  region: string
}

/** @throws ActionableError when the variables are incomplete. */
export async function declaredCluster(stack: Stack): Promise<DeclaredCluster> {
  const expression = 'jsonencode({ name = var.cluster_name, region = var.region })\n'
  const answer = await run(stack, ['console', ...stack.options], expression)
  // The console prints a quoted HCL string that contains JSON.
  return JSON.parse(JSON.parse(answer) as string) as DeclaredCluster
}

/** Whether a stack was ever applied, even if all its resources are destroyed. */
export async function wasApplied(stack: Stack): Promise<boolean> {
  return (await run(stack, ['state', 'pull'])).trim() !== ''
}
