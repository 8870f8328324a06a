/** `make doctor`: checks this machine's prerequisites, and explains how to install missing ones. */
import { readFileSync, type StatsFs } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { BOX_PACKAGES, installCommand, missingPackages, PACKAGES } from 'eks-box/packages'
import { execa } from 'execa'
import { type BoxConfig, DISK_NEEDED, readBoxConfig } from 'shared/box'
import { readEnvironment } from 'shared/environment'
import { reportFailure } from 'shared/errors'
import { missingTools, TOOL_NAMES, TOOLS, toolModule, UP_TOOLS } from 'shared/tools'

/** One line of the report; `remedy` is set if something is missing. */
export interface Finding {
  subject: string
  /** The result of the check. */
  found: string
  remedy?: string
}

/** A program and its oldest supported version. */
interface Prerequisite {
  name: string
  command: readonly [string, ...string[]]
  minimum: string
  remedy: string
}

/** The newest `go` directive of all tool modules, because an older toolchain cannot build that module. */
export function requiredGo(): string {
  const versions = TOOL_NAMES.filter((tool) => TOOLS[tool].installer === 'go')
    .map((tool) => readFileSync(join(toolModule(tool), 'go.mod'), 'utf8'))
    .map((text) => /^go (\S+)$/m.exec(text)?.[1] ?? '0')
    .sort(compareVersions)
  return versions.at(-1) ?? '0'
}

const prerequisites: readonly Prerequisite[] = [
  {
    name: 'Node',
    // The first Node on PATH is the repository's; the one that started npm is the machine's.
    command: ['sh', '-c', `PATH="$\{PATH#*node_modules/.bin:}" node --version`],
    minimum: '20.0.0',
    remedy: 'install Node 20 or newer with npm (nodejs.org, or your package manager)',
  },
  {
    name: 'Go',
    command: ['go', 'version'],
    minimum: requiredGo(),
    remedy: `install Go ${requiredGo()} or newer (go.dev/dl, or your package manager)`,
  },
  {
    name: 'Python',
    // On Debian, virtual environments need a separate package.
    command: ['python3', '-c', 'import ensurepip, platform, venv; print(platform.python_version())'],
    minimum: '3.11.0',
    remedy: 'install Python 3.11 or newer with venv: apt-get install -y python3 python3-venv',
  },
  {
    name: 'Terraform',
    command: ['terraform', 'version'],
    minimum: '1.11.1',
    remedy: 'install Terraform 1.11.1 or newer (developer.hashicorp.com/terraform/install)',
  },
  { name: 'Git', command: ['git', '--version'], minimum: '2.30.0', remedy: 'apt-get install -y git' },
  { name: 'Make', command: ['make', '--version'], minimum: '4.0', remedy: 'apt-get install -y make' },
]

/** Negative if `a` is older than `b`; missing parts count as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number)) as [number[], number[]]
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** The first version number in a program's output. */
export function parseVersion(output: string): string | undefined {
  return /(\d+(?:\.\d+)+)/.exec(output)?.[1]
}

/** Checks a program's version from its output, which is undefined if the program could not be run. */
export function judge({ name, minimum, remedy }: Prerequisite, output: string | undefined): Finding {
  const version = output === undefined ? undefined : parseVersion(output)
  if (version === undefined) return { subject: name, found: 'missing', remedy }
  if (compareVersions(version, minimum) >= 0) return { subject: name, found: version }
  return { subject: name, found: `${version}, older than ${minimum}`, remedy }
}

async function examinePrerequisite(prerequisite: Prerequisite): Promise<Finding> {
  const [program, ...args] = prerequisite.command
  const { failed, stdout } = await execa(program, args, { reject: false })
  return judge(prerequisite, failed ? undefined : stdout)
}

function examinePackages(): Finding {
  const missing = missingPackages(BOX_PACKAGES)
  const subject = 'Packages'
  if (missing.length === 0) {
    const forTests = missingPackages(PACKAGES)
    const found = `all ${BOX_PACKAGES.length} found`
    return {
      subject,
      found: forTests.length === 0 ? found : `${found}; \`make test\` also installs ${forTests.join(', ')}`,
    }
  }
  return { subject, found: `missing: ${missing.join(', ')}`, remedy: installCommand(missing) }
}

