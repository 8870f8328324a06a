/**
 * A virtual machine with systemd and cgroup version 2, built from Debian packages and emulated by QEMU. It needs no KVM,
 * no image and no network.
 */
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { ExecaError, execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** The packages that Debian's minimal installation lacks to boot. */
const systemPackages = [
  ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'kmod', 'procps'],
  'linux-image-cloud-amd64',
]

/** Leaves room for the box's state. The file is sparse. */
const diskSize = '20G'
/** The machine that `docs/local-box.md` requires, plus memory for the page cache. */
const hardware = ['-smp', '2', '-m', '6144']

async function run(program: string, args: readonly string[], interrupt: AbortSignal): Promise<string> {
  try {
    return (await execa(program, args, { all: true, cancelSignal: interrupt })).stdout
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    if (interrupt.aborted) throw interrupted(cause)
    const lastLine = String(cause.all).trimEnd().split('\n').at(-1) || cause.shortMessage
    throw new ActionableError(
      `${program} failed: ${lastLine}`,
      /No space left/i.test(String(cause.all))
        ? 'free about 10 GB of disk, or set BOX_CACHE_DIR to a larger disk'
        : `run it yourself to see its whole output: ${cause.escapedCommand}`,
      { cause },
    )
  }
}

function interrupted(cause: unknown): ActionableError {
  return new ActionableError('stopped', 'run the command again', { cause })
}

/** This machine's Debian release, and its apt sources. */
async function packageSources(interrupt: AbortSignal): Promise<{ release: string; sources: string[] }> {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? ''
  const list = async () =>
    (
      await run(
        'apt-get',
        [
          ...['indextargets', '--format', 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)'],
          ...['Created-By: Packages', 'Origin: Debian'],
        ],
        interrupt,
      )
    )
      .split('\n')
      .filter((line) => line.split(' ')[2]?.startsWith(release))
  let sources = await list()
  if (sources.length === 0) {
    await run('apt-get', ['update', '-q'], interrupt)
    sources = await list()
  }
  if (release !== '' && sources.length > 0) return { release, sources }
  throw new ActionableError(
    'the virtual machine is built from Debian packages, but apt on this machine has no Debian sources',
    'run the check on Debian 12 or newer',
  )
}

/**
 * Builds a root file system with systemd, a kernel and `packages` from this machine's Debian release, and caches it in
 * `cacheDirectory`. Never write to hard links of its files.
 *
 * @throws ActionableError when the packages are not available
 */
export async function rootFileSystem(
  cacheDirectory: string,
  packages: readonly string[],
  interrupt: AbortSignal,
): Promise<string> {
  const { release, sources } = await packageSources(interrupt)
  const all = [...systemPackages, ...packages]
  const key = createHash('sha256')
    .update(JSON.stringify([release, all]))
    .digest('hex')
    .slice(0, 12)
  const target = join(cacheDirectory, `${release}-${key}`)
  if (existsSync(target)) return target
  await mkdir(cacheDirectory, { recursive: true })
  for (const outdated of await readdir(cacheDirectory)) {
    await rm(join(cacheDirectory, outdated), { recursive: true, force: true })
  }
  const unfinished = `${target}.unfinished`
  const options = ['--quiet', '--variant=minbase', `--include=${all.join(',')}`]
  // In a separate mount namespace, because mmdebstrap leaves its mounts behind when it is killed.
  await run('unshare', ['--mount', 'mmdebstrap', ...options, release, unfinished, ...sources], interrupt)
  await rename(unfinished, target)
  return target
}

/**
 * Copies files and directories of this machine to the same paths below `root`. It makes hard links where both are on one
 * file system, which is safe because the machine writes only to its virtual disk.
 */
export async function copyToRoot(root: string, paths: readonly string[]): Promise<void> {
  // With --parents, cp resolves the parents relative to its working directory.
  const copy = execa({ cwd: '/' })
  const names = paths.map((path) => relative('/', path))
  const linked = await copy('cp', ['--archive', '--link', '--parents', ...names, root], { reject: false })
  if (linked.failed) await copy('cp', ['--archive', '--parents', '--remove-destination', ...names, root])
}

/** Writes the tree `root` to a disk image. */
export async function makeDisk(root: string, disk: string, interrupt: AbortSignal): Promise<void> {
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk, diskSize], interrupt)
}

export interface Boot {
  /** The root file system, which also holds the kernel to boot. */
  root: string
  disk: string
  /** File for the output of the kernel and systemd. */
  consoleLog: string
  /** After this time the machine counts as hung. In milliseconds. */
  timeout: number
  interrupt: AbortSignal
  /** Receives each line that the machine writes to its second serial port. */
  onLine: (line: string) => void
  /** Matches the line with the result, which is its first group. */
  result: RegExp
}

/**
 * Boots the disk and returns the result once the machine has powered off. Pure emulation works everywhere, at about a
 * tenth of the speed.
 *
 * @throws ActionableError when the machine does not power off in time, or reports no result
 */
export async function boot(options: Boot): Promise<string> {
  const { root, disk, consoleLog, timeout, interrupt } = options
  const file = (name: string) => globSync(join(root, 'boot', `${name}-*`))[0] ?? ''
  const machine = execa(
    'nice',
    [
      // The machine dies with this process, even when that is killed.
      ...['-n', '10', 'setpriv', '--pdeathsig', 'KILL', '--', 'qemu-system-x86_64'],
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', ...hardware, '-nic', 'none', '-no-reboot'],
      ...['-display', 'none', '-monitor', 'none', '-serial', `file:${consoleLog}`, '-serial', 'stdio'],
      ...['-kernel', file('vmlinuz'), '-initrd', file('initrd.img')],
      // A busy host delays timer interrupts, which the kernel's checks would report as a defect. `panic=1` reboots
      // after a panic, which ends the machine because of -no-reboot.
      ...['-append', 'root=/dev/vda rw console=ttyS0 no_timer_check nowatchdog panic=1'],
      ...['-drive', `file=${disk},if=virtio,format=raw,cache=unsafe`],
    ],
    { stdin: 'ignore', timeout, cancelSignal: interrupt, forceKillAfterDelay: 5_000, reject: false },
  )
  let result: string | undefined
  for await (const line of machine) {
    const text = line.trimEnd()
    options.onLine(text)
    result ??= options.result.exec(text)?.[1]
  }
  const ending = await machine
  if (interrupt.aborted) throw interrupted(ending)
  if (result !== undefined) return result
  const log = await readFile(consoleLog, 'utf8').catch(() => '')
  console.error(log.split('\n').slice(-40).join('\n'))
  const { timedOut, failed, shortMessage } = ending
  const reason = timedOut
    ? `did not finish within ${timeout / 60_000} minutes`
    : failed
      ? `failed: ${shortMessage}`
      : 'ended without a result'
  throw new ActionableError(
    `the virtual machine ${reason}`,
    `the end of its console is above, and all of it in ${consoleLog}`,
  )
}

/** Installation directory of a program that is not from the distribution: `/opt/x` for `/opt/x/bin/y`. */
export function installationOf(program: string): string | undefined {
  return program.startsWith('/usr/bin/') ? undefined : dirname(dirname(program))
}
