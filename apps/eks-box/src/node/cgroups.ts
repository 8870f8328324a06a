import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { ActionableError } from 'shared/errors'

/** The mounted cgroup file system, and the record of what the box changed at its root. */
export interface Cgroupfs {
  mountPoint: string
  /**
   * File with the controllers that were disabled in the root's `cgroup.subtree_control` before the first box started.
   * All boxes of the machine share it. It is on a tmpfs, because a reboot undoes the change as well.
   */
  record: string
}

const machine: Cgroupfs = { mountPoint: '/sys/fs/cgroup', record: '/run/eks-box-controllers' }

/**
 * Controllers that the kubelet requires in its cgroup v2, if the kernel has them (`getSupportedUnifiedControllers` in
 * Kubernetes 1.35, pkg/kubelet/cm).
 */
const requiredByKubelet = ['cpu', 'cpuset', 'hugetlb', 'memory', 'pids']

function isCgroupV2(directory: string): boolean {
  return existsSync(join(directory, 'cgroup.controllers'))
}

/** The cgroup hierarchies of this machine: one per controller with v1, a single one with v2. */
async function hierarchies({ mountPoint }: Cgroupfs): Promise<string[]> {
  if (isCgroupV2(mountPoint)) return [mountPoint]
  const names = await readdir(mountPoint)
  return names.map((name) => join(mountPoint, name)).filter((path) => existsSync(join(path, 'cgroup.procs')))
}

async function readControllers(
  directory: string,
  file: 'controllers' | 'subtree_control',
): Promise<string[]> {
  const text = await readFile(join(directory, `cgroup.${file}`), 'utf8')
  return text.trim().split(' ').filter(Boolean)
}

/** Enables or disables a controller for the children of `directory`; returns the error code if the kernel refuses. */
async function switchController(
  directory: string,
  controller: `${'+' | '-'}${string}`,
): Promise<string | undefined> {
  try {
    await writeFile(join(directory, 'cgroup.subtree_control'), controller)
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    return code
  }
}

/**
 * Enables every available controller for the children of `directory`. It enables them one by one, because the kernel
 * rejects a list as a whole if it refuses one controller.
 *
 * @returns the refused controllers with the kernel's error codes.
 */
async function enableControllers(directory: string): Promise<Map<string, string>> {
  const refused = new Map<string, string>()
  for (const controller of await readControllers(directory, 'controllers')) {
    const code = await switchController(directory, `+${controller}`)
    if (code !== undefined) refused.set(controller, code)
  }
  return refused
}

/** How many processes of the machine the pods weigh as much as, on each processor. */
const processesPerProcessor = 2

/** The file of a cgroup's weight, the weight of one process, and the kernel's maximum, in cgroup v1 and v2. */
const weights = [
  { file: 'cpu.shares', ofProcess: 1024, maximum: 262_144 },
  { file: 'cpu.weight', ofProcess: 100, maximum: 10_000 },
]

/** Gives the processes of the pods' cgroup their weight against those outside of it. */
async function setWeight(directory: string): Promise<void> {
  const processes = processesPerProcessor * availableParallelism()
  for (const { file, ofProcess, maximum } of weights) {
    const path = join(directory, file)
    if (existsSync(path)) await writeFile(path, String(Math.min(ofProcess * processes, maximum)))
  }
}

/**
 * Creates the cgroup `root` (such as `/eks-box-default`), below which the kubelet creates those of pods. With cgroup
 * v2, it also enables every controller at the root of the hierarchy, because systemd enables only those that a unit
 * uses.
 *
 * Without a weight of its own, a cgroup with all pods would get as much processor time as a single process of the
 * machine. They weigh more, but not so much that the control plane deregisters pods too late.
 *
 * @throws ActionableError when the kernel refuses the cgroup or a controller that the kubelet requires.
 */
export async function createCgroups(root: string, cgroupfs = machine): Promise<void> {
  for (const hierarchy of await hierarchies(cgroupfs)) {
    const directory = join(hierarchy, root)
    await mkdir(directory, { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
      throw new ActionableError(
        `the cgroup ${directory} cannot be created (${cause.code})`,
        `the box needs a writable ${cgroupfs.mountPoint}: run it outside a container, or in a privileged one`,
        { cause },
      )
    })
    if (hierarchy !== cgroupfs.mountPoint) {
      await setWeight(directory)
      continue
    }
    await recordControllers(cgroupfs)
    const refused = new Map([
      ...(await enableControllers(hierarchy)),
      ...(await enableControllers(directory)),
    ])
    const available = await readControllers(hierarchy, 'controllers')
    await setWeight(directory)
    const enabled = await readControllers(directory, 'subtree_control')
    const missing = requiredByKubelet.filter((name) => available.includes(name) && !enabled.includes(name))
    if (missing.length === 0) continue
    const reasons = missing.map((name) => `${name} (${refused.get(name) ?? 'disabled again'})`).join(', ')
    throw new ActionableError(
      `the kubelet cannot start: the kernel refuses to enable its cgroup controllers ${reasons}`,
      [...refused.values()].includes('EBUSY')
        ? `move the processes in ${join(hierarchy, 'cgroup.procs')} to a child cgroup: in a container, a cgroup that contains processes cannot enable controllers for its children`
        : `run the box outside a container, or in a privileged one whose ${cgroupfs.mountPoint} is writable`,
    )
  }
}

/** Records the disabled controllers of the root, unless another box or a killed one has already done so. */
async function recordControllers({ mountPoint, record }: Cgroupfs): Promise<void> {
  const enabled = await readControllers(mountPoint, 'subtree_control')
  const disabled = (await readControllers(mountPoint, 'controllers')).filter(
    (name) => !enabled.includes(name),
  )
  await writeFile(record, disabled.join(' '), { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}

/**
 * Disables the controllers at the root that were disabled before the first box started, including those that runc
 * enabled. Call it after the last box is gone. A controller that another cgroup uses by now stays enabled, because the
 * kernel refuses to disable it.
 */
export async function restoreControllers({ mountPoint, record }: Cgroupfs = machine): Promise<void> {
  if (!existsSync(record)) return
  for (const controller of (await readFile(record, 'utf8')).split(' ').filter(Boolean)) {
    const code = await switchController(mountPoint, `-${controller}`)
    if (code !== undefined && code !== 'EBUSY') {
      throw new ActionableError(
        `the cgroup controller ${controller} cannot be disabled again in ${mountPoint} (${code})`,
        `make ${mountPoint} writable, then run \`make down\` again`,
      )
    }
  }
  await rm(record, { force: true })
}

/** Lists the cgroup `root` and those below it, deepest first. */
export async function listCgroups(root: string, cgroupfs = machine): Promise<string[]> {
  const found: string[] = []
  const visit = async (directory: string): Promise<void> => {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) await visit(join(directory, entry.name))
    }
    found.push(directory)
  }
  for (const hierarchy of await hierarchies(cgroupfs)) {
    const directory = join(hierarchy, root)
    if (existsSync(directory)) await visit(directory)
  }
  return found
}

/** Names of the top-level cgroups that start with `prefix`, in any hierarchy. */
export async function findCgroups(prefix: string, cgroupfs = machine): Promise<string[]> {
  const names = await Promise.all((await hierarchies(cgroupfs)).map((hierarchy) => readdir(hierarchy)))
  return [...new Set(names.flat())].filter((name) => name.startsWith(prefix))
}

/** Removes the cgroup `root` and those below it. The kernel refuses while one of them contains a process. */
export async function removeCgroups(root: string, cgroupfs = machine): Promise<void> {
  for (const directory of await listCgroups(root, cgroupfs)) await rmdir(directory)
}
