import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { AGENT_ADDRESS, NODE_IP, SERVICE_CIDR } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'

/**
 * Directories that a node's programs use regardless of their settings: libcni caches results in the first, and the
 * kubelet empties `device-plugins` in the second. The box mounts its own directories over them.
 */
export const MOUNT_POINTS = ['/var/lib/cni', '/var/lib/kubelet'] as const

const mountPointMarker = '.eks-box'

/**
 * The sysctls that the kubelet sets, with its values (setupKernelTunables in Kubernetes'
 * pkg/kubelet/cm/container_manager_linux.go). They are not namespaced, so the box mounts files with these values over
 * them: the kubelet finds the values it expects and does not change the machine's.
 */
export const KUBELET_SYSCTLS: Readonly<Record<string, number>> = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}

/**
 * Sets up the node in this process's mount and network namespaces: private run-time directories, the node's addresses
 * and a route to Service addresses. The rest of the machine sees none of it.
 */
export async function prepareNode(config: BoxConfig): Promise<void> {
  const paths = boxPaths(config)
  // Sockets, network namespaces and addresses of pods do not survive a restart.
  await rm(paths.run, { recursive: true, force: true })
  const varLog = join(paths.logs, 'var-log')
  const varLibCni = join(paths.run, 'cni')
  const varLibKubelet = join(paths.data, 'kubelet')
  const sysctls = join(paths.run, 'sysctl')
  for (const directory of [paths.run, paths.home, paths.config, varLog, varLibCni, varLibKubelet, sysctls]) {
    await mkdir(directory, { recursive: true })
  }
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'eks-box', '/run'])
  // In the machine's /dev/shm, the shared memory of a killed database would stay behind.
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'eks-box', '/dev/shm'])
  await execa('mount', ['--bind', varLog, '/var/log'])
  await execa('mount', ['--bind', varLibCni, '/var/lib/cni'])
  await execa('mount', ['--bind', varLibKubelet, '/var/lib/kubelet'])
  for (const [name, value] of Object.entries(KUBELET_SYSCTLS)) {
    const setting = join('/proc/sys', name)
    if (!existsSync(setting)) continue
    const file = join(sysctls, name.replaceAll('/', '.'))
    await writeFile(file, `${value}\n`)
    await execa('mount', ['--bind', file, setting])
  }
  // Mount propagation into pods needs shared mounts, which systemd provides on a real node. They are shared within the
  // box only, because `unshare` makes its mount namespace private.
  await execa('mount', ['--make-rshared', '/'])

  await execa('ip', ['link', 'set', 'lo', 'up'])
  await execa('ip', ['address', 'add', `${NODE_IP}/32`, 'dev', 'lo'])
  // Pods send packets for this link-local address along their default route, to the node.
  await execa('ip', ['address', 'add', `${AGENT_ADDRESS}/32`, 'dev', 'lo'])
  // Packets of host processes need a route before kube-proxy's rules apply to them.
  await execa('ip', ['route', 'add', SERVICE_CIDR, 'dev', 'lo', 'src', NODE_IP])
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1')
}

/** Creates missing mount points, and marks them as created by a box. */
export async function createMountPoints(directories: readonly string[] = MOUNT_POINTS): Promise<void> {
  for (const directory of directories) {
    if (existsSync(directory)) continue
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, mountPointMarker), '')
  }
}

/** Removes the mount points that `createMountPoints` created, unless another program uses them by now. */
export async function removeMountPoints(directories: readonly string[] = MOUNT_POINTS): Promise<void> {
  for (const directory of directories) {
    if (!existsSync(join(directory, mountPointMarker))) continue
    await rm(join(directory, mountPointMarker))
    if ((await readdir(directory)).length === 0) await rmdir(directory)
  }
}
