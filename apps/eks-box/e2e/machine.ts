import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { execa } from 'execa'
import { listCgroups } from '../src/cgroups.ts'
import { CNI_STATE } from '../src/node.ts'

/** What a box could leave behind on the machine, seen from outside its namespaces. */
export interface Traces {
  mounts: string[]
  links: string[]
  rules: string[]
  cgroups: string[]
  /** The controllers that the root cgroup passes on; undefined with cgroup version 1. */
  controllers: string | undefined
  /** What CNI wrote to the machine itself instead of the box's own directory. */
  cniFiles: string[]
  processes: string[]
}

/** Lists everything on the machine that a box of this name makes while it runs. */
export async function traces(boxName: string, stateDir: string, cgroupRoot: string): Promise<Traces> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  const { stdout: links } = await execa('ip', ['-brief', 'link'])
  const rules = await Promise.all(
    ['iptables-save', 'ip6tables-save'].map(
      async (save) => (await execa(save, { reject: false })).stdout ?? '',
    ),
  )
  return {
    mounts: mounts.filter((line) => line.includes(stateDir) || line.includes('/run/netns')),
    links: links
      .split('\n')
      .map((line) => line.split(/\s+/)[0] ?? '')
      .filter((name) => /^(veth|cni|eks)/.test(name)),
    rules: rules
      .join('\n')
      .split('\n')
      .filter((line) => /KUBE-|CNI-/.test(line)),
    cgroups: await listCgroups(cgroupRoot),
    controllers: await readFile('/sys/fs/cgroup/cgroup.subtree_control', 'utf8').catch(() => undefined),
    cniFiles: existsSync(CNI_STATE) ? await readdir(CNI_STATE, { recursive: true }) : [],
    processes: await boxProcesses(boxName, stateDir),
  }
}

/** Command lines of the box's processes: by what they are told, by their environment, by their cgroup. */
async function boxProcesses(boxName: string, stateDir: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await processIds()) {
    if (pid === process.pid) continue
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')
    const [command, environment, cgroup] = await Promise.all([
      read('cmdline'),
      read('environ'),
      read('cgroup'),
    ])
    const supervises =
      /eks-box\/src\/(host|inside)\.ts/.test(command) && environment.includes(`BOX_NAME=${boxName}\0`)
    if (supervises || command.includes(stateDir) || cgroup.includes(`eks-box-${boxName}`)) {
      found.push(command.replaceAll('\0', ' ').trim())
    }
  }
  return found
}

async function processIds(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter(Number.isInteger)
}
