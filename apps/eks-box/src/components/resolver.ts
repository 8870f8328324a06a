import { join } from 'node:path'
import { type BoxConfig, REGION } from 'shared/box'
import { programPath } from 'shared/tools'
import { PORTS, RESOLVER_IP } from '../cluster.ts'
import { databaseHosts } from '../databases/addresses.ts'
import { loadBalancerHosts } from '../load-balancer/addresses.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** The domains of RDS and ElastiCache. The plugin `hosts` reads one file, and each zone has its own. */
const databaseZones = [`${REGION}.rds.amazonaws.com`, 'cache.amazonaws.com']

/**
 * The VPC's DNS resolver: it resolves the names of the database, the cache and the load balancers. It has no upstream
 * for other names, because the box has no internet access. The names of the cluster are those of the add-on coredns.
 */
export function resolver(config: BoxConfig): Component {
  const file = join(boxPaths(config).config, 'Corefile')
  return {
    name: 'resolver',
    dependsOn: [],
    command: [programPath(config, 'coredns'), '-conf', file, '-dns.port', String(PORTS.dns)],
    files: {
      [file]: `.:${PORTS.dns} {
    bind ${RESOLVER_IP}
    errors
    ready 127.0.0.1:${PORTS.resolverReady}
    hosts ${loadBalancerHosts(config)} {
        no_reverse
        reload 1s
        ttl 5
    }
}
${databaseZones.map((zone) => `${zone}:${PORTS.dns}`).join(' ')} {
    bind ${RESOLVER_IP}
    errors
    hosts ${databaseHosts(config)} {
        no_reverse
        reload 1s
        ttl 5
    }
}
`,
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.resolverReady}/ready` },
    diagnoses: [],
  }
}
