import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { type BoxConfig, kubeconfigPath } from 'shared/box'
import { kubernetesVersion, programPath } from 'shared/tools'
import { parse, stringify } from 'yaml'
import { CLUSTER_NAME, CONTROL_PLANE_IP, PORTS, SERVICE_CIDR } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'

/** Kubeconfigs with client certificates, in addition to those that kubeadm creates in its own phases. */
const clients = [
  { file: 'kube-proxy.conf', user: 'system:kube-proxy' },
  { file: 'network-policies.conf', user: 'network-policies' },
  { file: 'admin.conf', user: 'kubernetes-admin', group: 'system:masters' },
]

/** Remaining validity below which certificates are renewed, in milliseconds: 30 days. */
const renewBefore = 30 * 24 * 3_600_000

/**
 * Creates the cluster's certificates and kubeconfigs with kubeadm at the first start, when their inputs change, and
 * before they expire. Keeps the certificate authorities and the service account key, so that everything they have
 * signed stays valid. Always rewrites the operator's kubeconfig, because its port may have changed.
 */
export async function ensureCertificates(config: BoxConfig): Promise<void> {
  const { pki, kubeconfigs, config: configDir } = boxPaths(config)
  const settings = kubeadmConfig(pki)
  const inputs = JSON.stringify([settings, clients])
  // Written last, so that an interrupted run starts over.
  const complete = join(pki, 'complete')
  if (!(await areCurrent(pki, inputs))) {
    await removeStale(pki, complete)
    await rm(kubeconfigs, { recursive: true, force: true })
    await mkdir(kubeconfigs, { recursive: true, mode: 0o700 })
    await mkdir(configDir, { recursive: true })
    const file = join(configDir, 'kubeadm.yaml')
    await writeFile(file, settings)
    const kubeadm = programPath(config, 'kubeadm')
    await execa(kubeadm, ['init', 'phase', 'certs', 'all', '--config', file])
    for (const component of ['controller-manager', 'scheduler']) {
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
    await writeFile(complete, inputs)
  }
  await writeOperatorKubeconfig(config, join(kubeconfigs, 'admin.conf'))
}

/** Writes the kubeconfig of a node's kubelet to `path`, with a new certificate for the node's own user. */
export async function writeNodeKubeconfig(config: BoxConfig, node: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const { stdout } = await execa(programPath(config, 'kubeadm'), [
    ...['kubeconfig', 'user', '--config', join(boxPaths(config).config, 'kubeadm.yaml')],
    ...['--client-name', `system:node:${node}`, '--org', 'system:nodes'],
  ])
  await writeFile(path, stdout, { mode: 0o600 })
}

/** Whether all certificates exist, were made from `inputs`, and do not expire soon. */
async function areCurrent(pki: string, inputs: string): Promise<boolean> {
  const complete = join(pki, 'complete')
  if (!existsSync(complete) || (await readFile(complete, 'utf8')) !== inputs) return false
  const { validTo } = new X509Certificate(await readFile(join(pki, 'apiserver.crt')))
  return Date.parse(validTo) - Date.now() > renewBefore
}

/** Removes outdated certificates, because kubeadm keeps existing ones. */
async function removeStale(pki: string, complete: string): Promise<void> {
  if (!existsSync(complete)) {
    // The first run was interrupted: no certificate has been used yet.
    await rm(pki, { recursive: true, force: true })
    return
  }
  // Marks the certificates as outdated, but still keeps the authorities if this run is interrupted too.
  await writeFile(complete, '')
  const kept = /^((ca|front-proxy-ca|sa)\.(crt|key|pub)|complete)$/
  for (const entry of await readdir(pki, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && !kept.test(entry.name)) await rm(join(entry.parentPath, entry.name))
  }
}

function kubeadmConfig(pki: string): string {
  return [
    {
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'InitConfiguration',
      localAPIEndpoint: { advertiseAddress: CONTROL_PLANE_IP, bindPort: PORTS.apiserver },
      nodeRegistration: { name: 'control-plane' },
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
