import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ActionableError } from 'shared/errors'

/** Where the cgroups are mounted, and where the box remembers what it changed at their root. */
export interface Cgroupfs {
  mountPoint: string
  /**
   * File with the controllers that the root did not pass on before the first box started. It is for all boxes of
   * the machine, and lies where a reboot removes it, as a reboot undoes the change.
   */
  record: string
}

const machine: Cgroupfs = { mountPoint: '/sys/fs/cgroup', record: '/run/eks-box-controllers' }

/**
 * With cgroup version 2, the kubelet does not start unless its cgroup has these, as far as the kernel has them
 * (`getSupportedUnifiedControllers` in Kubernetes 1.35, pkg/kubelet/cm).
 */
const neededByKubelet = ['cpu', 'cpuset', 'hugetlb', 'memory', 'pids']

/** Whether `directory` is a cgroup of version 2, which chooses the controllers that its children get. */
function choosesControllers(directory: string): boolean {
  return existsSync(join(directory, 'cgroup.controllers'))
}

/** The cgroup hierarchies of this machine: one per controller with version 1, a single one with version 2. */
async function hierarchies({ mountPoint }: Cgroupfs): Promise<string[]> {
  if (choosesControllers(mountPoint)) return [mountPoint]
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

/** The error code with which the kernel refuses the change; undefined when it made it. */
async function change(directory: string, controller: `${'+' | '-'}${string}`): Promise<string | undefined> {
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
 * Gives the children of `directory` all its controllers. One by one, since the kernel refuses a whole list for one
 * controller in it.
 *
 * @returns the controllers that the kernel refused, with its error codes.
 */
async function enableControllers(directory: string): Promise<Map<string, string>> {
  const refused = new Map<string, string>()
  for (const controller of await readControllers(directory, 'controllers')) {
    const code = await change(directory, `+${controller}`)
    if (code !== undefined) refused.set(controller, code)
  }
  return refused
}

/**
 * Makes the cgroup `root` (such as `/eks-box-default`) that the kubelet puts its pods below. With cgroup version 2
 * it also makes the root of the hierarchy pass its controllers on: systemd leaves off those that no unit uses.
 *
 * @throws ActionableError when the kernel refuses the cgroup, or a controller that the kubelet needs.
 */
export async function createCgroups(root: string, cgroupfs = machine): Promise<void> {
  for (const hierarchy of await hierarchies(cgroupfs)) {
    const directory = join(hierarchy, root)
    await mkdir(directory, { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
      throw new ActionableError(
        `the cgroup ${directory} cannot be made (${cause.code})`,
        `the box needs a writable ${cgroupfs.mountPoint}: run it outside a container, or in a privileged one`,
        { cause },
      )
    })
    if (hierarchy !== cgroupfs.mountPoint) continue
    await rememberControllers(cgroupfs)
    const refused = new Map([
      ...(await enableControllers(hierarchy)),
      ...(await enableControllers(directory)),
    ])
    const available = await readControllers(hierarchy, 'controllers')
    const enabled = await readControllers(directory, 'subtree_control')
    const missing = neededByKubelet.filter((name) => available.includes(name) && !enabled.includes(name))
    if (missing.length === 0) continue
    const reasons = missing.map((name) => `${name} (${refused.get(name) ?? 'taken back'})`).join(', ')
    throw new ActionableError(
      `the kernel refuses the box's pods the cgroup controllers ${reasons}, without which the kubelet does not start`,
      [...refused.values()].includes('EBUSY')
        ? `move the processes in ${join(hierarchy, 'cgroup.procs')} to a cgroup below it: with processes of its own, the root of a container passes no controllers on`
        : `run the box outside a container, or in a privileged one whose ${cgroupfs.mountPoint} is writable`,
    )
  }
}

/** Writes down what the root does not pass on, unless a box that runs, or was killed, has done so. */
async function rememberControllers({ mountPoint, record }: Cgroupfs): Promise<void> {
  const passedOn = await readControllers(mountPoint, 'subtree_control')
  const others = (await readControllers(mountPoint, 'controllers')).filter((name) => !passedOn.includes(name))
  await writeFile(record, others.join(' '), { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}

/**
 * Makes the root of the hierarchy pass on what it did before the first box started; to be called when the last
 * one is gone. What runc switched on for the box's containers goes with it; a controller that others have come to
 * use meanwhile stays, because the kernel does not take it from them.
 */
export async function restoreControllers({ mountPoint, record }: Cgroupfs = machine): Promise<void> {
  if (!existsSync(record)) return
  for (const controller of (await readFile(record, 'utf8')).split(' ').filter(Boolean)) {
    const code = await change(mountPoint, `-${controller}`)
    if (code !== undefined && code !== 'EBUSY') {
      throw new ActionableError(
        `the cgroup controller ${controller} cannot be switched off again in ${mountPoint} (${code})`,
        `once ${mountPoint} is writable, run \`make down\` again`,
      )
    }
  }
  await rm(record, { force: true })
}

/** The cgroups below and including `root` that exist, deepest first. */
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

/** Names of the cgroups below the root of any hierarchy that start with `prefix`. */
export async function findCgroups(prefix: string, cgroupfs = machine): Promise<string[]> {
  const names = await Promise.all((await hierarchies(cgroupfs)).map((hierarchy) => readdir(hierarchy)))
  return [...new Set(names.flat())].filter((name) => name.startsWith(prefix))
}

/** Removes the cgroup `root` and all below it; the kernel refuses while a process is left in one. */
export async function removeCgroups(root: string, cgroupfs = machine): Promise<void> {
  for (const directory of await listCgroups(root, cgroupfs)) await rmdir(directory)
}
