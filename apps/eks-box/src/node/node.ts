import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { NODE_IP, SERVICE_CIDR } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'

/**
 * Directories that a node's programs write to, whatever their settings say: libcni keeps results in the first,
 * the kubelet empties `device-plugins` in the second. The box mounts its own directories over them.
 */
export const MOUNT_POINTS = ['/var/lib/cni', '/var/lib/kubelet'] as const

const mountPointMarker = '.eks-box'

/**
 * The sysctls that the kubelet sets, with its values (setupKernelTunables in Kubernetes'
 * pkg/kubelet/cm/container_manager_linux.go). No namespace has its own copy of them. In the box, files with these
 * values lie over them: the kubelet finds what it wants and leaves the machine's settings alone.
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
 * Makes this process's own mount and network namespaces into a node: private run-time directories,
 * the node's address, and a way to Service addresses. Runs inside the namespaces, so nothing of it
 * exists for the rest of the machine.
 */
export async function prepareNode(config: BoxConfig): Promise<void> {
  const paths = boxPaths(config)
  // Sockets, pod network names and addresses of a former life mean nothing after a restart.
  await rm(paths.run, { recursive: true, force: true })
  const varLog = join(paths.logs, 'var-log')
  const varLibCni = join(paths.run, 'cni')
  const varLibKubelet = join(paths.data, 'kubelet')
  const sysctls = join(paths.run, 'sysctl')
  for (const directory of [paths.run, paths.home, paths.config, varLog, varLibCni, varLibKubelet, sysctls]) {
    await mkdir(directory, { recursive: true })
  }
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'eks-box', '/run'])
  // The machine's would keep the shared memory of a database that was killed.
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
  // Pods may ask for mount propagation, which needs shared mounts, as systemd makes them on a real node. They are
  // shared within the box only: its mount namespace is cut off from the machine's.
  await execa('mount', ['--make-rshared', '/'])

  await execa('ip', ['link', 'set', 'lo', 'up'])
  await execa('ip', ['address', 'add', `${NODE_IP}/32`, 'dev', 'lo'])
  // A host process looks up a route before kube-proxy's rules see its packet.
  await execa('ip', ['route', 'add', SERVICE_CIDR, 'dev', 'lo', 'src', NODE_IP])
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1')
}

/** Makes the directories to mount over that this machine lacks, and marks them as made by a box. */
export async function makeMountPoints(directories: readonly string[] = MOUNT_POINTS): Promise<void> {
  for (const directory of directories) {
    if (existsSync(directory)) continue
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, mountPointMarker), '')
  }
}

/** Removes the directories that `makeMountPoints` made, unless another program has begun to use them since. */
export async function removeMountPoints(directories: readonly string[] = MOUNT_POINTS): Promise<void> {
  for (const directory of directories) {
    if (!existsSync(join(directory, mountPointMarker))) continue
    await rm(join(directory, mountPointMarker))
    if ((await readdir(directory)).length === 0) await rmdir(directory)
  }
}
