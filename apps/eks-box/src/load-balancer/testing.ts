import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LoadBalancer, Rule, Target, TargetGroup } from './state.ts'

export function loadBalancer(name: string, listeners: LoadBalancer['listeners'] = []): LoadBalancer {
  return {
    arn: `arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/${name}/1`,
    name,
    dnsName: `${name}-1.eu-central-1.elb.amazonaws.com`,
    attributes: { idleTimeoutSeconds: 60, http2: true, forwardedFor: 'append', clientPort: false },
    listeners,
  }
}

export function targetGroup(name: string, change: Partial<TargetGroup> = {}): TargetGroup {
  return {
    arn: groupArn(name),
    name,
    protocol: 'HTTP',
    algorithm: 'round_robin',
    deregistrationDelaySeconds: 300,
    slowStartSeconds: 0,
    healthCheck: {
      protocol: 'HTTP',
      path: '/healthy',
      matcher: '200',
      intervalSeconds: 0.02,
      timeoutSeconds: 5,
      healthyThreshold: 2,
      unhealthyThreshold: 2,
    },
    targets: [],
    ...change,
  }
}

export function groupArn(name: string): string {
  return `arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/${name}/1`
}

/** A rule that forwards to one target group. */
export function forwardTo(name: string, conditions: Rule['conditions'] = []): Rule {
  return { conditions, action: { Type: 'forward', TargetGroupArn: groupArn(name) } }
}

/** A target: an HTTP server on the loopback interface. */
export async function startTarget(
  t: { teardown: (action: () => void) => void },
  listener: RequestListener,
): Promise<Target> {
  // An ALB reuses connections for longer than Node's default, 5 s.
  const server = createServer({ keepAliveTimeout: 75_000 }, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { id: '127.0.0.1', port, address: '127.0.0.1' }
}
