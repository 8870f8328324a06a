import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const mountPoint = '/sys/fs/cgroup'

/** The cgroup hierarchies of this machine: one per controller with version 1, a single one with version 2. */
async function hierarchies(): Promise<string[]> {
  if (existsSync(join(mountPoint, 'cgroup.controllers'))) return [mountPoint]
  const names = await readdir(mountPoint)
  return names.map((name) => join(mountPoint, name)).filter((path) => existsSync(join(path, 'cgroup.procs')))
}

/** Makes the cgroup `root` (such as `/eks-box-default`) that the kubelet puts its pods below. */
export async function createCgroups(root: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    await mkdir(join(hierarchy, root), { recursive: true })
    const available = join(hierarchy, root, 'cgroup.controllers')
    if (!existsSync(available)) continue
    const controllers = (await readFile(available, 'utf8')).trim().split(' ').filter(Boolean)
    const enable = controllers.map((controller) => `+${controller}`).join(' ')
    await writeFile(join(hierarchy, root, 'cgroup.subtree_control'), enable)
  }
}

/** The cgroups below and including `root` that exist, deepest first. */
export async function listCgroups(root: string): Promise<string[]> {
  const found: string[] = []
  const visit = async (directory: string): Promise<void> => {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) await visit(join(directory, entry.name))
    }
    found.push(directory)
  }
  for (const hierarchy of await hierarchies()) {
    const directory = join(hierarchy, root)
    if (existsSync(directory)) await visit(directory)
  }
  return found
}

/** Names of the cgroups below the root of any hierarchy that start with `prefix`. */
export async function findCgroups(prefix: string): Promise<string[]> {
  const names = await Promise.all((await hierarchies()).map((hierarchy) => readdir(hierarchy)))
  return [...new Set(names.flat())].filter((name) => name.startsWith(prefix))
}

/** Removes the cgroup `root` and all below it; the kernel refuses while a process is left in one. */
export async function removeCgroups(root: string): Promise<void> {
  for (const directory of await listCgroups(root)) await rmdir(directory)
}
