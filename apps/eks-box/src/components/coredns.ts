import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { CACHE_HOST, CONTROL_PLANE_IP, DATABASE_HOST, PORTS } from '../cluster.ts'
import { loadBalancerHosts } from '../load-balancer/addresses.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/**
 * Resolves the names of the cluster, the database, the cache and the load balancers. It has no upstream for other names, because the box
 * has no internet access.
 */
export function coredns(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'Corefile')
  return {
    name: 'coredns',
    dependsOn: ['kube-apiserver'],
    command: [programPath(config, 'coredns'), '-conf', file, '-dns.port', String(PORTS.dns)],
    files: {
      [file]: `.:${PORTS.dns} {
    bind ${CONTROL_PLANE_IP}
    errors
    ready 127.0.0.1:${PORTS.dnsReady}
    hosts ${loadBalancerHosts(config)} {
        ${CONTROL_PLANE_IP} ${DATABASE_HOST} ${CACHE_HOST}
        no_reverse
        reload 1s
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa {
        kubeconfig ${join(paths.kubeconfigs, 'coredns.conf')}
        pods insecure
        ttl 30
    }
    cache 30
    loadbalance
}
`,
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.dnsReady}/ready` },
    diagnoses: [],
  }
}
