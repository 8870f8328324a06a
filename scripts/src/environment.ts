import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node'
import { type BoxConfig, ECR_REGISTRY, kubeconfigPath, usesBox } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'
import { programPath } from 'eks-box/tools'

/** Root of the repository: image builds and the chart are addressed from here. */
export const REPOSITORY_ROOT = resolve(import.meta.dirname, '../..')

/** Release, namespace, ECR repository and image all carry the service's name. */
export const SERVICE = 'fastify-app'

const environments = ['local', 'dev', 'staging', 'prod'] as const
export type EnvironmentName = (typeof environments)[number]

/** Where an environment is and how it is reached; it chooses files and endpoints, never other code. */
export interface Environment {
  name: EnvironmentName
  /** The environment's differences from the chart's defaults. */
  valuesFile: string
  /** Whether its cluster and registry are the box on this machine. */
  usesBox: boolean
}

/** How clients of Kubernetes find the cluster: the box's own file, or a context of the user's. */
export interface KubeAccess {
  kubeconfig?: string
  context?: string
}

/**
 * Reads which environment is meant: `ENV`, local by default.
 * With `KUBE_CONTEXT` a cluster of the user's own takes the box's place.
 *
 * @throws ActionableError when `ENV` names none.
 */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const wanted = env['ENV'] || 'local'
  const name = environments.find((known) => known === wanted)
  if (!name) {
    throw new ActionableError(`ENV is "${wanted}", which is no environment`, `use ${environments.join(', ')}`)
  }
  return {
    name,
    valuesFile: join(REPOSITORY_ROOT, 'helm', SERVICE, `values-${name}.yaml`),
    usesBox: usesBox(env),
  }
}

/**
 * The repository of the image, as pods refer to it and, outside the box, as it is pushed to: `IMAGE_REPOSITORY`,
 * else the one the cluster stack created.
 *
 * @param created tells the stack's repository; undefined when it is not applied.
 * @throws ActionableError when there is none, or the variable names none.
 */
export async function imageRepository(
  environment: Environment,
  env: NodeJS.ProcessEnv,
  created: () => Promise<string | undefined>,
): Promise<string> {
  const repository = environment.usesBox ? undefined : env['IMAGE_REPOSITORY']
  if (repository) {
    if (/^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._-]+)+$/.test(repository)) return repository
    throw new ActionableError(
      `IMAGE_REPOSITORY is "${repository}", which is no image repository`,
      'give host and path without a tag, in lower case: <registry host>/fastify-app',
    )
  }
  if (environment.name === 'local' && !environment.usesBox) {
    throw new ActionableError(
      'ENV=local with KUBE_CONTEXT needs to know where its images are',
      `set IMAGE_REPOSITORY, for example IMAGE_REPOSITORY=${ECR_REGISTRY}/${SERVICE} with your account's number`,
    )
  }
  const url = await created()
  if (url !== undefined) return url
  throw new ActionableError(
    `${environment.name} has no image repository yet`,
    `create it with \`make apply ENV=${environment.name}\`, or set IMAGE_REPOSITORY`,
  )
}

/** The context `make kubeconfig` makes for an environment. */
export function kubeContext({ name }: Environment): string {
  return `fastify-eks-${name}`
}

/**
 * How the environment's cluster is reached. Never the context that happens to be current: a deployment to
 * the wrong cluster is worse than one that asks.
 *
 * @throws ActionableError when the box is not up.
 */
export function kubeAccess(environment: Environment, box: BoxConfig, env: NodeJS.ProcessEnv): KubeAccess {
  const context = env['KUBE_CONTEXT']
  if (context) return { context }
  if (!environment.usesBox) return { context: kubeContext(environment) }
  const kubeconfig = kubeconfigPath(box)
  if (!existsSync(kubeconfig)) {
    throw new ActionableError('the box is not up', 'start it with `make up`')
  }
  return { kubeconfig }
}

/**
 * The Helm 4 to use: the pinned one, or the one `HELM` names.
 *
 * @throws ActionableError when the pinned one is not built yet.
 */
export function helmProgram(box: BoxConfig, env: NodeJS.ProcessEnv): string {
  if (env['HELM']) return env['HELM']
  const program = programPath(box, 'helm')
  if (!existsSync(program)) {
    throw new ActionableError(
      'the pinned helm is not built yet',
      'build it with `make tools`, or set HELM to a Helm 4 of your own',
    )
  }
  return program
}

/**
 * Opens the way to a cluster.
 *
 * @throws ActionableError when the kubeconfig cannot be read or has no such context.
 */
export function loadKubeConfig(access: KubeAccess): KubeConfig {
  const kubeConfig = new KubeConfig()
  try {
    if (access.kubeconfig === undefined) kubeConfig.loadFromDefault()
    else kubeConfig.loadFromFile(access.kubeconfig)
  } catch (cause) {
    throw new ActionableError(
      `the kubeconfig cannot be read: ${cause instanceof Error ? cause.message : cause}`,
      'see `kubectl config view`; unset or correct KUBECONFIG if it names another file than you mean',
      { cause },
    )
  }
  if (access.context !== undefined) selectContext(kubeConfig, access.context)
  return kubeConfig
}

function selectContext(kubeConfig: KubeConfig, context: string): void {
  if (kubeConfig.getContextObject(context) === null) {
    throw new ActionableError(
      `your kubeconfig has no context ${context}`,
      // The others lead to other clusters: naming them here would invite a mistake.
      'add the context of an environment on AWS with `make kubeconfig ENV=<environment>`, or correct KUBE_CONTEXT (`kubectl config get-contexts` lists yours)',
    )
  }
  kubeConfig.setCurrentContext(context)
}

/**
 * Makes sure that a change to production is meant: somebody confirms it, or CI applies what was reviewed.
 *
 * @throws ActionableError when neither is so.
 */
export function confirmProduction({ name }: Environment, { reviewed }: { reviewed: boolean }): void {
  if (name !== 'prod' || process.env['CONFIRM'] === 'prod') return
  if (reviewed && process.env['CI'] === 'true') return
  throw new ActionableError('this would change production', 'run it again with CONFIRM=prod if that is meant')
}
