import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { stringify } from 'yaml'
import {
  ADMISSION_PLUGINS,
  COMPONENTS_MANIFEST,
  CONTROL_PLANE_IP,
  DEFINITIONS_MANIFEST,
  oidcIssuer,
  PORTS,
  SERVICE_CIDR,
} from '../cluster.ts'
import { capacityWebhookManifest } from '../node/capacity-webhook.ts'
import { webhookManifest } from '../pod-identity/webhook.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'
import { kubectl } from './kubectl.ts'

/** The API server, with the admission plugins and the Service range of EKS. */
export function apiserver(config: BoxConfig): Component {
  const { pki, config: configDirectory } = boxPaths(config)
  const at = (file: string) => join(pki, file)
  const authentication = join(configDirectory, 'eks-authentication.kubeconfig')
  const authorization = join(configDirectory, 'authorization.yaml')
  const accessPolicies = join(configDirectory, 'eks-authorization.kubeconfig')
  return {
    name: 'kube-apiserver',
    dependsOn: ['etcd'],
    command: [
      programPath(config, 'kube-apiserver'),
      `--advertise-address=${CONTROL_PLANE_IP}`,
      `--secure-port=${PORTS.apiserver}`,
      `--tls-cert-file=${at('apiserver.crt')}`,
      `--tls-private-key-file=${at('apiserver.key')}`,
      `--client-ca-file=${at('ca.crt')}`,
      `--etcd-servers=https://127.0.0.1:${PORTS.etcdClient}`,
      `--etcd-cafile=${at('etcd/ca.crt')}`,
      `--etcd-certfile=${at('apiserver-etcd-client.crt')}`,
      `--etcd-keyfile=${at('apiserver-etcd-client.key')}`,
      `--kubelet-client-certificate=${at('apiserver-kubelet-client.crt')}`,
      `--kubelet-client-key=${at('apiserver-kubelet-client.key')}`,
      // Nothing resolves the node's name.
      '--kubelet-preferred-address-types=InternalIP',
      `--service-account-issuer=${oidcIssuer(config)}`,
      // Tokens without a requested audience are for the API server only, so neither STS nor EKS Auth accepts them.
      '--api-audiences=https://kubernetes.default.svc',
      `--service-account-jwks-uri=https://127.0.0.1:${config.ports.api}/openid/v1/jwks`,
      `--service-account-key-file=${at('sa.pub')}`,
      `--service-account-signing-key-file=${at('sa.key')}`,
      `--service-cluster-ip-range=${SERVICE_CIDR}`,
      `--authorization-config=${authorization}`,
      `--authentication-token-webhook-config-file=${authentication}`,
      '--authentication-token-webhook-version=v1',
      // Changes of access entries take effect within seconds; the default is two minutes.
      '--authentication-token-webhook-cache-ttl=2s',
      `--enable-admission-plugins=${ADMISSION_PLUGINS.join(',')}`,
      '--allow-privileged=true',
      `--proxy-client-cert-file=${at('front-proxy-client.crt')}`,
      `--proxy-client-key-file=${at('front-proxy-client.key')}`,
      `--requestheader-client-ca-file=${at('front-proxy-ca.crt')}`,
      '--requestheader-allowed-names=front-proxy-client',
      '--requestheader-extra-headers-prefix=X-Remote-Extra-',
      '--requestheader-group-headers=X-Remote-Group',
      '--requestheader-username-headers=X-Remote-User',
      // The API server connects to the pods of metrics-server directly, because the control plane has no kube-proxy.
      '--enable-aggregator-routing=true',
      '--profiling=false',
    ],
    files: {
      [authentication]: webhookKubeconfig('authenticate'),
      [accessPolicies]: webhookKubeconfig('authorize'),
      [authorization]: stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'AuthorizationConfiguration',
        authorizers: [
          { type: 'Node', name: 'node' },
          { type: 'RBAC', name: 'rbac' },
          {
            type: 'Webhook',
            name: 'eks-access-policies',
            webhook: {
              timeout: '3s',
              authorizedTTL: '2s',
              unauthorizedTTL: '2s',
              failurePolicy: 'NoOpinion',
              subjectAccessReviewVersion: 'v1',
              matchConditionSubjectAccessReviewVersion: 'v1',
              connectionInfo: { type: 'KubeConfigFile', kubeConfigFile: accessPolicies },
              // Only users with an access entry can have access policies.
              matchConditions: [{ expression: "has(request.extra) && 'canonicalarn' in request.extra" }],
            },
          },
        ],
      }),
    },
    probe: { kind: 'http', url: `https://127.0.0.1:${PORTS.apiserver}/readyz`, insecure: true },
    afterReady: [
      kubectl(
        config,
        ...['apply', '--server-side', '--force-conflicts'],
        ...[
          COMPONENTS_MANIFEST,
          DEFINITIONS_MANIFEST,
          webhookManifest(config),
          capacityWebhookManifest(config),
        ].flatMap((file) => ['--filename', file]),
      ),
    ],
    diagnoses: [
      {
        pattern:
          /context deadline exceeded.*etcd|connection refused.*:2379|transport: Error while dialing.*2379/,
        cause: 'the API server cannot reach etcd',
        nextStep: 'run `make logs C=etcd` to see why etcd does not respond',
      },
      {
        pattern: /x509: certificate has expired/,
        cause: "the box's certificates have expired (they are valid for one year)",
        nextStep: 'run `make stop`, then `make up`, to renew them',
      },
    ],
  }
}

