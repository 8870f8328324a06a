import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { parse, stringify } from 'yaml'
import { CLUSTER_NAME, NODE_IP, NODE_NAME, PORTS, SERVICE_CIDR } from './cluster.ts'
import { boxPaths } from './component.ts'
import { type BoxConfig, kubeconfigPath } from './config.ts'
import { kubernetesVersion, programPath } from './tools.ts'

/** Client certificates beside the ones kubeadm makes by itself: file name, user, group. */
const clients = [
  { file: 'kube-proxy.conf', user: 'system:kube-proxy' },
  { file: 'coredns.conf', user: 'coredns' },
  { file: 'metrics-server.conf', user: 'metrics-server' },
  { file: 'admin.conf', user: 'kubernetes-admin', group: 'system:masters' },
]

/**
 * Makes the cluster's certificates and kubeconfigs once, with kubeadm, and the operator's kubeconfig
 * each time, since the port it names may have changed.
 */
export async function ensureCertificates(config: BoxConfig): Promise<void> {
  const { pki, kubeconfigs, config: configDir } = boxPaths(config)
  // Written last: a run that was interrupted halfway starts over.
  const complete = join(pki, 'complete')
  if (!existsSync(complete)) {
    await rm(pki, { recursive: true, force: true })
    await rm(kubeconfigs, { recursive: true, force: true })
    await mkdir(kubeconfigs, { recursive: true, mode: 0o700 })
    await mkdir(configDir, { recursive: true })
    const file = join(configDir, 'kubeadm.yaml')
    await writeFile(file, kubeadmConfig(pki))
    const kubeadm = programPath(config, 'kubeadm')
    await execa(kubeadm, ['init', 'phase', 'certs', 'all', '--config', file])
    for (const component of ['controller-manager', 'scheduler', 'kubelet']) {
      await execa(kubeadm, [
        ...['init', 'phase', 'kubeconfig', component],
        ...['--config', file, '--kubeconfig-dir', kubeconfigs],
      ])
    }
    for (const { file: name, user, group } of clients) {
      const { stdout } = await execa(kubeadm, [
        ...['kubeconfig', 'user', '--config', file, '--client-name', user],
        ...(group === undefined ? [] : ['--org', group]),
      ])
      await writeFile(join(kubeconfigs, name), stdout, { mode: 0o600 })
    }
    await writeFile(complete, '')
  }
  await writeOperatorKubeconfig(config, join(kubeconfigs, 'admin.conf'))
}

function kubeadmConfig(pki: string): string {
  return [
    {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'InitConfiguration',
      localAPIEndpoint: { advertiseAddress: NODE_IP, bindPort: PORTS.apiserver },
      nodeRegistration: { name: NODE_NAME },
    },
    {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'ClusterConfiguration',
      clusterName: CLUSTER_NAME,
      kubernetesVersion: kubernetesVersion(),
      certificatesDir: pki,
      networking: { serviceSubnet: SERVICE_CIDR },
      apiServer: { certSANs: ['127.0.0.1', 'localhost'] },
    },
  ]
    .map((document) => stringify(document))
    .join('---\n')
}

interface Kubeconfig {
  clusters: { name: string; cluster: { server: string } }[]
  contexts: { name: string; context: { cluster: string; user: string } }[]
  users: { name: string }[]
  'current-context': string
}

async function writeOperatorKubeconfig(config: BoxConfig, admin: string): Promise<void> {
  const kubeconfig = parse(await readFile(admin, 'utf8')) as Kubeconfig
  for (const { cluster } of kubeconfig.clusters) cluster.server = `https://127.0.0.1:${config.ports.api}`
  for (const context of kubeconfig.contexts) context.name = CLUSTER_NAME
  kubeconfig['current-context'] = CLUSTER_NAME
  await writeFile(kubeconfigPath(config), stringify(kubeconfig), { mode: 0o600 })
  await chmod(kubeconfigPath(config), 0o600)
}
