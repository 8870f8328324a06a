import { join } from 'node:path'
import { type BoxConfig, ECR_REGISTRY } from 'shared/box'
import { PAUSE_IMAGE, pauseArchivePath } from 'shared/tools'
import { ADDON_REGISTRY, CONTROL_PLANE_IP, PORTS } from '../cluster.ts'
import type { NodeSpec } from '../node/spec.ts'
import { nodePaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** In the node's own /run, as on EKS. */
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock'

/**
 * The registries of the images in the cluster: of the service, of EKS's add-ons, of the controllers, of monitoring and of
 * the load test.
 */
const registries = [
  ECR_REGISTRY,
  ADDON_REGISTRY,
  'public.ecr.aws',
  'oci.external-secrets.io',
  'quay.io',
  'registry.k8s.io',
  'docker.io',
]

/** The container runtime. Pulls from ECR go to the box's registry, so image references match production. */
export function containerd(config: BoxConfig, node: NodeSpec): Component {
  const paths = nodePaths(config, node)
  const socket = CONTAINERD_SOCKET
  const registry = `http://${CONTROL_PLANE_IP}:${PORTS.registry}`
  const file = join(paths.config, 'containerd.toml')
  const certs = join(paths.config, 'certs.d')
  const cni = join(paths.config, 'cni')
  // The box has no internet access, so there is no upstream for images that the registry lacks.
  const hosts = `server = "${registry}"

[host."${registry}"]
  capabilities = ["pull", "resolve"]
`
  const text = (value: string) => JSON.stringify(value)
  return {
    name: 'containerd',
    dependsOn: [],
    command: ['containerd', '--config', file],
    files: {
      [file]: `version = 2
root = ${text(join(paths.data, 'containerd'))}
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
  address = ${text(socket)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(PAUSE_IMAGE)}
  # Without CAP_SYS_RESOURCE, lowering oom_score_adj fails, and with it every pod.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = ${text(cni)}
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = ${text(certs)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`,
      ...Object.fromEntries(registries.map((host) => [join(certs, host, 'hosts.toml'), hosts])),
    },
    probe: { kind: 'command', command: ['ctr', '--address', socket, 'version'] },
    afterReady: [
      ['ctr', '--address', socket, '--namespace', 'k8s.io', 'images', 'import', pauseArchivePath(config)],
    ],
    diagnoses: [
      {
        pattern: /overlayfs.*(not supported|invalid argument)|failed to mount overlay/,
        cause: 'the file system of the state directory does not support overlay mounts',
        nextStep: 'set BOX_STATE_DIR to a directory on ext4 or xfs',
      },
    ],
  }
}
