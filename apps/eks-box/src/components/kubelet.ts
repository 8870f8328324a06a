import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { REGION } from 'shared/box'
import { programPath } from 'shared/tools'
import { stringify } from 'yaml'
import { DNS_SERVICE_IP, NODE_IP, NODE_NAME, NODE_ZONE, POD_SUBNET, PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'
import { containerdSocket } from './containerd.ts'
import { kubectl } from './kubectl.ts'

/** Name prefix of the cgroups of every box. */
export const CGROUP_PREFIX = 'eks-box-'

/** Cgroup below which the kubelet creates the cgroups of pods. */
export function cgroupRoot(config: BoxConfig): string {
  return `/${CGROUP_PREFIX}${config.name}`
}

/** Runs the pods. They have routed addresses of the node's subnet, as with the VPC CNI plugin. */
export function kubelet(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'kubelet.yaml')
  const resolvConf = join(paths.config, 'resolv.conf')
  return {
    name: 'kubelet',
    dependsOn: ['kube-apiserver', 'containerd'],
    command: [
      programPath(config, 'kubelet'),
      `--config=${file}`,
      `--kubeconfig=${join(paths.kubeconfigs, 'kubelet.conf')}`,
      `--cert-dir=${join(paths.data, 'kubelet-pki')}`,
      `--hostname-override=${NODE_NAME}`,
      `--node-ip=${NODE_IP}`,
      `--node-labels=topology.kubernetes.io/region=${REGION},topology.kubernetes.io/zone=${NODE_ZONE}`,
    ],
    files: {
      [file]: stringify({
        apiVersion: 'kubelet.config.k8s.io/v1beta1',
        kind: 'KubeletConfiguration',
        containerRuntimeEndpoint: `unix://${containerdSocket(config)}`,
        authentication: {
          anonymous: { enabled: false },
          webhook: { enabled: true },
          x509: { clientCAFile: join(paths.pki, 'ca.crt') },
        },
        authorization: { mode: 'Webhook' },
        clusterDNS: [DNS_SERVICE_IP],
        clusterDomain: 'cluster.local',
        resolvConf,
        cgroupDriver: 'cgroupfs',
        cgroupRoot: cgroupRoot(config),
        failCgroupV1: false,
        failSwapOn: false,
        // The default is a directory of the machine, outside the box.
        volumePluginDir: join(paths.run, 'volume-plugins'),
        podLogsDir: join(paths.logs, 'pods'),
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
      [resolvConf]: `nameserver ${DNS_SERVICE_IP}\n`,
      [join(paths.config, 'cni', '10-box.conflist')]: JSON.stringify(
        {
          cniVersion: '0.4.0',
          name: 'box',
          plugins: [
            {
              type: 'ptp',
              ipam: {
                type: 'host-local',
                dataDir: join(paths.run, 'ipam'),
                ranges: [[{ subnet: POD_SUBNET }]],
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
    afterReady: [kubectl(config, 'wait', '--for=condition=Ready', `node/${NODE_NAME}`, '--timeout=2s')],
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
        pattern: /running with swap on is not supported/,
        cause: 'the kubelet does not start while swap is on',
        nextStep: 'turn swap off with `swapoff -a`',
      },
    ],
  }
}
