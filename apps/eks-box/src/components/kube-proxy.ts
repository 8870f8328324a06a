import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { stringify } from 'yaml'
import { PORTS } from '../cluster.ts'
import type { NodeSpec } from '../node/spec.ts'
import { boxPaths, nodePaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** Routes Service addresses to pods, in iptables mode, the default of the EKS add-on. */
export function kubeProxy(config: BoxConfig, node: NodeSpec): Component {
  const file = join(nodePaths(config, node).config, 'kube-proxy.yaml')
  return {
    name: 'kube-proxy',
    // It would wait for the Node for 30 s if it started first.
    dependsOn: ['kubelet'],
    command: [programPath(config, 'kube-proxy'), `--config=${file}`, `--hostname-override=${node.name}`],
    files: {
      [file]: stringify({
        apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
        kind: 'KubeProxyConfiguration',
        mode: 'iptables',
        clientConnection: { kubeconfig: join(boxPaths(config).kubeconfigs, 'kube-proxy.conf') },
        healthzBindAddress: `127.0.0.1:${PORTS.proxyHealth}`,
        metricsBindAddress: '127.0.0.1:10249',
        // The size of the connection table is a setting of the whole machine, and may be read-only.
        conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
      }),
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.proxyHealth}/healthz` },
    diagnoses: [
      {
        pattern:
          /iptables.*(not found|executable file)|can't initialize iptables table|Table does not exist/i,
        cause: 'kube-proxy needs iptables, but the tools or the kernel module are missing',
        nextStep: 'install iptables and load the kernel module nf_tables or ip_tables',
      },
    ],
  }
}
