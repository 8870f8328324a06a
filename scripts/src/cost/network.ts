/** The cost of what leads to the service: load balancer, zone, firewall and endpoints. */
import { type CostLine, line } from './bill.ts'
import type { PlannedResource } from './plan.ts'
import type { Context } from './pricing-rule.ts'

/** Gateway endpoints are free. An interface endpoint has an interface in each zone of the VPC. */
export function endpoint({ address, values }: PlannedResource, { resources, prices }: Context): CostLine[] {
  if (values['vpc_endpoint_type'] !== 'Interface') return []
  const zones = new Set(
    resources.flatMap(({ type, values }) => (type === 'aws_subnet' ? [values['availability_zone']] : [])),
  )
  return [line(`interface endpoint ${address}`, zones.size, prices.prices.interfaceEndpoint)]
}

/** A web ACL of WAF and its rules. */
export function webAcl({ address, values }: PlannedResource, { prices }: Context): CostLine[] {
  const rules = (values['rule'] ?? []) as unknown[]
  return [
    line(`WAF web ACL ${address}`, 1, prices.prices.wafWebAcl),
    line(
      `WAF rules of ${address}`,
      rules.length,
      prices.prices.wafRule,
      'requests cost 0.60 per million in addition, which comes with load',
    ),
  ]
}

/** The hosted zone of the planned records, which exists already. */
export function hostedZone({ resources, prices }: Context): CostLine[] {
  if (!resources.some(({ type }) => type === 'aws_route53_record')) return []
  return [
    line(
      'Route 53 hosted zone',
      1,
      prices.prices.route53Zone,
      'the zone is for this environment alone; it costs the same if several share it',
    ),
  ]
}

/**
 * The load balancer of the service's Ingress, with an address in each subnet that a plan creates for one, or that it tags
 * for one in an existing network.
 */
export function loadBalancer({ resources, prices }: Context): CostLine[] {
  const role = 'kubernetes.io/role/elb'
  const created = resources.filter(
    ({ type, values }) => type === 'aws_subnet' && Object.hasOwn(values['tags'] ?? {}, role),
  ).length
  const tagged = resources.filter(
    ({ type, values }) => type === 'aws_ec2_tag' && values['key'] === role,
  ).length
  const subnets = created === 0 ? tagged : created
  if (subnets === 0) return []
  const assumption = 'one Ingress; load balancer capacity units come only with load'
  return [
    line('Application Load Balancer', 1, prices.prices.alb, assumption),
    line('public IPv4 addresses of the load balancer', subnets, prices.prices.publicIpv4, assumption),
  ]
}
