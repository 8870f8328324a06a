/** Runs kubectl as administrator with this input, and returns its output. */
export type Kubectl = (args: readonly string[], input?: string) => Promise<string>

interface Pod {
  metadata: { name: string; namespace: string }
  spec: { priority?: number }
}

/** From this priority on, a pod is critical: the value of the class system-cluster-critical. */
const criticalPriority = 2_000_000_000

/** The kubelet's setting on nodes of EKS from Kubernetes 1.34 on (nodeadm): 150 s, of which 30 s for critical pods. */
const graceSeconds = { other: 120, critical: 30 }

/**
 * Ends the pods of a node whose operating system shuts down: critical pods after all others, each with its own grace
 * period. The kubelet does this itself on EKS, but it needs systemd. It ignores disruption budgets, as here.
 */
export async function endPods(node: string, kubectl: Kubectl): Promise<void> {
  await kubectl(['cordon', node])
  const selector = `--field-selector=spec.nodeName=${node}`
  const { items } = JSON.parse(await kubectl(['get', 'pods', '--all-namespaces', selector, '--output=json']))
  const pods: readonly Pod[] = items
  const isCritical = ({ spec }: Pod) => (spec.priority ?? 0) >= criticalPriority
  for (const [seconds, group] of [
    [graceSeconds.other, pods.filter((pod) => !isCritical(pod))],
    [graceSeconds.critical, pods.filter(isCritical)],
  ] as const) {
    if (group.length === 0) continue
    const list = {
      apiVersion: 'v1',
      kind: 'List',
      items: group.map(({ metadata: { name, namespace } }) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace },
      })),
    }
    await kubectl(
      ['delete', '--filename=-', '--ignore-not-found', `--timeout=${seconds}s`],
      JSON.stringify(list),
    ).catch((error: unknown) => {
      // What is left ends with the node.
      console.error(`${node}: not all pods have ended:`, error instanceof Error ? error.message : error)
    })
  }
}
