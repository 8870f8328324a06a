import {
  type LoadBalancer as DescribedLoadBalancer,
  type Rule as DescribedRule,
  type TargetGroup as DescribedTargetGroup,
  DescribeListenerAttributesCommand,
  DescribeListenerCertificatesCommand,
  DescribeListenersCommand,
  DescribeLoadBalancerAttributesCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetHealthCommand,
  type ElasticLoadBalancingV2Client,
  type Listener as ListenerDescription,
  paginateDescribeLoadBalancers,
  paginateDescribeRules,
  paginateDescribeTargetGroups,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import type { Listener, LoadBalancer, LoadBalancingState, Rule, Target, TargetGroup } from './state.ts'

/**
 * Reads the Application Load Balancers and target groups of the account. Other types are left out.
 *
 * @param instanceAddresses finds the private addresses of instances by their identifiers.
 */
export async function readState(
  elb: ElasticLoadBalancingV2Client,
  instanceAddresses: (ids: string[]) => Promise<ReadonlyMap<string, string>>,
): Promise<LoadBalancingState> {
  const paginator = { client: elb }
  const balancers: DescribedLoadBalancer[] = []
  for await (const page of paginateDescribeLoadBalancers(paginator, {})) {
    balancers.push(...(page.LoadBalancers ?? []).filter(isSupported))
  }
  const groups: DescribedTargetGroup[] = []
  for await (const page of paginateDescribeTargetGroups(paginator, {})) {
    groups.push(...(page.TargetGroups ?? []).filter(({ Protocol }) => isHttp(Protocol)))
  }
  const registered = new Map(
    await Promise.all(
      groups.map(async ({ TargetGroupArn = '' }) => {
        const health = await elb.send(new DescribeTargetHealthCommand({ TargetGroupArn }))
        const targets = (health.TargetHealthDescriptions ?? []).flatMap(({ Target }) => Target ?? [])
        return [TargetGroupArn, targets] as const
      }),
    ),
  )
  const instances = [...registered.values()]
    .flat()
    .flatMap(({ Id = '' }) => (Id.startsWith('i-') ? [Id] : []))
  const addresses = instances.length === 0 ? new Map() : await instanceAddresses([...new Set(instances)])
  return {
    loadBalancers: await Promise.all(balancers.map((balancer) => readLoadBalancer(elb, balancer))),
    targetGroups: await Promise.all(
      groups.map((group) => {
        const targets = registered.get(group.TargetGroupArn ?? '') ?? []
        return readTargetGroup(elb, group, targets, addresses)
      }),
    ),
  }
}

/** The emulator accepts names that AWS refuses. They would become part of HAProxy's configuration. */
function isSupported({ Type, LoadBalancerName = '' }: DescribedLoadBalancer): boolean {
  return Type === 'application' && /^[A-Za-z0-9-]+$/.test(LoadBalancerName)
}

function isHttp(protocol: string | undefined): protocol is 'HTTP' | 'HTTPS' {
  return protocol === 'HTTP' || protocol === 'HTTPS'
}

async function readLoadBalancer(
  elb: ElasticLoadBalancingV2Client,
  { LoadBalancerArn: arn = '', LoadBalancerName: name = '', DNSName: dnsName = '' }: DescribedLoadBalancer,
): Promise<LoadBalancer> {
  const [{ Attributes = [] }, { Listeners = [] }] = await Promise.all([
    elb.send(new DescribeLoadBalancerAttributesCommand({ LoadBalancerArn: arn })),
    elb.send(new DescribeListenersCommand({ LoadBalancerArn: arn })),
  ])
  const attribute = (key: string) => Attributes.find(({ Key }) => Key === key)?.Value
  const mode = attribute('routing.http.xff_header_processing.mode')
  const listeners = await Promise.all(Listeners.map((listener) => readListener(elb, listener)))
  return {
    arn,
    name,
    dnsName,
    attributes: {
      idleTimeoutSeconds: Number(attribute('idle_timeout.timeout_seconds') ?? 60),
      http2: attribute('routing.http2.enabled') !== 'false',
      forwardedFor: mode === 'preserve' || mode === 'remove' ? mode : 'append',
      clientPort: attribute('routing.http.xff_client_port.enabled') === 'true',
    },
    listeners: listeners.flat(),
  }
}

async function readListener(
  elb: ElasticLoadBalancingV2Client,
  { ListenerArn, Protocol, Port = 0 }: ListenerDescription,
): Promise<Listener[]> {
  if (!isHttp(Protocol)) return []
  const rules: DescribedRule[] = []
  for await (const { Rules = [] } of paginateDescribeRules({ client: elb }, { ListenerArn })) {
    rules.push(...Rules)
  }
  return [
    {
      protocol: Protocol,
      port: Port,
      certificates: Protocol === 'HTTPS' ? await readCertificates(elb, ListenerArn) : [],
      ...(Protocol === 'HTTPS' ? await readResponseHeaders(elb, ListenerArn) : {}),
      rules: rules.toSorted((one, other) => priority(one) - priority(other)).map(readRule),
    },
  ]
}

async function readResponseHeaders(
  elb: ElasticLoadBalancingV2Client,
  ListenerArn: string | undefined,
): Promise<Pick<Listener, 'strictTransportSecurity'>> {
  const { Attributes = [] } = await elb.send(new DescribeListenerAttributesCommand({ ListenerArn }))
  const name = 'routing.http.response.strict_transport_security.header_value'
  const value = Attributes.find(({ Key }) => Key === name)?.Value
  return value === undefined || value === '' ? {} : { strictTransportSecurity: value }
}

async function readCertificates(elb: ElasticLoadBalancingV2Client, ListenerArn: string | undefined) {
  const { Certificates = [] } = await elb.send(new DescribeListenerCertificatesCommand({ ListenerArn }))
  const byDefault = Certificates.toSorted((one, other) => Number(other.IsDefault) - Number(one.IsDefault))
  return [...new Set(byDefault.flatMap(({ CertificateArn }) => CertificateArn ?? []))]
}

function priority({ Priority = 'default' }: DescribedRule): number {
  return Priority === 'default' ? Number.POSITIVE_INFINITY : Number(Priority)
}

function readRule({ Conditions = [], Actions = [] }: DescribedRule): Rule {
  // An action that authenticates the client comes first. It is not supported, so it must not be skipped.
  const action = Actions.toSorted((one, other) => (one.Order ?? 0) - (other.Order ?? 0))[0]
  return { conditions: Conditions, action: action ?? { Type: undefined } }
}

async function readTargetGroup(
  elb: ElasticLoadBalancingV2Client,
  group: DescribedTargetGroup,
  targets: readonly TargetDescription[],
  addresses: ReadonlyMap<string, string>,
): Promise<TargetGroup> {
  const { TargetGroupArn = '', TargetGroupName = '', Protocol, Port = 80, HealthCheckPort } = group
  const { Attributes = [] } = await elb.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn }))
  const attribute = (key: string) => Attributes.find(({ Key }) => Key === key)?.Value
  const algorithm = attribute('load_balancing.algorithm.type')
  return {
    arn: TargetGroupArn,
    name: TargetGroupName,
    protocol: isHttp(Protocol) ? Protocol : 'HTTP',
    algorithm:
      algorithm === 'least_outstanding_requests' || algorithm === 'weighted_random'
        ? algorithm
        : 'round_robin',
    deregistrationDelaySeconds: Number(attribute('deregistration_delay.timeout_seconds') ?? 300),
    slowStartSeconds: Number(attribute('slow_start.duration_seconds') ?? 0),
    healthCheck: {
      protocol: group.HealthCheckProtocol === 'HTTPS' ? 'HTTPS' : 'HTTP',
      ...(HealthCheckPort === undefined || HealthCheckPort === 'traffic-port'
        ? {}
        : { port: Number(HealthCheckPort) }),
      path: group.HealthCheckPath ?? '/',
      matcher: group.Matcher?.HttpCode ?? '200',
      intervalSeconds: group.HealthCheckIntervalSeconds ?? 30,
      timeoutSeconds: group.HealthCheckTimeoutSeconds ?? 5,
      healthyThreshold: group.HealthyThresholdCount ?? 5,
      unhealthyThreshold: group.UnhealthyThresholdCount ?? 2,
    },
    targets: targets.map(({ Id = '', Port: port = Port }): Target => {
      const address = group.TargetType === 'instance' ? addresses.get(Id) : Id
      return { id: Id, port, ...(address === undefined ? {} : { address }) }
    }),
  }
}
