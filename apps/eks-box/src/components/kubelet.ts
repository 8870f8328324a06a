import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { stringify } from 'yaml'
import { DNS_SERVICE_IP, PORTS, RESOLVER_IP } from '../cluster.ts'
import type { NodeSpec } from '../node/spec.ts'
import { boxPaths, nodePaths } from '../state-directory.ts'
import type { Component } from './component.ts'
import { CONTAINERD_SOCKET } from './containerd.ts'
import { kubectl } from './kubectl.ts'

/** Name prefix of the cgroups of every box. */
export const CGROUP_PREFIX = 'eks-box-'

/** Cgroup of a box, which contains those of its nodes. */
export function cgroupRoot(config: BoxConfig): string {
  return `/${CGROUP_PREFIX}${config.name}`
}

/** Cgroup of a node, below which its kubelet creates the cgroups of pods. */
export function nodeCgroup(config: BoxConfig, node: Pick<NodeSpec, 'instanceId'>): string {
  return `${cgroupRoot(config)}/${node.instanceId}`
}

/** Runs the pods. They have routed addresses of the node's subnet, as with the VPC CNI plugin. */
export function kubelet(config: BoxConfig, node: NodeSpec): Component {
  const paths = nodePaths(config, node)
  const file = join(paths.config, 'kubelet.yaml')
  const resolvConf = join(paths.config, 'resolv.conf')
  return {
    name: 'kubelet',
    dependsOn: ['containerd'],
    command: [
      programPath(config, 'kubelet'),
      `--config=${file}`,
      `--kubeconfig=${paths.kubeconfig}`,
      `--cert-dir=${join(paths.data, 'kubelet-pki')}`,
      `--hostname-override=${node.name}`,
      `--node-ip=${node.address}`,
      `--provider-id=aws:///${node.zone}/${node.instanceId}`,
      `--node-labels=${Object.entries(node.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(',')}`,
      ...(node.taints.length === 0 ? [] : [`--register-with-taints=${node.taints.join(',')}`]),
    ],
    files: {
      [file]: stringify({
        apiVersion: 'kubelet.config.k8s.io/v1beta1',
        kind: 'KubeletConfiguration',
        containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
        authentication: {
          anonymous: { enabled: false },
          webhook: { enabled: true },
          x509: { clientCAFile: join(boxPaths(config).pki, 'ca.crt') },
        },
        authorization: { mode: 'Webhook' },
        clusterDNS: [DNS_SERVICE_IP],
        clusterDomain: 'cluster.local',
        resolvConf,
        cgroupDriver: 'cgroupfs',
        cgroupRoot: nodeCgroup(config, node),
        maxPods: node.maxPods,
        systemReserved: reservation(node.systemReserved),
        kubeReserved: reservation(node.kubeReserved),
        failCgroupV1: false,
        failSwapOn: false,
        // The default is a directory of the machine, outside the box.
        volumePluginDir: '/run/volume-plugins',
        podLogsDir: '/var/log/pods',
        healthzBindAddress: '127.0.0.1',
        healthzPort: PORTS.kubeletHealth,
        // The disk is not the node's own: other files may fill it, so do not evict pods or delete images at 90 %.
        evictionHard: {
          'memory.available': '100Mi',
          'nodefs.available': '1Gi',
          'imagefs.available': '1Gi',
          'nodefs.inodesFree': '1%',
        },
        imageGCHighThresholdPercent: 100,
      }),
      [resolvConf]: `nameserver ${RESOLVER_IP}\n`,
      [join(paths.config, 'cni', '10-box.conflist')]: JSON.stringify(
        {
          cniVersion: '0.4.0',
          name: 'box',
          plugins: [
            {
              type: 'ptp',
              ipam: {
                type: 'host-local',
                dataDir: '/run/ipam',
                ranges: [[{ subnet: node.podSubnet }]],
                routes: [{ dst: '0.0.0.0/0' }],
              },
            },
            { type: 'portmap', capabilities: { portMappings: true } },
          ],
        },
        null,
        2,
      ),
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.kubeletHealth}/healthz` },
    afterReady: [kubectl(config, 'wait', '--for=condition=Ready', `node/${node.name}`, '--timeout=2s')],
    diagnoses: [
      {
        pattern: /can't get final child's PID from pipe/,
        cause:
          'pod sandboxes cannot start: the machine denies CAP_SYS_RESOURCE, and containerd tried to use it anyway',
        nextStep: 'report it with the output of `make logs C=containerd`',
      },
      {
        pattern: /cgroup.*(not exist|no such file)|failed to initialize top level QOS containers/i,
        cause: 'the kubelet cannot use the cgroups of this machine',
        nextStep: 'check that /sys/fs/cgroup is mounted and writable for root',
      },
      {
        pattern: /inotify_init: too many open files/,
        cause: 'this machine allows too few inotify instances for another node, which needs about eight',
        nextStep: 'raise the limit with `sysctl fs.inotify.max_user_instances=1024`',
      },
      {
        pattern: /running with swap on is not supported/,
        cause: 'the kubelet does not start while swap is on',
        nextStep: 'turn swap off with `swapoff -a`',
      },
    ],
  }
}

function reservation({ milliCpu, memoryMiB }: NodeSpec['kubeReserved']): Record<string, string> {
  return { cpu: `${milliCpu}m`, memory: `${memoryMiB}Mi` }
}
