/**
 * A virtual machine with systemd and cgroup version 2, made from Debian packages and emulated by QEMU: it needs
 * neither KVM, an image, nor a network.
 */
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { ExecaError, execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** What makes Debian's smallest installation into a machine that boots. */
const systemPackages = [
  ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'kmod', 'procps'],
  'linux-image-cloud-amd64',
]

/** Room for the box's state beside what is brought along; the file is sparse. */
const diskSize = '20G'
/** A machine of the size that `docs/local-box.md` asks for, and some for the kernel's cache. */
const hardware = ['-smp', '2', '-m', '6144']

async function run(program: string, args: readonly string[], interrupt: AbortSignal): Promise<string> {
  try {
    return (await execa(program, args, { all: true, cancelSignal: interrupt })).stdout
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    if (interrupt.aborted) throw interrupted(cause)
    const said = String(cause.all).trimEnd().split('\n').at(-1) || cause.shortMessage
    throw new ActionableError(
      `${program} failed: ${said}`,
      /No space left/i.test(String(cause.all))
        ? 'free about 10 GB of disk, or set BOX_CACHE_DIR to a larger disk'
        : `run it yourself to see all it says: ${cause.escapedCommand}`,
      { cause },
    )
  }
}

function interrupted(cause: unknown): ActionableError {
  return new ActionableError('stopped', 'run the command again', { cause })
}

/** This machine's release of Debian, and where its apt gets it from. */
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
    'the virtual machine is made from packages of Debian, and apt on this machine has no source of them',
    'run the check on Debian 12 or newer',
  )
}

/**
 * A root file system with systemd, a kernel and `packages`, of this machine's release of Debian. It is made once
 * and kept in `cacheDirectory`: hard links of its files must not be written to.
 *
 * @throws ActionableError when the packages cannot be had.
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
  for (const former of await readdir(cacheDirectory)) {
    await rm(join(cacheDirectory, former), { recursive: true, force: true })
  }
  const unfinished = `${target}.unfinished`
  const options = ['--quiet', '--variant=minbase', `--include=${all.join(',')}`]
  // In a mount namespace of its own: a mmdebstrap that is killed leaves its mounts behind.
  await run('unshare', ['--mount', 'mmdebstrap', ...options, release, unfinished, ...sources], interrupt)
  await rename(unfinished, target)
  return target
}

/**
 * Copies files and directories of this machine to their places below `root`: as links where both are on one file
 * system, since only copies on the virtual disk are ever written to.
 */
export async function bringAlong(root: string, paths: readonly string[]): Promise<void> {
  // From the root directory: cp looks for the parents of an absolute path below the directory it runs in.
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
  /** The root file system on the disk: its kernel is the one that starts. */
  root: string
  disk: string
  /** File that gets what the kernel and systemd print. */
  consoleLog: string
  /** After this the machine is taken to hang. In milliseconds. */
  timeout: number
  interrupt: AbortSignal
  /** Is called with every line that the machine writes to its second serial port. */
  onLine: (line: string) => void
  /** Matches the line with the result, and in its first group the result. */
  result: RegExp
}

/**
 * Boots the disk and resolves to the result when the machine has powered off. It is emulated instruction by
 * instruction, which works everywhere, at about a tenth of the speed.
 *
 * @throws ActionableError when it does not come to an end, or ends without a result.
 */
export async function boot(options: Boot): Promise<string> {
  const { root, disk, consoleLog, timeout, interrupt } = options
  const file = (name: string) => globSync(join(root, 'boot', `${name}-*`))[0] ?? ''
  const machine = execa(
    'nice',
    [
      // Whatever ends this process, by whatever means, ends the machine.
      ...['-n', '10', 'setpriv', '--pdeathsig', 'KILL', '--', 'qemu-system-x86_64'],
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', ...hardware, '-nic', 'none', '-no-reboot'],
      ...['-display', 'none', '-monitor', 'none', '-serial', `file:${consoleLog}`, '-serial', 'stdio'],
      ...['-kernel', file('vmlinuz'), '-initrd', file('initrd.img')],
      // A busy host delays the timer's interrupts, which the kernel would take for a defect. A kernel that panics
      // restarts, which ends a machine that may not.
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
    ? `was not done after ${timeout / 60_000} minutes`
    : failed
      ? `failed: ${shortMessage}`
      : 'ended without a result'
  throw new ActionableError(
    `the virtual machine ${reason}`,
    `the end of its console is shown above, all of it is in ${consoleLog}`,
  )
}

/** Directory of a program's installation where that is not the distribution's own: `/opt/x` of `/opt/x/bin/y`. */
export function installationOf(program: string): string | undefined {
  return program.startsWith('/usr/bin/') ? undefined : dirname(dirname(program))
}
