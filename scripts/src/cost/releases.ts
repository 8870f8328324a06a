/** The cost of what a Helm release needs: nodes and volumes. */
import { ActionableError } from 'shared/errors'
import { type CostLine, line } from './bill.ts'
import { DEFAULT_ROOT_GIB } from './compute.ts'
import { type PlannedResource, required } from './plan.ts'
import { type Context, priceOf } from './pricing-rule.ts'
import { whileAwake } from './sleep.ts'

/** The cheaper of the two types in the NodePool, which Karpenter prefers. */
const KARPENTER_INSTANCE = 't4g.small'

/** Helm releases that need no further nodes and no volumes. */
const FREE_RELEASES: ReadonlySet<string> = new Set([
  'aws-load-balancer-controller',
  'aws-load-balancer-controller-crds',
  'cluster-baseline',
  'cluster-monitoring',
  'external-secrets',
  'external-secrets-crds',
  // Its pods fit beside those of other nodes.
  'fluent-bit',
  'karpenter',
  'karpenter-crd',
  // At rest all pods fit on the system nodes, so its NodePool launches none.
  'karpenter-nodes',
  'metrics-server',
  'opentelemetry-collector',
  'prometheus-adapter',
  'prometheus-operator-crds',
])

/** The nodes and the volumes that a release needs. */
export function release(planned: PlannedResource, context: Context): CostLine[] {
  const { prices } = context
  const { address, values } = planned
  const name = String(values['name'])
  if (FREE_RELEASES.has(name)) return []
  const documents = (values['values'] ?? []) as string[]
  if (name === 'loki' || name === 'tempo') {
    const size = documents.flatMap((yaml) => /^\s*size: "?(\d+)Gi"?$/m.exec(yaml)?.[1] ?? [])[0]
    const gib = Number(required(size, planned, 'the size of its volume'))
    return [line(`volume of ${name}, gp3`, gib, prices.prices.gp3, `${name} fits on the node for monitoring`)]
  }
  if (name !== 'kube-prometheus-stack') {
    throw new ActionableError(
      `there is no rule for the cost of the release ${name} (${address})`,
      'add one to scripts/src/cost/releases.ts for its nodes, volumes and load balancers, or add it to FREE_RELEASES',
    )
  }
  const claimed = documents
    .flatMap((yaml) => [...yaml.matchAll(/^\s*storage: "?(\d+)Gi"?$/gm)])
    .reduce((total, [, gib]) => total + Number(gib), 0)
  const assumption = 'monitoring fits on one node, which Karpenter launches for it'
  const node = [
    line(
      `node for monitoring, ${KARPENTER_INSTANCE} on demand`,
      1,
      priceOf('instances', KARPENTER_INSTANCE, prices),
      assumption,
    ),
    line('root volume of the node for monitoring, gp3', DEFAULT_ROOT_GIB, prices.prices.gp3, assumption),
  ]
  return [
    ...node.map((entry) => whileAwake(entry, 'system-nodes', context)),
    line('volumes of monitoring, gp3', claimed, prices.prices.gp3),
  ]
}
