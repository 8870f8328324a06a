import { existsSync } from 'node:fs'
import { KubeConfig } from '@kubernetes/client-node'
import { ActionableError } from './errors.ts'

/** How clients of Kubernetes reach a cluster: by the box's own kubeconfig, or by a context of the user's. */
export type ClusterAccess =
  | { from: 'box'; kubeconfig: string }
  | { from: 'KUBE_CONTEXT' | 'make kubeconfig'; context: string }

/**
 * Loads the configuration of a client for the cluster.
 *
 * @throws ActionableError when the box is not up, the kubeconfig cannot be read or has no such context.
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
      // The other contexts lead to other clusters, so a list of them here would invite a mistake.
      'add the context of an environment on AWS with `make kubeconfig ENV=<environment>`, or correct KUBE_CONTEXT (`kubectl config get-contexts` lists yours)',
    )
  }
  kubeConfig.setCurrentContext(context)
}
