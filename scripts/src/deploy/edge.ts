import type { Outputs } from '../infrastructure/state.ts'

/** What the stack edge provides for the Ingress. */
export interface Edge {
  host: string
  /** Options for Helm that set the chart's values. */
  settings: string[]
  /** DNS name of the load balancer that the host leads to; null before the first deployment. */
  loadBalancer: string | null
}

/** The edge that a stack's outputs describe; undefined when the stack is not applied. */
export function edgeOf(outputs: Outputs): Edge | undefined {
  const { ingress, load_balancer: loadBalancer } = outputs as {
    ingress?: { host: string; certificateArn: string; cloudFrontPrefixList: string }
    load_balancer?: string | null
  }
  if (ingress === undefined) return undefined
  const values = Object.entries(ingress).map(([name, value]) => `ingress.${name}=${value}`)
  return {
    host: ingress.host,
    settings: values.flatMap((value) => ['--set-string', value]),
    loadBalancer: loadBalancer ?? null,
  }
}

/** Tells what is missing for the host to lead to the service; undefined when nothing is. */
export function missingStep(
  { host, loadBalancer }: Edge,
  deployed: string | undefined,
  environment: string,
): string | undefined {
  if (deployed !== undefined && deployed === loadBalancer) return undefined
  const state =
    loadBalancer === null
      ? 'does not lead to the load balancer yet'
      : 'leads to a load balancer that was replaced'
  return `WARNING: ${host} ${state}: run \`make apply STACK=edge ENV=${environment}\``
}
