import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { boxPaths, type NodePaths } from '../state-directory.ts'
import { prepareRouter } from './router.ts'

/**
 * Directories that a node's programs use regardless of their settings: libcni caches results in the first, and the
 * kubelet empties `device-plugins` in the second. The box mounts its own directories over them.
 */
export const MOUNT_POINTS = ['/var/lib/cni', '/var/lib/kubelet'] as const

const mountPointMarker = '.eks-box'

/**
 * The sysctls that the kubelet sets, with its values (setupKernelTunables in Kubernetes'
 * pkg/kubelet/cm/container_manager_linux.go). They are not namespaced, so each node mounts files with these values over
 * them: the kubelet finds the values it expects and does not change the machine's.
 */
const KUBELET_SYSCTLS: Readonly<Record<string, number>> = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}

/** Private directories of a process tree, mounted over those of the machine. */
interface Mounts {
  log: string
  cni: string
  kubelet: string
}

/**
 * Sets up this process's mount and network namespaces as the box's: private run-time directories, and the addresses of
 * the control plane. The rest of the machine sees none of it.
 */
export async function prepareBox(config: BoxConfig): Promise<void> {
  const paths = boxPaths(config)
  // Sockets, network namespaces and addresses of pods do not survive a restart.
  await rm(paths.run, { recursive: true, force: true })
  for (const directory of [paths.run, paths.home, paths.config]) {
    await mkdir(directory, { recursive: true })
  }
  await mountPrivate({
    log: join(paths.logs, 'var-log'),
    cni: join(paths.run, 'cni'),
    kubelet: join(paths.run, 'kubelet'),
  })
  await execa('ip', ['link', 'set', 'lo', 'up'])
  await prepareRouter()
}

/** Sets up this process's namespaces as those of a node: private run-time directories, which survive a restart. */
export async function prepareNode(paths: NodePaths): Promise<void> {
  await mountPrivate({ log: paths.varLog, cni: '/run/cni', kubelet: paths.kubelet })
  await mountSysctls('/run/sysctl')
  await execa('ip', ['link', 'set', 'lo', 'up'])
}

/**
 * Mounts files with the kubelet's values over the sysctls that it sets.
 *
 * @param directory where to create the files.
 */
async function mountSysctls(directory: string): Promise<void> {
  await mkdir(directory)
  for (const [name, value] of Object.entries(KUBELET_SYSCTLS)) {
    const setting = join('/proc/sys', name)
    if (!existsSync(setting)) continue
    const file = join(directory, name.replaceAll('/', '.'))
    await writeFile(file, `${value}\n`)
    await execa('mount', ['--bind', file, setting])
  }
}

async function mountPrivate({ log, cni, kubelet }: Mounts): Promise<void> {
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'eks-box', '/run'])
  // In the machine's /dev/shm, the shared memory of a killed database would stay behind.
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'eks-box', '/dev/shm'])
  for (const [source, target] of [
    [log, '/var/log'],
    [cni, '/var/lib/cni'],
    [kubelet, '/var/lib/kubelet'],
  ] as const) {
    await mkdir(source, { recursive: true })
    await execa('mount', ['--bind', source, target])
  }
  // Mount propagation into pods needs shared mounts, which systemd provides on a real node. They are shared within
  // these namespaces only, because `unshare` makes its mount namespace private.
  await execa('mount', ['--make-rshared', '/'])
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
