import { existsSync, globSync, statSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { listCgroups } from '../src/node/cgroups.ts'
import { MOUNT_POINTS } from '../src/node/machine.ts'

/** The state of the machine that a box changes outside its namespaces, and could leave behind. */
export interface Traces {
  mounts: string[]
  links: string[]
  rules: string[]
  cgroups: string[]
  /** The controllers in the root's `cgroup.subtree_control`; undefined with cgroup v1. */
  controllers: string | undefined
  /** Files below `nodeDirectories`. */
  files: string[]
  /** Kernel settings, by path below /proc/sys. */
  sysctls: Record<string, string>
  processes: string[]
}

/** Directories to which Kubernetes, containerd and CNI write by default. */
const nodeDirectories = [
  '/etc/cni/net.d',
  '/etc/containerd',
  '/etc/kubernetes',
  '/opt/cni',
  '/opt/containerd',
  '/usr/libexec/kubernetes',
  '/var/lib/cni',
  '/var/lib/containerd',
  '/var/lib/kubelet',
  '/var/log/containers',
  '/var/log/pods',
]

/** Counters and random values, which change without a box as well. */
const volatileSysctls =
  /^(fs\/(aio-nr|dentry-state|file-nr|inode-nr|inode-state|quota\/.*)|kernel\/(ns_last_pid|pty\/nr|random\/.*|perf_event_max_sample_rate|tainted)|vm\/stat_refresh)$/

/** Settings of single network interfaces are left out, because interfaces come and go. */
const sysctlPatterns = [
  '{fs,kernel,vm}/**',
  'net/core/*',
  'net/ipv4/ip_forward',
  'net/ipv{4,6}/conf/{all,default}/*',
]

async function readSysctls(): Promise<Record<string, string>> {
  const root = '/proc/sys'
  const values: Record<string, string> = {}
  for (const name of globSync(sysctlPatterns, { cwd: root }).sort()) {
    if (volatileSysctls.test(name) || !statSync(join(root, name)).isFile()) continue
    // Some settings are write-only.
    const value = await readFile(join(root, name), 'utf8').catch(() => undefined)
    if (value !== undefined) values[name] = value.trim()
  }
  return values
}

/** Lists everything that a running box with this name creates or changes on the machine. */
export async function traces(boxName: string, stateDir: string, cgroupRoot: string): Promise<Traces> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  const { stdout: links } = await execa('ip', ['-brief', 'link'])
  const rules = await Promise.all(
    ['iptables-save', 'ip6tables-save'].map(
      async (save) => (await execa(save, { reject: false })).stdout ?? '',
    ),
  )
  return {
    mounts: mounts.filter((line) => line.includes(`${stateDir}/`) || line.includes('/run/netns')),
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
    files: nodeDirectories
      .filter((directory) => existsSync(directory))
      .flatMap((directory) => [directory, ...globSync(join(directory, '**'))])
      // Whichever box starts first creates them, and the last one removes them.
      .filter((path) => !MOUNT_POINTS.some((directory) => directory === path))
      .sort(),
    sysctls: await readSysctls(),
    processes: await boxProcesses(boxName, stateDir),
  }
}

/** Command lines of the box's processes, found by command line, environment or cgroup. */
async function boxProcesses(boxName: string, stateDir: string): Promise<string[]> {
  const found: string[] = []
  // The name of another box may start with this box's name.
  const inCgroup = new RegExp(`/eks-box-${boxName}(/|$)`, 'm')
  for (const pid of await processIds()) {
    if (pid === process.pid) continue
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')
    const [command, environment, cgroup] = await Promise.all([
      read('cmdline'),
      read('environ'),
      read('cgroup'),
    ])
    const supervises =
      /eks-box\/src\/lifecycle\/(host|inside)\.ts/.test(command) &&
      environment.includes(`BOX_NAME=${boxName}\0`)
    if (supervises || command.includes(`${stateDir}/`) || inCgroup.test(cgroup)) {
      found.push(command.replaceAll('\0', ' ').trim())
    }
  }
  return found
}

async function processIds(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter(Number.isInteger)
}