/** The kubeconfig through which the API server calls a webhook of the EKS API. */
function webhookKubeconfig(path: string): string {
  const name = 'eks'
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: `http://127.0.0.1:${PORTS.eksWebhooks}/${path}` } }],
    users: [{ name, user: {} }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  })
}

/** Runs the controllers, including the HPA's, with the default periods and tolerances, as EKS does. */
export function controllerManager(config: BoxConfig): Component {
  const { pki, run } = boxPaths(config)
  return controlLoop(config, 'kube-controller-manager', 'controller-manager.conf', PORTS.controllerManager, [
    `--root-ca-file=${join(pki, 'ca.crt')}`,
    `--cluster-signing-cert-file=${join(pki, 'ca.crt')}`,
    `--cluster-signing-key-file=${join(pki, 'ca.key')}`,
    `--service-account-private-key-file=${join(pki, 'sa.key')}`,
    `--service-cluster-ip-range=${SERVICE_CIDR}`,
    '--use-service-account-credentials=true',
    // The default is a directory of the machine, outside the box.
    `--flex-volume-plugin-dir=${join(run, 'volume-plugins')}`,
  ])
}

export function scheduler(config: BoxConfig): Component {
  return controlLoop(config, 'kube-scheduler', 'scheduler.conf', PORTS.scheduler, [])
}

function controlLoop(
  config: BoxConfig,
  name: 'kube-controller-manager' | 'kube-scheduler',
  kubeconfigFile: string,
  port: number,
  flags: string[],
): Component {
  const { pki, kubeconfigs } = boxPaths(config)
  const kubeconfig = join(kubeconfigs, kubeconfigFile)
  return {
    name,
    dependsOn: ['kube-apiserver'],
    command: [
      programPath(config, name),
      '--bind-address=127.0.0.1',
      `--kubeconfig=${kubeconfig}`,
      `--authentication-kubeconfig=${kubeconfig}`,
      `--authorization-kubeconfig=${kubeconfig}`,
      `--client-ca-file=${join(pki, 'ca.crt')}`,
      `--requestheader-client-ca-file=${join(pki, 'front-proxy-ca.crt')}`,
      // There is only one instance: after a restart it would only wait for its own old lease.
      '--leader-elect=false',
      '--profiling=false',
      ...flags,
    ],
    files: {},
    probe: { kind: 'http', url: `https://127.0.0.1:${port}/healthz`, insecure: true },
    diagnoses: [],
  }
}
