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
   * Shows that the package is installed: a program on PATH, alternatives separated by `|`; an absolute path, in which
   * `*` matches any name; or `python3:<module>` for a module that python3 can import. Programs from other sources count
   * too.
   */
  provides: string
  why: string
  /** The package's service. It must not start, because the box runs the program itself. */
  service?: string
  /** Needed only by steps of `make test`, not by `make up`. */
  onlyTests?: true
}

/** All Debian packages. `make doctor` reports missing ones; `make up` and `make test` install them. */
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
    name: 'haproxy',
    provides: 'haproxy',
    why: 'routes the requests of the load balancers',
    service: 'haproxy',
  },
  { name: 'openssl', provides: 'openssl', why: 'issues certificates for the load balancers' },
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
  {
    name: 'prometheus',
    provides: 'promtool',
    why: 'tests the alerts with its promtool',
    service: 'prometheus',
    onlyTests: true,
  },
  { name: 'shellcheck', provides: 'shellcheck', why: 'lints the shell scripts', onlyTests: true },
  {
    name: 'chromium',
    provides: 'chromium|chromium-browser|google-chrome',
    why: 'opens the reports of load tests',
    onlyTests: true,
  },
]

/** The packages that every box needs. */
export const BOX_PACKAGES = PACKAGES.filter(({ onlyTests }) => onlyTests === undefined)

/** The packages with which `make test ONLY=systemd` builds its virtual machine. Nothing else needs them. */
export const VIRTUAL_MACHINE_PACKAGES: readonly Package[] = [
  { name: 'mmdebstrap', provides: 'mmdebstrap', why: "makes the virtual machine's file system" },
  { name: 'e2fsprogs', provides: 'mke2fs', why: "writes it to the virtual machine's disk" },
  { name: 'qemu-system-x86', provides: 'qemu-system-x86_64', why: 'runs the virtual machine' },
]

/** The packages of `make monitoring`. Nothing else needs them. */
export const MONITORING_PACKAGES: readonly Package[] = [
  {
    name: 'prometheus',
    // Another package may provide the program without its web interface.
    provides: '/usr/share/prometheus/web/templates/graph.html',
    why: "collects the cluster's metrics",
    service: 'prometheus',
  },
]

// On Debian, these are not on the PATH of ordinary users, but contain half of the programs above.
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** Whether a package's `provides` exists, on the PATH `path` or in the system directories. */
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

/** The names of the packages whose program or file this machine lacks. They are Debian's on any distribution. */
export function missingPackages(packages = PACKAGES, env = process.env): string[] {
  return packages.filter((entry) => !isInstalled(entry.provides, env['PATH'] ?? '')).map(({ name }) => name)
}

/** A single command that installs `packages`, to copy into a root shell. */
export function installCommand(packages: readonly string[]): string {
  return `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`
}

/**
 * Installs the missing packages with apt-get; does nothing when none is missing.
 *
 * @returns the names of the packages it installed.
 * @throws ActionableError when this process is not root, there is no apt-get, or apt-get fails.
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
  // Another apt, such as an unattended upgrade, may hold the lock. Wait for it for two minutes.
  const options = ['-y', '-q', '-o', 'DPkg::Lock::Timeout=120', '--no-install-recommends']
  const install = () => apt`apt-get install ${options} ${packages}`
  try {
    // With missing or outdated package lists, the first attempt fails at once, without any change.
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
