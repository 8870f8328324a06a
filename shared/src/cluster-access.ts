import { existsSync } from 'node:fs'
import { KubeConfig } from '@kubernetes/client-node'
import { ActionableError } from './errors.ts'

/** How to reach a cluster: with the box's own kubeconfig, or with a context of the user's kubeconfig. */
export type ClusterAccess =
  | { from: 'box'; kubeconfig: string }
  | { from: 'KUBE_CONTEXT' | 'make kubeconfig'; context: string }

/**
 * Loads the Kubernetes client configuration for a cluster.
 *
 * @throws ActionableError when the box is not up, or the kubeconfig cannot be read or lacks the context.
 */
export function loadKubeConfig(access: ClusterAccess): KubeConfig {
  const kubeConfig = new KubeConfig()
  if (access.from === 'box' && !existsSync(access.kubeconfig)) {
    throw new ActionableError('the box is not up', 'start it with `make up`')
  }
  try {
    if (access.from === 'box') kubeConfig.loadFromFile(access.kubeconfig)
    else kubeConfig.loadFromDefault()
  } catch (cause) {
    throw new ActionableError(
      `the kubeconfig cannot be read: ${cause instanceof Error ? cause.message : cause}`,
      'see `kubectl config view`; unset KUBECONFIG, or correct it if it names the wrong file',
      { cause },
    )
  }
  if (access.from !== 'box') selectContext(kubeConfig, access.context)
  return kubeConfig
}

function selectContext(kubeConfig: KubeConfig, context: string): void {
  if (kubeConfig.getContextObject(context) === null) {
    throw new ActionableError(
      `your kubeconfig has no context ${context}`,
      // Listing the user's other contexts here would invite picking the wrong cluster.
      'add the context of an environment on AWS with `make kubeconfig ENV=<environment>`, or correct KUBE_CONTEXT (`kubectl config get-contexts` lists yours)',
    )
  }
  kubeConfig.setCurrentContext(context)
}
