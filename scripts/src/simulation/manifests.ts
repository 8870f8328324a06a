import type { KubernetesObject } from '@kubernetes/client-node'
import { requestsOf, type Size } from './workload.ts'

/** Name of the simulation's namespace, NodePool and node class. */
export const SIMULATION = 'simulation'

/** Keeps other pods off the simulated nodes, where they would not really run. */
const taint = { key: 'eks-box.local/simulation', value: 'true', effect: 'NoSchedule' }

/** Label of custom resource definitions that the simulation installed, because the platform stack is not applied. */
export const INSTALLED_LABEL = 'eks-box.local/simulation'

/** An object with the fields of its kind. */
export type Manifest = KubernetesObject & Record<string, unknown>

/**
 * The NodePool: ours (helm/karpenter-nodes), with two changes for compressed time. Nodes can be removed without a delay
 * after the last change of their pods, and any number of them at the same time.
 */
export function nodePool(types: readonly string[]): Manifest {
  const isIn = (key: string, values: readonly string[]) => ({ key, operator: 'In', values })
  return {
    apiVersion: 'karpenter.sh/v1',
    kind: 'NodePool',
    metadata: { name: SIMULATION },
    spec: {
      template: {
        spec: {
          nodeClassRef: { group: 'karpenter.kwok.sh', kind: 'KWOKNodeClass', name: SIMULATION },
          requirements: [
            isIn('kubernetes.io/os', ['linux']),
            isIn('kubernetes.io/arch', ['arm64']),
            isIn('karpenter.sh/capacity-type', ['on-demand']),
            isIn('node.kubernetes.io/instance-type', types),
          ],
          taints: [taint],
          expireAfter: '720h',
        },
      },
      disruption: {
        consolidationPolicy: 'WhenEmptyOrUnderutilized',
        consolidateAfter: '0s',
        budgets: [{ nodes: '100%' }],
      },
    },
  }
}

/** What is created before the pods, in this order. */
export function foundation(types: readonly string[]): Manifest[] {
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SIMULATION } },
    { apiVersion: 'karpenter.kwok.sh/v1alpha1', kind: 'KWOKNodeClass', metadata: { name: SIMULATION } },
    nodePool(types),
  ]
}

/** Name of the Deployment. */
export const WORKLOAD = 'workload'

/** The Deployment with all simulated pods. */
export function deployment(replicas: number, size: Size): Manifest {
  const requests = requestsOf(size)
  const labels = { app: WORKLOAD }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: WORKLOAD, namespace: SIMULATION },
    spec: {
      replicas,
      revisionHistoryLimit: 0,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels: { ...labels, 'eks.amazonaws.com/skip-pod-identity-webhook': 'true' } },
        spec: {
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 0,
          nodeSelector: { 'karpenter.sh/nodepool': SIMULATION },
          tolerations: [{ key: taint.key, operator: 'Exists' }],
          containers: [
            {
              name: 'main',
              // Nothing pulls it.
              image: 'simulated',
              resources: {
                requests: { cpu: `${requests.milliCpu}m`, memory: `${requests.memoryMiB}Mi` },
              },
            },
          ],
        },
      },
    },
  }
}
