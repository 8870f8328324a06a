import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { execa } from 'execa'
import type { Environment } from 'shared/environment'
import { prepareStack, statePath } from './prepare-stack.ts'
import { run, type Stack, type StackName, terraformMissing } from './terraform.ts'

/**
 * The outputs of an environment's cluster stack that are strings; empty when the stack is not applied.
 *
 * @throws ActionableError when its state cannot be read.
 */
export async function clusterOutputs(environment: Environment): Promise<Record<string, string | undefined>> {
  return Object.fromEntries(
    Object.entries(await allClusterOutputs(environment)).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : undefined,
    ]),
  )
}

/** All outputs of an environment's cluster stack; empty when the stack is not applied. */
export function allClusterOutputs(environment: Environment): Promise<Record<string, unknown>> {
  return stackOutputs('cluster', environment)
}

/** All outputs of a stack; empty when it is not applied. */
export async function stackOutputs(
  name: StackName,
  environment: Environment,
): Promise<Record<string, unknown>> {
  const state = statePath(environment.box, name)
  let text: string
  if (environment.name !== 'local') {
    text = await run(await prepareStack(name, environment), ['output', '-json'])
  } else if (existsSync(state)) {
    // Much faster than prepareStack, which runs init.
    text = await readOutputs(state)
  } else return {}
  const outputs = JSON.parse(text) as Record<string, { value: unknown }>
  return Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value]))
}

async function readOutputs(file: string): Promise<string> {
  try {
    return (await execa('terraform', ['output', `-state=${file}`, '-json'], { cwd: dirname(file) })).stdout
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw terraformMissing()
    throw error
  }
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
