import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ADDONS_MANIFEST } from '../cluster.ts'
import type { Component } from '../component.ts'
import type { BoxConfig } from '../config.ts'
import { aws, moto } from './aws.ts'
import { containerd } from './containerd.ts'
import { apiserver, controllerManager, scheduler } from './control-plane.ts'
import { coredns } from './coredns.ts'
import { etcd } from './etcd.ts'
import { kubeProxy } from './kube-proxy.ts'
import { kubelet } from './kubelet.ts'
import { metricsServer } from './metrics-server.ts'
import { postgres } from './postgres.ts'
import { redis } from './redis.ts'
import { registry } from './registry.ts'

const builders = [
  etcd,
  apiserver,
  controllerManager,
  scheduler,
  registry,
  moto,
  aws,
  postgres,
  redis,
  containerd,
  kubelet,
  kubeProxy,
  coredns,
  metricsServer,
]

/** Every component of the box. */
export function components(config: BoxConfig): Component[] {
  return builders.map((build) => build(config))
}

/** Changes whenever a running box is no longer what `config` and this checkout describe. */
export function fingerprint(config: BoxConfig): string {
  return createHash('sha256')
    .update(JSON.stringify([components(config), config.ports]))
    .update(readFileSync(ADDONS_MANIFEST))
    .digest('hex')
    .slice(0, 12)
}
