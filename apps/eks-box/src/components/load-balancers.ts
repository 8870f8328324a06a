import { dirname, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { PORTS } from '../cluster.ts'
import type { HaproxyFiles } from '../load-balancer/haproxy.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** HAProxy's files. They do not survive a restart of the box, because the load balancers' addresses do not either. */
export function haproxyFiles(config: BoxConfig): HaproxyFiles {
  const directory = join(boxPaths(config).run, 'haproxy')
  return {
    // HAProxy reads them in the order of their names.
    base: join(directory, 'base.cfg'),
    configuration: join(directory, 'load-balancers.cfg'),
    // The path of a socket must be short.
    socket: '/run/haproxy-master.sock',
  }
}

/** The data path of the load balancers. `load-balancers` writes its configuration. */
export function haproxy(config: BoxConfig): Component {
  const { base, socket } = haproxyFiles(config)
  return {
    name: 'haproxy',
    dependsOn: [],
    command: ['haproxy', '-W', '-S', `${socket},mode,600`, '-f', dirname(base)],
    files: {
      [base]: `global
  log stderr format raw local0 notice
  maxconn 8000
  stats socket /run/haproxy.sock mode 600 level admin expose-fd listeners

frontend health
  mode http
  bind 127.0.0.1:${PORTS.haproxyHealth}
  timeout client 5s
  monitor-uri /healthz
`,
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.haproxyHealth}/healthz` },
    diagnoses: [],
  }
}

/** Makes the load balancers of the emulated account real. */
export function loadBalancers(_config: BoxConfig): Component {
  return {
    name: 'load-balancers',
    dependsOn: ['aws', 'haproxy'],
    command: [process.execPath, join(import.meta.dirname, '..', 'load-balancer', 'main.ts')],
    files: {},
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.loadBalancers}/healthz` },
    diagnoses: [],
  }
}
