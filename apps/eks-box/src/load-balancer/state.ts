import type { Action, RuleCondition } from '@aws-sdk/client-elastic-load-balancing-v2'

/** The load balancers of the emulated account, as far as the data path needs them. */
export interface LoadBalancingState {
  loadBalancers: LoadBalancer[]
  targetGroups: TargetGroup[]
}

export interface LoadBalancer {
  arn: string
  /** Unique in the account. */
  name: string
  dnsName: string
  attributes: LoadBalancerAttributes
  listeners: Listener[]
}

export interface LoadBalancerAttributes {
  idleTimeoutSeconds: number
  http2: boolean
  /** What happens to an X-Forwarded-For header of the client. */
  forwardedFor: 'append' | 'preserve' | 'remove'
  /** Whether X-Forwarded-For contains the client's port. */
  clientPort: boolean
}

export interface Listener {
  protocol: 'HTTP' | 'HTTPS'
  port: number
  /** ARNs; the default certificate first. Empty for HTTP. */
  certificates: string[]
  /** The value of the header that the listener adds to each response. */
  strictTransportSecurity?: string
  /** In order of priority. The last is the default rule, which has no conditions. */
  rules: Rule[]
}

export interface Rule {
  conditions: RuleCondition[]
  action: Action
}

export interface TargetGroup {
  arn: string
  /** Unique in the account. */
  name: string
  protocol: 'HTTP' | 'HTTPS'
  algorithm: 'round_robin' | 'least_outstanding_requests' | 'weighted_random'
  deregistrationDelaySeconds: number
  slowStartSeconds: number
  healthCheck: HealthCheck
  /** The registered targets. A deregistered target is not among them, even while it drains. */
  targets: Target[]
}

export interface HealthCheck {
  protocol: 'HTTP' | 'HTTPS'
  /** Undefined: the port that the target receives requests on. */
  port?: number
  path: string
  /** The status codes of a healthy target, such as `200,300-399`. */
  matcher: string
  intervalSeconds: number
  timeoutSeconds: number
  healthyThreshold: number
  unhealthyThreshold: number
}

export interface Target {
  /** As registered: an IP address or an instance's identifier. */
  id: string
  port: number
  /** Undefined for an instance that does not exist. */
  address?: string
}

/** The target groups to which an action forwards, with their weights. */
export function forwardedGroups(action: Action): { arn: string; weight: number }[] {
  const groups = action.ForwardConfig?.TargetGroups ?? []
  if (groups.length > 0) {
    return groups.map(({ TargetGroupArn = '', Weight = 1 }) => ({ arn: TargetGroupArn, weight: Weight }))
  }
  return action.TargetGroupArn === undefined ? [] : [{ arn: action.TargetGroupArn, weight: 1 }]
}

/** The target groups to which a load balancer forwards, without duplicates. */
export function targetGroupsOf({ listeners }: LoadBalancer): string[] {
  const actions = listeners.flatMap(({ rules }) => rules.map(({ action }) => action))
  return [...new Set(actions.flatMap(forwardedGroups).map(({ arn }) => arn))]
}
