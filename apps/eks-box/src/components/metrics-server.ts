import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { CONTROL_PLANE_IP, PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'
import { kubectl } from './kubectl.ts'

/** Serves the resource metrics that the HPA reads. It collects them every 15 s, as the EKS add-on does. */
export function metricsServer(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const kubeconfig = join(paths.kubeconfigs, 'metrics-server.conf')
  return {
    name: 'metrics-server',
    dependsOn: ['kube-apiserver'],
    command: [
      programPath(config, 'metrics-server'),
      `--bind-address=${CONTROL_PLANE_IP}`,
      `--secure-port=${PORTS.metricsServer}`,
      `--cert-dir=${join(paths.run, 'metrics-server')}`,
      `--kubeconfig=${kubeconfig}`,
      `--authentication-kubeconfig=${kubeconfig}`,
      `--authorization-kubeconfig=${kubeconfig}`,
      `--requestheader-client-ca-file=${join(paths.pki, 'front-proxy-ca.crt')}`,
      '--kubelet-preferred-address-types=InternalIP',
      // The kubelet's serving certificate is self-signed.
      '--kubelet-insecure-tls',
      '--metric-resolution=15s',
    ],
    files: {},
    probe: { kind: 'http', url: `https://${CONTROL_PLANE_IP}:${PORTS.metricsServer}/livez`, insecure: true },
    afterReady: [
      kubectl(
        config,
        'wait',
        '--for=condition=Available',
        'apiservice/v1beta1.metrics.k8s.io',
        '--timeout=2s',
      ),
    ],
    diagnoses: [],
  }
}
