import type { V1Node } from '@kubernetes/client-node'
import { PRICES } from 'shared/prices'

interface TrackedNode {
  type: string
  isOfKarpenter: boolean
  wasReady: boolean
}

/** Follows the nodes of a cluster, and returns what their changes mean, in words. */
export class Nodes {
  readonly #nodes = new Map<string, TrackedNode>()

  get count(): number {
    return this.#nodes.size
  }

  get ofKarpenter(): number {
    return [...this.#nodes.values()].filter(({ isOfKarpenter }) => isOfKarpenter).length
  }

  /** On-demand price of all nodes in USD; null when a node has a type without a known price. */
  get usdPerHour(): number | null {
    const prices = [...this.#nodes.values()].map(({ type }) => PRICES.instances[type]?.usd)
    return prices.reduce<number | null>(
      (sum, usd) => (sum === null || usd === undefined ? null : sum + usd),
      0,
    )
  }

  /** Takes all nodes that exist now. */
  replace(nodes: V1Node[]): string[] {
    const present = new Set(nodes.map(nameOf))
    const removed = [...this.#nodes.keys()].filter((name) => !present.has(name))
    return [...removed.flatMap((name) => this.#remove(name)), ...nodes.flatMap((node) => this.set(node))]
  }

  remove(node: V1Node): string[] {
    return this.#remove(nameOf(node))
  }

  set(node: V1Node): string[] {
    const name = nameOf(node)
    const labels = node.metadata?.labels ?? {}
    const before = this.#nodes.get(name)
    const isReady =
      node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
    const type = labels['node.kubernetes.io/instance-type'] ?? 'of an unknown type'
    this.#nodes.set(name, {
      type,
      isOfKarpenter: labels['karpenter.sh/nodepool'] !== undefined,
      wasReady: isReady || (before?.wasReady ?? false),
    })
    return isReady && !before?.wasReady ? [`node ${name} (${type}) is ready`] : []
  }

  #remove(name: string): string[] {
    return this.#nodes.delete(name) ? [`node ${name} is gone`] : []
  }
}

function nameOf({ metadata }: V1Node): string {
  return metadata?.name ?? ''
}
