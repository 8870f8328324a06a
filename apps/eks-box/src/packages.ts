import { spawnSync } from 'node:child_process'
import { accessSync, constants, globSync, statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import { ExecaError, execa } from 'execa'
import { ActionableError } from 'shared/errors'
import { withServicesOff } from './debian-services.ts'

/** A Debian package the box or the repository's checks need. */
export interface Package {
  name: string
  /**
   * A program looked for on PATH, or several of which one will do, with `|` between them; an absolute path, in
   * which `*` stands for any name; or `python3:<module>` for a module python3 must have. What is there counts,
   * not who installed it.
   */
  provides: string
  why: string
  /** The service that the package brings and that is not wanted: the box runs the program itself. */
  service?: string
  /** Only steps of `make test` need it; `make up` does without. */
  onlyTests?: true
}

/** The one list of Debian packages: `make doctor` reports it, `make up` and `make test` install what is missing. */
export const PACKAGES: readonly Package[] = [
  {
    name: 'containerd',
    provides: 'containerd',
    why: "runs the node's containers",
    service: 'containerd',
  },
  { name: 'runc', provides: 'runc', why: "starts containerd's containers" },
  { name: 'containernetworking-plugins', provides: '/usr/lib/cni/bridge', why: 'gives pods their network' },
  { name: 'iptables', provides: 'iptables', why: 'kube-proxy writes Service rules with it' },
  { name: 'conntrack', provides: 'conntrack', why: 'kube-proxy drops stale connections with it' },
  { name: 'iproute2', provides: 'ip', why: "sets up the box's network" },
  { name: 'mount', provides: 'mount', why: "the kubelet mounts pods' volumes with it" },
  { name: 'util-linux', provides: 'nsenter', why: "enters the box's namespaces" },
  {
    name: 'postgresql',
    provides: '/usr/lib/postgresql/*/bin/postgres',
    why: "is the service's database",
    service: 'postgresql',
  },
  {
    name: 'redis-server',
    provides: 'redis-server|valkey-server',
    why: "is the service's cache",
    service: 'redis-server',
  },
  {
    name: 'pgbouncer',
    provides: 'pgbouncer',
    why: "is the connection pooler that the service's tests put before the database",
    service: 'pgbouncer',
    onlyTests: true,
  },
  { name: 'tini', provides: 'tini', why: "reaps the processes in the box's namespace" },
  { name: 'buildah', provides: 'buildah', why: 'builds the image where no Docker engine runs' },
  {
    name: 'python3-venv',
    provides: 'python3:ensurepip',
    why: 'makes the Python environment of the emulated AWS',
  },
  { name: 'shellcheck', provides: 'shellcheck', why: 'lints the shell scripts', onlyTests: true },
]

/** The packages without which no box starts. */
export const BOX_PACKAGES = PACKAGES.filter(({ onlyTests }) => onlyTests === undefined)

/** What `make test ONLY=systemd` makes its virtual machine with; nothing else installs these. */
export const VIRTUAL_MACHINE_PACKAGES: readonly Package[] = [
  { name: 'mmdebstrap', provides: 'mmdebstrap', why: "makes the virtual machine's file system" },
  { name: 'e2fsprogs', provides: 'mke2fs', why: "writes it to the virtual machine's disk" },
  { name: 'qemu-system-x86', provides: 'qemu-system-x86_64', why: 'runs the virtual machine' },
]

// Debian keeps these off the PATH of ordinary users, yet half of the programs above live there.
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** Whether a package's `provides` is there; `path` is the PATH to look on, besides the system directories. */
export function isInstalled(program: string, path: string): boolean {
  const [python, module] = program.split(':')
  if (python !== undefined && module !== undefined) {
    return spawnSync(python, ['-c', `import ${module}`], { env: { PATH: path } }).status === 0
  }
  if (isAbsolute(program)) return globSync(program).length > 0
  const directories = [...path.split(delimiter), ...systemDirectories]
  return program
    .split('|')
    .some((name) => directories.some((directory) => isExecutableFile(join(directory, name))))
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** Names of the packages of which this machine lacks the program or file, whatever distribution it runs. */
export function missingPackages(packages = PACKAGES, env = process.env): string[] {
  return packages.filter((entry) => !isInstalled(entry.provides, env['PATH'] ?? '')).map(({ name }) => name)
}

/** The one command that installs `packages`, to be copied into a root shell. */
export function installCommand(packages: readonly string[]): string {
  return `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`
}

/**
 * Installs the missing packages with apt-get; does nothing when none is missing.
 *
 * @returns the names of the packages it installed.
 * @throws ActionableError when it may not (not root), cannot (no apt-get) or apt-get fails.
 */
export async function installPackages(packages = PACKAGES, env = process.env): Promise<string[]> {
  const missing = missingPackages(packages, env)
  if (missing.length === 0) return []
  if (!isInstalled('apt-get', env['PATH'] ?? '')) {
    throw new ActionableError(
      `this machine lacks ${missing.join(', ')} and has no apt-get to install them with`,
      'install them (Debian names) with the package manager of this system',
    )
  }
  if (process.getuid?.() !== 0) {
    throw new ActionableError(
      `this machine lacks ${missing.join(', ')}`,
      `run as root: ${installCommand(missing)}`,
    )
  }
  const services = packages.flatMap(({ name, service }) =>
    service !== undefined && missing.includes(name) ? [service] : [],
  )
  await withServicesOff(services, () => aptInstall(missing, env), env)

  const stillMissing = missingPackages(packages, env)
  if (stillMissing.length > 0) {
    const files = packages.filter(({ name }) => stillMissing.includes(name)).map(({ provides }) => provides)
    throw new ActionableError(
      `apt-get reported success but ${files.join(', ')} cannot be found`,
      `repair the packages: apt-get install --reinstall -y ${stillMissing.join(' ')}`,
    )
  }
  return missing
}

async function aptInstall(packages: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const apt = execa({ env: { ...env, DEBIAN_FRONTEND: 'noninteractive' }, extendEnv: false, all: true })
  // Another apt may hold the lock, an unattended upgrade for one: wait two minutes for it.
  const options = ['-y', '-q', '-o', 'DPkg::Lock::Timeout=120', '--no-install-recommends']
  const install = () => apt`apt-get install ${options} ${packages}`
  try {
    // Absent or outdated package lists make the first try fail at once, before it changes anything.
    await install().catch(async () => {
      await apt`apt-get update -q`
      await install()
    })
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    const errors = String(cause.all).match(/^E: .*$/gm)
    throw new ActionableError(
      `apt-get could not install ${packages.join(', ')}: ${errors?.join(' ') ?? cause.shortMessage}`,
      `run it yourself to see all it says: ${installCommand(packages)}`,
      { cause },
    )
  }
}
