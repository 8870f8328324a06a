/** Objects of the cluster, with the fields that the tests read, and their changes. */
import { PAUSE_IMAGE } from 'shared/tools'

/** What the tests read of every object of the cluster. */
export interface KubernetesObject {
  metadata: {
    name: string
    labels?: Record<string, string>
    /** The API server counts changes of all objects together, so two versions show which change came first. */
    resourceVersion: string
    creationTimestamp: string
    deletionTimestamp?: string
    deletionGracePeriodSeconds?: number
  }
  status?: { conditions?: { type: string; status: string; reason?: string }[] }
}

export interface Pod extends KubernetesObject {
  spec: { nodeName?: string }
}

export interface Node extends KubernetesObject {
  spec: { providerID: string; taints?: { key: string }[] }
}

/** A node that Karpenter launches. */
export interface NodeClaim extends KubernetesObject {
  spec: { requirements: { key: string; values?: string[] }[] }
  status?: KubernetesObject['status'] & { providerID?: string; nodeName?: string; imageID?: string }
}

export interface Deployment extends KubernetesObject {
  status?: KubernetesObject['status'] & { readyReplicas?: number; availableReplicas?: number }
}

/** Whether an object has a condition, such as `Ready`. */
export function hasCondition({ status }: KubernetesObject, type: string): boolean {
  return (
    status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false
  )
}

/** A change of an object. The first ones are the objects that existed already. */
export interface Change<Item> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  object: Item
  /** When it was seen, in milliseconds since the epoch. */
  time: number
}

export interface Observation<Item> {
  /** So far, in their order. */
  changes: Change<Item>[]
  stop: () => Promise<void>
}

export interface NodePool extends KubernetesObject {
  spec: Record<string, unknown>
  status?: KubernetesObject['status'] & { resources?: Record<string, string> }
}

/** An event of the cluster, which is itself an object. */
export interface Event extends KubernetesObject {
  involvedObject: { name: string }
  reason: string
  message: string
}

/** Pods that each need a node of their own, which Karpenter launches. */
export const batch = (replicas: number) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'batch', namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'batch' } },
    template: {
      metadata: { labels: { app: 'batch' } },
      spec: {
        nodeSelector: { 'karpenter.sh/nodepool': 'karpenter-nodes' },
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'pause', image: PAUSE_IMAGE, resources: { requests: { cpu: '1500m' } } }],
      },
    },
  },
})
