import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** The cluster's store. It requires client certificates even on loopback, as the control plane of EKS does. */
export function etcd(config: BoxConfig): Component {
  const { pki, data } = boxPaths(config)
  const clientUrl = `https://127.0.0.1:${PORTS.etcdClient}`
  const peerUrl = `https://127.0.0.1:${PORTS.etcdPeer}`
  return {
    name: 'etcd',
    dependsOn: [],
    command: [
      programPath(config, 'etcd'),
      '--name=box',
      `--data-dir=${join(data, 'etcd')}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=box=${peerUrl}`,
      `--cert-file=${join(pki, 'etcd', 'server.crt')}`,
      `--key-file=${join(pki, 'etcd', 'server.key')}`,
      `--trusted-ca-file=${join(pki, 'etcd', 'ca.crt')}`,
      '--client-cert-auth=true',
      `--peer-cert-file=${join(pki, 'etcd', 'peer.crt')}`,
      `--peer-key-file=${join(pki, 'etcd', 'peer.key')}`,
      `--peer-trusted-ca-file=${join(pki, 'etcd', 'ca.crt')}`,
      '--peer-client-cert-auth=true',
      `--listen-metrics-urls=http://127.0.0.1:${PORTS.etcdHealth}`,
      '--log-level=warn',
    ],
    files: {},
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.etcdHealth}/health` },
    diagnoses: [
      {
        pattern: /no space left on device|mvcc: database space exceeded/,
        cause: "etcd has no room left for the cluster's state",
        nextStep: 'free disk space, then `make up` again',
      },
      {
        pattern: /crc mismatch|file is corrupted|failed to recover v3 backend|walpb/i,
        cause:
          "etcd's data is corrupt, for example after a power failure on a disk that does not flush its cache",
        nextStep: 'run `make down` to remove the damaged cluster, then `make up` to create a new one',
      },
    ],
  }
}
