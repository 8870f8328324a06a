import { join, resolve } from 'node:path'
import { type BoxConfig, kubeconfigPath, readBoxConfig } from './box.ts'
import type { ClusterAccess } from './cluster-access.ts'
import { ActionableError } from './errors.ts'

/** Root of the repository. */
export const REPOSITORY_ROOT = resolve(import.meta.dirname, '../..')

/** Name of the service: of its Helm release, its namespace, its ECR repository and its image. */
export const SERVICE = 'fastify-app'

const names = ['local', 'dev', 'staging', 'prod'] as const
export type EnvironmentName = (typeof names)[number]

/** Everything that `ENV`, `KUBE_CONTEXT` and the `BOX_*` variables decide. Commands read it once and hand it on. */
export interface Environment {
  name: EnvironmentName
  /** The values that differ from the chart's defaults. */
  valuesFile: string
  /** Whether its cluster and its registry are the box on this machine. */
  usesBox: boolean
  access: ClusterAccess
  /** The box of this machine. Its cache holds the tools for every environment. */
  box: BoxConfig
}

/**
 * Reads which environment a command works on: `ENV`, which is local by default. With `KUBE_CONTEXT`, a cluster of the
 * user takes the place of the environment's own.
 *
 * @throws ActionableError when a variable has a value that is not allowed.
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
  const box = readBoxConfig(env)
  const access = clusterAccess(name, box, env['KUBE_CONTEXT'])
  return {
    name,
    valuesFile: join(REPOSITORY_ROOT, 'helm', SERVICE, `values-${name}.yaml`),
    usesBox: access.from === 'box',
    access,
    box,
  }
}

/**
 * How the environment's cluster is reached. Never through the context that happens to be current: a command that asks
 * is better than a deployment to the wrong cluster.
 */
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
      `KUBE_CONTEXT=${access.context} takes the place of the box, so the box was not started`,
      'run `make build push deploy loadtest` for that cluster, or unset KUBE_CONTEXT',
    )
  }
  throw new ActionableError(
    `ENV=${name} does not use the box, so nothing was started`,
    `run \`make apply kubeconfig build push deploy ENV=${name}\`, or leave ENV out to start the box`,
  )
}

/**
 * Makes sure that a change to production is intended: somebody confirms it, or CI applies what was reviewed.
 *
 * @throws ActionableError when neither is the case.
 */
export function confirmProduction(
  { name }: Environment,
  env: NodeJS.ProcessEnv,
  { reviewed }: { reviewed: boolean },
): void {
  if (name !== 'prod' || env['CONFIRM'] === 'prod') return
  if (reviewed && env['CI'] === 'true') return
  throw new ActionableError(
    'this would change production',
    'if you intend that, run it again with CONFIRM=prod',
  )
}
