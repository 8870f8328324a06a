import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { PORTS } from '../cluster.ts'
import type { NodeSpec } from '../node/spec.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** Enforces the NetworkPolicies of the node's pods, as the VPC CNI plugin's node agent does. */
export function networkPolicies(config: BoxConfig, node: NodeSpec): Component {
  const health = `127.0.0.1:${PORTS.networkPoliciesHealth}`
  return {
    name: 'network-policies',
    dependsOn: [],
    command: [
      programPath(config, 'network-policies'),
      `--kubeconfig=${join(boxPaths(config).kubeconfigs, 'network-policies.conf')}`,
      `--node=${node.name}`,
      `--node-address=${node.address}`,
      `--health-address=${health}`,
    ],
    files: {},
    probe: { kind: 'http', url: `http://${health}/healthz` },
    diagnoses: [
      {
        pattern: /the kernel cannot queue packets: no (.*)/,
        cause: 'this kernel cannot enforce NetworkPolicies, because it cannot queue packets for a program',
        nextStep:
          'load the kernel modules nft_compat, xt_NFQUEUE and nfnetlink_queue, or use a kernel that has them',
      },
    ],
  }
}
