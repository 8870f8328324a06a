import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { NODE_IP, PORTS } from '../cluster.ts'
import { isInstalled } from '../packages.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'
import { cachePasswordPath } from './credentials.ts'

/** The service's cache, where ElastiCache is on AWS. It starts empty: what it held can be had again. */
export function redis(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'redis.conf')
  return {
    name: 'redis',
    after: [],
    command: [program(), file],
    files: {
      [file]: `bind ${NODE_IP}
port ${PORTS.redis}
include ${cachePasswordPath(config)}
maxmemory 64mb
maxmemory-policy allkeys-lru
save ""
appendonly no
dir ${paths.run}
`,
    },
    // To be asked for the password is to be served.
    probe: { kind: 'tcp', host: NODE_IP, port: PORTS.redis, say: 'PING\r\n', hear: '-NOAUTH' },
    diagnoses: [],
  }
}

/** Some distributions have Valkey, which speaks the same protocol, in the place of Redis. */
function program(): string {
  const onPath = (name: string) => isInstalled(name, process.env['PATH'] ?? '')
  return !onPath('redis-server') && onPath('valkey-server') ? 'valkey-server' : 'redis-server'
}
