/** The parts of a Terraform plan that decide its cost. */
import { readFileSync } from 'node:fs'
import { ActionableError } from 'shared/errors'

/** The parts of `terraform show -json` of a saved plan that this module reads. */
export interface CostPlan {
  /** Set when planning failed part-way, so that resources are missing. */
  errored?: boolean
  variables?: Record<string, { value?: unknown }>
  planned_values: { root_module: PlannedModule }
  prior_state?: { values?: { root_module: PlannedModule } }
}

export interface PlannedModule {
  address?: string
  resources?: PlannedResource[]
  child_modules?: PlannedModule[]
}

export interface PlannedResource {
  address: string
  mode: 'managed' | 'data'
  type: string
  name: string
  index?: string | number
  values: Record<string, unknown>
}

const planHint = 'pass the output of `terraform show -json <saved plan>`'

/**
 * Reads a plan.
 *
 * @throws ActionableError when the file is not the output of `terraform show -json`
 */
export function readPlan(file: string): CostPlan {
  try {
    const plan = JSON.parse(readFileSync(file, 'utf8')) as Partial<CostPlan>
    if (plan.planned_values !== undefined) return { ...plan, planned_values: plan.planned_values }
  } catch (cause) {
    throw new ActionableError(`the plan ${file} cannot be read`, planHint, { cause })
  }
  throw new ActionableError(`${file} is JSON, but not a Terraform plan`, planHint)
}

/** All resources of a module and of the modules in it. */
export function resourcesOf({ resources = [], child_modules = [] }: PlannedModule): PlannedResource[] {
  return [...resources, ...child_modules.flatMap(resourcesOf)]
}

/** The plan's region: a variable of the cluster stack, which the platform stack reads from the cluster's state. */
export function regionOf({ variables, prior_state }: CostPlan): string | undefined {
  const read = prior_state?.values?.root_module.resources?.find(
    ({ type }) => type === 'terraform_remote_state',
  )
  const outputs = read?.values['outputs'] as { region?: string } | undefined
  return (variables?.['region']?.value as string | undefined) ?? outputs?.region
}

/** The address of the module that a resource is in. */
export function moduleOf({ address, type }: PlannedResource): string {
  return address.slice(0, address.lastIndexOf(`${type}.`))
}

/** Requires a value to be in the plan. Terraform omits values that are known only after apply. */
export function required<T>(value: T | null | undefined, { address }: PlannedResource, what: string): T {
  if (value === null || value === undefined) {
    throw new ActionableError(
      `the plan does not contain ${what} of ${address}`,
      'set it explicitly in the stack, so that it is known before apply',
    )
  }
  return value
}
