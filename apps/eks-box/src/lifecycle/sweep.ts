import { rm } from 'node:fs/promises'
import type { BoxConfig } from 'shared/box'
import { CGROUP_PREFIX, cgroupRoot } from '../components/kubelet.ts'
import { findCgroups, removeCgroups, restoreControllers } from '../node/cgroups.ts'
import { removeMountPoints } from '../node/machine.ts'
import { boxPaths } from '../state-directory.ts'

/**
 * Removes the remains that outlive the box's processes: its cgroups, and the empty directories that it created as
 * mount points. The kernel removes mounts, interfaces and packet rules together with the namespaces.
 */
export async function sweep(config: BoxConfig): Promise<void> {
  await removeCgroups(cgroupRoot(config))
  await rm(boxPaths(config).run, { recursive: true, force: true })
  // Removing a mount point would unmount it in the namespaces of other boxes.
  if ((await findCgroups(CGROUP_PREFIX)).length > 0) return
  await restoreControllers()
  await removeMountPoints()
}
