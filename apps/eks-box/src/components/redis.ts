import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { CONTROL_PLANE_IP, PORTS } from '../cluster.ts'
import { isInstalled } from '../packages.ts'
import { cacheUsersPath } from '../preparation/credentials.ts'
import { cacheCertificates } from '../preparation/databases.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/**
 * The service's cache, in place of ElastiCache. It writes nothing to disk, so it starts empty. The component `aws` makes
 * it the replication group of the emulated account, and writes its users.
 */
export function redis(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'redis.conf')
  return {
    name: 'redis',
    dependsOn: [],
    command: [program(), file],
    files: {
      // Redis would refuse all remote clients as long as the account's replication group needs no token.
      [file]: `bind * -::*
protected-mode no
port ${PORTS.redisWithoutTls}
tls-port ${PORTS.redis}
tls-cert-file ${cacheCertificates(config)}/server.crt
tls-key-file ${cacheCertificates(config)}/server.key
tls-auth-clients no
include ${cacheUsersPath(config)}
maxmemory 64mb
maxmemory-policy allkeys-lru
save ""
appendonly no
dir ${paths.run}
`,
    },
    // The probe has no password. A server that refuses it is ready.
    probe: {
      kind: 'tcp',
      host: CONTROL_PLANE_IP,
      port: PORTS.redisWithoutTls,
      send: 'AUTH probe probe\r\n',
      expect: '-WRONGPASS',
    },
    diagnoses: [],
  }
}

/** Some distributions ship Valkey, which speaks the same protocol, instead of Redis. */
function program(): string {
  const onPath = (name: string) => isInstalled(name, process.env['PATH'] ?? '')
  return !onPath('redis-server') && onPath('valkey-server') ? 'valkey-server' : 'redis-server'
}
