/** Plans an environment's stacks in the box, so that `make cost` needs no AWS account. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import {
  buildsOnCluster,
  hasResources,
  prepareStack,
  type State,
  statePath,
  variableFiles,
} from '../infrastructure/prepare-stack.ts'
import { describeReleases } from '../infrastructure/releases.ts'
import { follow, run, type StackName } from '../infrastructure/terraform.ts'
import type { CostPlan } from './plan.ts'

/** An output in a state. */
interface Output {
  value?: unknown
  type?: unknown
}

type Outputs = Record<string, Output>

/** The outputs in a plan. What is known only after apply is missing: in `after`, from objects too. */
interface PlannedOutputs {
  planned_values: { outputs?: Outputs }
  output_changes?: Record<string, { after?: unknown }>
}

/**
 * Plans stacks of an environment against the box's AWS, with empty states, and in the network and the domain of the box.
 *
 * @param local - the box's environment
 * @param planned - the name of the environment to plan
 * @throws ActionableError when planning fails, or needs a stack that is not applied in the box
 */
export async function planForCost(
  names: readonly StackName[],
  local: Environment,
  planned: string,
): Promise<CostPlan[]> {
  const cluster = names.some((name) => name === 'alarms' || buildsOnCluster(name))
    ? await planCluster(local, planned, names.includes('alarms') ? ['cluster', 'data'] : ['cluster'])
    : undefined
  const plans: CostPlan[] = []
  for (const name of names) {
    if (name === 'platform') plans.push(await planReleases(local, planned, cluster?.outputs ?? {}))
    else if (name === 'cluster' && cluster !== undefined) plans.push(cluster.plan)
    else plans.push(await planFromEmptyState(name, local, planned, cluster?.state))
  }
  return plans
}

interface PlannedCluster {
  plan: CostPlan
  outputs: Outputs
  /** Where other stacks read the outputs. */
  state: State
}

/**
 * Plans the cluster with the outputs that the plans of other stacks read: what the plan does not know is that of the
 * box's cluster.
 *
 * @param needed - the stacks that must be applied in the box
 */
async function planCluster(
  local: Environment,
  planned: string,
  needed: readonly StackName[],
): Promise<PlannedCluster> {
  for (const name of needed) {
    if (await hasResources(statePath(local.box, name))) continue
    throw new ActionableError(
      `the stack ${name} is not applied in the box, but the plans of other stacks read its outputs`,
      `apply it: \`make apply STACK=${name}\`; or choose another stack with STACK`,
    )
  }
  const plan = (await planFromEmptyState('cluster', local, planned)) as CostPlan & PlannedOutputs
  const applied = JSON.parse(await readFile(statePath(local.box, 'cluster'), 'utf8')) as { outputs: Outputs }
  const outputs = withPlanned(applied.outputs, plan)
  const path = join(local.box.stateDir, 'terraform', `cluster-of-${planned}.tfstate`)
  await writeFile(path, JSON.stringify({ ...applied, outputs, resources: [] }))
  return { plan, outputs, state: { backend: 'local', config: { path } } }
}

/** Replaces applied outputs by those that a plan knows, and the attributes of objects of which it knows a part. */
export function withPlanned(
  applied: Outputs,
  { planned_values: { outputs = {} }, output_changes = {} }: PlannedOutputs,
): Outputs {
  const merged = { ...applied }
  for (const [name, { value, type }] of Object.entries(outputs)) {
    const before = applied[name]
    const after = output_changes[name]?.after
    if (value !== undefined && value !== null) merged[name] = { value, type }
    else if (isObject(after) && isObject(before?.value)) {
      merged[name] = { ...before, value: { ...before.value, ...after } }
    }
  }
  return merged
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Plans a stack with an empty state; `cluster` is the state of the cluster that it reads. */
async function planFromEmptyState(
  name: StackName,
  local: Environment,
  planned: string,
  cluster?: State,
): Promise<CostPlan> {
  const stack = await prepareStack(name, local)
  if (cluster !== undefined && buildsOnCluster(name)) {
    stack.variables['TF_VAR_cluster_state'] = JSON.stringify(cluster)
  }
  if (cluster !== undefined && name === 'alarms') {
    const states = JSON.parse(stack.variables['TF_VAR_states'] ?? '{}') as Record<string, State>
    stack.variables['TF_VAR_states'] = JSON.stringify({ ...states, cluster })
  }
  const file = join(stack.dataDirectory, `${planned}-from-empty-state`)
  const options = variableFiles(name, local.name, planned).map((path) => `-var-file=${path}`)
  await follow(stack, ['plan', `-out=${file}`, `-state=${file}.tfstate`, ...options], () => {})
  return JSON.parse(await run(stack, ['show', '-json', file])) as CostPlan
}

/** The platform's releases as a plan contains them. A plan itself needs a running cluster. */
async function planReleases(local: Environment, planned: string, outputs: Outputs): Promise<CostPlan> {
  const cluster = Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value]))
  const { releases } = await describeReleases(local, [], { name: planned, cluster })
  const resources = releases.map(({ name, values }) => ({
    address: `helm_release.${name}`,
    mode: 'managed' as const,
    type: 'helm_release',
    name,
    values: { name, values },
  }))
  return {
    variables: { region: { value: cluster['region'] } },
    planned_values: { root_module: { resources } },
  }
}
