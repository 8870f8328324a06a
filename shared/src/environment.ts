import { join, resolve } from 'node:path'
import { type BoxConfig, kubeconfigPath, readBoxConfig } from './box.ts'
import type { ClusterAccess } from './cluster-access.ts'
import { ActionableError } from './errors.ts'

/** Root of the repository. */
export const REPOSITORY_ROOT = resolve(import.meta.dirname, '../..')

/** Name of the service, and of its Helm release, namespace, ECR repository and image. */
export const SERVICE = 'fastify-app'

const names = ['local', 'dev', 'staging', 'prod'] as const
export type EnvironmentName = (typeof names)[number]

const networkSources = ['stack', 'existing'] as const
/** Whether the stack `network` creates the cluster's network, or it exists already. */
export type NetworkSource = (typeof networkSources)[number]

/** The settings that a command reads from its environment variables, once at its start. */
export interface Environment {
  name: EnvironmentName
  /** The environment's Helm values. */
  valuesFile: string
  /** Whether the box on this machine is its cluster and its image registry. */
  usesBox: boolean
  access: ClusterAccess
  /** The box on this machine. All environments use the tools in its cache. */
  box: BoxConfig
  /** `NETWORK`: replaces the choice of the network in the environment's files. */
  network?: NetworkSource
  /** Directories to use instead of the Terraform registry. */
  mirrors: { modules: string | undefined; providers: string | undefined }
  /** Whether `CONFIRM` names this environment. */
  isConfirmed: boolean
  /** Whether the command runs in a CI job. */
  isCi: boolean
}

/**
 * Reads which environment a command works on: `ENV`, by default `local`. `KUBE_CONTEXT` replaces the environment's
 * cluster by one from the user's kubeconfig.
 *
 * @throws ActionableError when a variable has an invalid value.
 */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const wanted = env['ENV'] || 'local'
  const name = names.find((known) => known === wanted)
  if (!name) {
    throw new ActionableError(
      `ENV is "${wanted}", but there is no such environment`,
      `use one of ${names.join(', ')}`,
    )
  }
  const network = networkSources.find((known) => known === env['NETWORK'])
  if (env['NETWORK'] && network === undefined) {
    throw new ActionableError(
      `NETWORK is "${env['NETWORK']}", but there is no such source of the network`,
      `use one of ${networkSources.join(', ')}`,
    )
  }
  const box = readBoxConfig(env)
  const access = clusterAccess(name, box, env['KUBE_CONTEXT'])
  return {
    name,
    valuesFile: join(REPOSITORY_ROOT, 'helm', SERVICE, `values-${name}.yaml`),
    usesBox: access.from === 'box',
    access,
    box,
    ...(network === undefined ? {} : { network }),
    mirrors: {
      modules: env['TERRAFORM_MODULE_MIRROR'] || undefined,
      providers: env['TERRAFORM_PROVIDER_MIRROR'] || undefined,
    },
    isConfirmed: env['CONFIRM'] === name,
    isCi: env['CI'] === 'true',
  }
}

/** Never uses the kubeconfig's current context: that could deploy to the wrong cluster. */
function clusterAccess(name: EnvironmentName, box: BoxConfig, context: string | undefined): ClusterAccess {
  if (context) return { from: 'KUBE_CONTEXT', context }
  if (name === 'local') return { from: 'box', kubeconfig: kubeconfigPath(box) }
  return { from: 'make kubeconfig', context: kubeContext(name) }
}

/** Name of the context that `make kubeconfig` writes for an environment. */
export function kubeContext(name: EnvironmentName): string {
  return `fastify-eks-${name}`
}

/**
 * Refuses to start the box when the command is meant for another cluster.
 *
 * @throws ActionableError with the commands for that cluster.
 */
export function requireBox({ name, access }: Environment): void {
  if (access.from === 'box') return
  if (access.from === 'KUBE_CONTEXT') {
    throw new ActionableError(
      `KUBE_CONTEXT=${access.context} replaces the box, so the box was not started`,
      'run `make build push deploy loadtest` for that cluster, or unset KUBE_CONTEXT',
    )
  }
  throw new ActionableError(
    `ENV=${name} does not use the box, so nothing was started`,
    `run \`make apply kubeconfig build push deploy ENV=${name}\`, or leave ENV out to start the box`,
  )
}

/**
 * Guards production against unintended changes: they need a confirmation (`CONFIRM=prod`) or, in CI, a review.
 *
 * @throws ActionableError when there is neither.
 */
export function confirmProduction(
  { name, isConfirmed, isCi }: Environment,
  { reviewed }: { reviewed: boolean },
): void {
  if (name !== 'prod' || isConfirmed || (reviewed && isCi)) return
  throw new ActionableError(
    'this would change production',
    'if you intend that, run it again with CONFIRM=prod',
  )
}
