import { createHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import type { NodeSpec } from '../node/spec.ts'
import { aws, moto } from './aws.ts'
import { COMPONENT_NAMES, type Component } from './component.ts'
import { containerd } from './containerd.ts'
import { apiserver, controllerManager, scheduler } from './control-plane.ts'
import { etcd } from './etcd.ts'
import { kubeProxy } from './kube-proxy.ts'
import { kubelet } from './kubelet.ts'
import { haproxy, loadBalancers } from './load-balancers.ts'
import { networkPolicies } from './network-policies.ts'
import { nodes } from './nodes.ts'
import { postgres } from './postgres.ts'
import { redis } from './redis.ts'
import { registry } from './registry.ts'
import { resolver } from './resolver.ts'

const builders: Record<(typeof COMPONENT_NAMES)[number], (config: BoxConfig) => Component> = {
  etcd,
  'kube-apiserver': apiserver,
  'kube-controller-manager': controllerManager,
  'kube-scheduler': scheduler,
  registry,
  moto,
  aws,
  haproxy,
  'load-balancers': loadBalancers,
  postgres,
  redis,
  resolver,
  nodes,
}

/** The components of the box. */
export function components(config: BoxConfig): Component[] {
  return COMPONENT_NAMES.map((name) => builders[name](config))
}

/** The components of one node. */
export function nodeComponents(config: BoxConfig, node: NodeSpec): Component[] {
  return [containerd, kubelet, kubeProxy, networkPolicies].map((build) => build(config, node))
}

/**
 * A hash that differs when a running box no longer matches `config` and this checkout. It covers the components and
 * ports, the box's own code, and the packages that this code uses.
 *
 * @param root directory of this workspace.
 */
export function fingerprint(config: BoxConfig, root = join(import.meta.dirname, '..', '..')): string {
  const hash = createHash('sha256').update(
    JSON.stringify([components(config), config.ports, config.maxNodes, process.version]),
  )
  const sources = globSync(
    ['src/**/*.ts', 'src/aws/*.py', 'manifests/**/*.yaml', '../../shared/src/**/*.ts'],
    {
      cwd: root,
      exclude: ['**/*.test.ts', 'src/{eks-api,load-balancer}/testing.ts', 'src/cli.ts'],
    },
  )
  for (const file of [...sources.sort(), 'package.json']) {
    hash.update(`${file}\0`).update(readFileSync(join(root, file)))
  }
  return hash.digest('hex').slice(0, 12)
}
