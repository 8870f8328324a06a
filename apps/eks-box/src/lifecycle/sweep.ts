import { rm } from 'node:fs/promises'
import type { BoxConfig } from 'shared/box'
import { CGROUP_PREFIX, cgroupRoot } from '../components/kubelet.ts'
import { findCgroups, removeCgroups, restoreControllers } from '../node/cgroups.ts'
import { removeMountPoints } from '../node/node.ts'
import { boxPaths } from '../state-directory.ts'

/**
 * Removes what outlives the box's processes: its cgroups, and the empty directories it mounted its own over.
 * Processes, mounts, interfaces and packet rules went with the namespaces.
 */
export async function sweep(config: BoxConfig): Promise<void> {
  await removeCgroups(cgroupRoot(config))
  await rm(boxPaths(config).run, { recursive: true, force: true })
  // Removing a directory takes away what another box has mounted there in its own namespace.
  if ((await findCgroups(CGROUP_PREFIX)).length > 0) return
  await restoreControllers()
  await removeMountPoints()
}
