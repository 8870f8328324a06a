import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { CONTROL_PLANE_IP, PORTS } from '../cluster.ts'
import { isInstalled } from '../packages.ts'
import { cachePasswordPath } from '../preparation/credentials.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** The service's cache, in place of ElastiCache. It writes nothing to disk, so it starts empty. */
export function redis(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'redis.conf')
  return {
    name: 'redis',
    dependsOn: [],
    command: [program(), file],
    files: {
      [file]: `bind ${CONTROL_PLANE_IP}
port ${PORTS.redis}
include ${cachePasswordPath(config)}
maxmemory 64mb
maxmemory-policy allkeys-lru
save ""
appendonly no
dir ${paths.run}
`,
    },
    // The probe has no password. A server that asks for one is ready.
    probe: { kind: 'tcp', host: CONTROL_PLANE_IP, port: PORTS.redis, send: 'PING\r\n', expect: '-NOAUTH' },
    diagnoses: [],
  }
}

/** Some distributions ship Valkey, which speaks the same protocol, instead of Redis. */
function program(): string {
  const onPath = (name: string) => isInstalled(name, process.env['PATH'] ?? '')
  return !onPath('redis-server') && onPath('valkey-server') ? 'valkey-server' : 'redis-server'
}
