import { existsSync } from 'node:fs'
import { KubeConfig } from '@kubernetes/client-node'
import { type BoxConfig, kubeconfigPath } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'

/** Whether this run is against the box; a cluster of the user's own is named by KUBE_CONTEXT. */
function usesBox(environment: NodeJS.ProcessEnv): boolean {
  return !environment['KUBE_CONTEXT'] && (environment['ENV'] || 'local') === 'local'
}

/**
 * URL of the service without a trailing slash: BASE_URL, which only the box has a default for.
 *
 * @throws ActionableError when BASE_URL is missing or no URL.
 */
export function readBaseUrl(environment: NodeJS.ProcessEnv, box: BoxConfig): string {
  const text =
    environment['BASE_URL'] || (usesBox(environment) ? `http://127.0.0.1:${box.ports.service}` : '')
  if (text === '') {
    throw new ActionableError(
      'BASE_URL is not set',
      'set it to the URL under which this cluster serves the service',
    )
  }
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new ActionableError(
      `BASE_URL is "${text}", which is no URL of a web service`,
      'use something like http://127.0.0.1:8080',
    )
  }
  return url.href.replace(/\/+$/, '')
}

/**
 * Access to the cluster: the box's own kubeconfig, or the user's with the context KUBE_CONTEXT. The user's current
 * context is never taken, since nobody wants to find out by load which cluster that was.
 *
 * @throws ActionableError when there is no such kubeconfig or context.
 */
export function loadKubeConfig(environment: NodeJS.ProcessEnv, box: BoxConfig): KubeConfig {
  if (usesBox(environment)) {
    const path = kubeconfigPath(box)
    if (!existsSync(path)) {
      throw new ActionableError(
        `the box has no kubeconfig (${path}): it has not been started`,
        'start it with `make up`, name another cluster with KUBE_CONTEXT, or run with --no-cluster',
      )
    }
    return readKubeConfig((kubeConfig) => kubeConfig.loadFromFile(path))
  }
  const context = environment['KUBE_CONTEXT']
  if (!context) {
    throw new ActionableError(
      `KUBE_CONTEXT is not set for ENV=${environment['ENV']}`,
      "set it to the context of that environment's cluster in your kubeconfig, or run with --no-cluster",
    )
  }
  const kubeConfig = readKubeConfig((kubeConfig) => kubeConfig.loadFromDefault())
  const contexts = kubeConfig.getContexts().map(({ name }) => name)
  if (!contexts.includes(context)) {
    throw new ActionableError(
      `KUBE_CONTEXT is "${context}", which is no context of your kubeconfig`,
      `choose one of: ${contexts.join(', ')}`,
    )
  }
  kubeConfig.setCurrentContext(context)
  return kubeConfig
}

function readKubeConfig(read: (kubeConfig: KubeConfig) => void): KubeConfig {
  const kubeConfig = new KubeConfig()
  try {
    read(kubeConfig)
  } catch (error) {
    throw new ActionableError(
      `cannot read the kubeconfig: ${rootCause(error)}`,
      'make sure that `kubectl config view` reads it, KUBECONFIG included if you set that',
      { cause: error },
    )
  }
  return kubeConfig
}

/**
 * Makes sure that the service takes requests before any load is sent.
 *
 * @throws ActionableError when it does not.
 */
export async function checkReady(baseUrl: string): Promise<void> {
  const nextStep =
    'start the box (`make up`) and deploy to it (`make deploy`), or set BASE_URL to where the service is'
  let status: number
  try {
    status = (await fetch(`${baseUrl}/readyz`, { signal: AbortSignal.timeout(5_000) })).status
  } catch (error) {
    throw new ActionableError(`${baseUrl} does not answer: ${rootCause(error)}`, nextStep, { cause: error })
  }
  if (status !== 200) {
    throw new ActionableError(`${baseUrl}/readyz answers ${status}: the service takes no requests`, nextStep)
  }
}

/** What lies at the bottom of an error: fetch, for one, says only "fetch failed" on its own. */
export function rootCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause !== undefined) return rootCause(error.cause)
  // Connecting to several addresses fails with one error for each, and no message of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return rootCause(error.errors[0])
  return error.message
}