const gibibyte = 2 ** 30
/**
 * The memory that the box needs, in GiB: the control plane, node, ten pods and the load generator took less than 3. It is
 * less than the required 4, of which the kernel reserves a part.
 */
const memory = 3.5

async function examineDisk(box: BoxConfig): Promise<Finding> {
  const building = missingTools(box, UP_TOOLS).length > 0
  const needed = building ? DISK_NEEDED.build : DISK_NEEDED.run
  const { bavail, bsize } = await statfsOfNearest(box.cacheDir)
  const free = (bavail * bsize) / gibibyte
  const found = `${free.toFixed(0)} GiB free, ${needed} needed${building ? ' to build the tools' : ''}`
  const subject = 'Disk'
  if (free >= needed) return { subject, found }
  return { subject, found, remedy: 'free space, or set BOX_CACHE_DIR and BOX_STATE_DIR to a larger disk' }
}

/** The directory may not exist yet, so this checks its nearest existing parent. */
async function statfsOfNearest(path: string): Promise<StatsFs> {
  try {
    return await statfs(path)
  } catch (error) {
    if (dirname(path) === path) throw error
    return statfsOfNearest(dirname(path))
  }
}

function examineMemory(): Finding {
  const found = `${(totalmem() / gibibyte).toFixed(0)} GiB`
  const subject = 'Memory'
  if (totalmem() >= memory * gibibyte) return { subject, found }
  return { subject, found: `${found}, 4 needed`, remedy: 'use a larger machine' }
}

/** Checks the kernel features and the permissions that the box needs. */
async function examineKernel(): Promise<Finding[]> {
  if (process.platform !== 'linux') {
    return [
      {
        subject: 'System',
        found: process.platform,
        remedy: 'the box needs Linux: use a virtual machine, or a cluster you have with KUBE_CONTEXT',
      },
    ]
  }
  const root: Finding =
    process.getuid?.() === 0
      ? { subject: 'User', found: 'root' }
      : {
          subject: 'User',
          found: 'not root',
          remedy: 'run `sudo env "PATH=$PATH" make up`, or use KUBE_CONTEXT',
        }
  const { failed, stderr } = await execa('unshare', ['--mount', '--net', '--pid', '--fork', 'true'], {
    reject: false,
  })
  const namespaces: Finding = failed
    ? {
        subject: 'Namespaces',
        found: `refused: ${String(stderr).trim()}`,
        remedy: 'in a container, give it CAP_SYS_ADMIN (--privileged)',
      }
    : { subject: 'Namespaces', found: 'can be made' }
  const overlay: Finding = readFileSync('/proc/filesystems', 'utf8').includes('overlay')
    ? { subject: 'Overlay', found: 'supported' }
    : { subject: 'Overlay', found: 'not supported', remedy: 'load it with `modprobe overlay`' }
  return [root, namespaces, overlay]
}

/** Formats the report. */
export function formatReport(findings: readonly Finding[]): string[] {
  const width = Math.max(...findings.map(({ subject }) => subject.length)) + 2
  return findings.flatMap(({ subject, found, remedy }) => [
    `${remedy === undefined ? 'ok  ' : 'MISS'}  ${subject.padEnd(width)}${found}`,
    ...(remedy === undefined ? [] : [`      ${' '.repeat(width)}-> ${remedy}`]),
  ])
}

async function doctor(): Promise<void> {
  const { usesBox } = readEnvironment(process.env)
  const findings = await Promise.all(prerequisites.map(examinePrerequisite))
  if (usesBox) {
    findings.push(examinePackages(), ...(await examineKernel()))
    findings.push(await examineDisk(readBoxConfig(process.env)), examineMemory())
  }
  console.log(formatReport(findings).join('\n'))
  const missing = findings.filter(({ remedy }) => remedy !== undefined)
  if (missing.length === 0) return
  console.log(`\n${missing.length} of ${findings.length} need attention`)
  process.exitCode = 1
}

if (import.meta.main) await doctor().catch(reportFailure)
