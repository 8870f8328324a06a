/** The platform's releases, as the Terraform module `platform/releases` describes them. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import type { Environment } from 'shared/environment'
import { canReachRegistry } from './modules.ts'
import { hasResources, prepareDescription, statePath } from './prepare-stack.ts'
import { hasProvider, providerMirror } from './providers.ts'
import { stackOutputs } from './state.ts'
import { follow, run } from './terraform.ts'

/** A described release. From `name` on, these are the arguments of Terraform's `helm_release`. */
export interface DescribedRelease {
  stage: string
  /** The release with the chart whose custom resource definitions this one installs. */
  definitions_of: string | null
  /** How long the installation may take, in seconds. */
  install_timeout: number
  name: string
  namespace: string
  repository: string | null
  /** The chart's name in the repository, or the path of a directory or archive. */
  chart: string
  version: string | null
  description: string | null
  /** YAML documents. */
  values: readonly string[]
  skip_crds: boolean
  take_ownership: boolean
  atomic: boolean
  wait: boolean
  cleanup_on_fail: boolean
  /** How long the uninstallation may take, in seconds. */
  timeout: number
  max_history: number
}

/** The described platform. */
export interface Description {
  /** The stages in the order of installation. */
  stages: readonly string[]
  releases: readonly DescribedRelease[]
  /** The stack's outputs, apart from its releases. */
  outputs: Record<string, unknown>
  /** The directory to which relative paths of charts refer. */
  directory: string
}

/** Exists while the box has a platform that Helm installed. */
export function helmMark(box: BoxConfig): string {
  return join(box.stateDir, 'terraform', 'platform-installed-by-helm')
}

/**
 * Whether Helm installs the platform's releases, and not Terraform: in the box, if neither a mirror nor the registry has
 * Terraform's Helm provider. Installed releases stay with the program that installed them.
 */
export async function isInstalledByHelm({ name, box, mirrors }: Environment): Promise<boolean> {
  if (name !== 'local' || (await hasResources(statePath(box, 'platform')))) return false
  if (existsSync(helmMark(box))) return true
  return !hasProvider(providerMirror(mirrors.providers), 'helm') && !(await canReachRegistry())
}

/**
 * Lets Terraform evaluate the description for the environment's variables and the cluster's outputs.
 *
 * @param options - for `terraform plan`
 * @param described - another environment to describe: its name, and the outputs of its cluster
 * @throws ActionableError when a variable has an invalid value or the charts are not built.
 */
export async function describeReleases(
  environment: Environment,
  options: readonly string[],
  described?: { name: string; cluster: Record<string, unknown> },
): Promise<Description> {
  const { name, cluster } = described ?? {
    name: environment.name,
    cluster: await stackOutputs('cluster', environment),
  }
  const stack = await prepareDescription(environment, cluster, name)
  const file = join(stack.dataDirectory, 'description')
  // A plan without resources evaluates the outputs, and writes no state.
  await follow(stack, ['plan', `-out=${file}`, ...stack.options, ...options], () => {})
  const { planned_values } = JSON.parse(await run(stack, ['show', '-json', file])) as {
    planned_values: { outputs: Record<string, { value?: unknown }> }
  }
  const { stages, releases, ...outputs } = planned_values.outputs
  return {
    stages: stages?.value as string[],
    releases: Object.values(releases?.value as Record<string, DescribedRelease>),
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value])),
    directory: stack.directory,
  }
}
