import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'

interface ToolModule {
  /** Programs the module installs, under the names they have afterwards. */
  programs: readonly string[]
  /** Seconds a cold build took on 2 cores, one after another and downloads included. */
  coldSeconds: number
  /** What installs it: Go from its modules, or pip from wheels into a Python environment of its own. */
  installer: 'go' | 'pip'
}

/** The tool modules below `tools/`, in the order they are built: the longest first. */
export const TOOLS = {
  kubernetes: {
    programs: [
      'kube-apiserver',
      'kube-controller-manager',
      'kube-proxy',
      'kube-scheduler',
      'kubeadm',
      'kubectl',
      'kubelet',
    ],
    coldSeconds: 315,
    installer: 'go',
  },
  'metrics-server': { programs: ['metrics-server'], coldSeconds: 165, installer: 'go' },
  coredns: { programs: ['coredns'], coldSeconds: 145, installer: 'go' },
  helm: { programs: ['helm'], coldSeconds: 115, installer: 'go' },
  registry: { programs: ['registry'], coldSeconds: 70, installer: 'go' },
  k6: { programs: ['k6'], coldSeconds: 75, installer: 'go' },
  compose: { programs: ['docker-compose'], coldSeconds: 30, installer: 'go' },
  etcd: { programs: ['etcd'], coldSeconds: 15, installer: 'go' },
  tflint: { programs: ['tflint'], coldSeconds: 160, installer: 'go' },
  'terraform-config-inspect': { programs: ['terraform-config-inspect'], coldSeconds: 5, installer: 'go' },
  actionlint: { programs: ['actionlint'], coldSeconds: 5, installer: 'go' },
  kubeconform: { programs: ['kubeconform'], coldSeconds: 5, installer: 'go' },
  pause: { programs: ['pause'], coldSeconds: 5, installer: 'go' },
  checkov: { programs: ['checkov'], coldSeconds: 60, installer: 'pip' },
  aws: { programs: ['aws', 'moto_server'], coldSeconds: 40, installer: 'pip' },
  schemathesis: { programs: ['schemathesis'], coldSeconds: 20, installer: 'pip' },
  zizmor: { programs: ['zizmor'], coldSeconds: 5, installer: 'pip' },
} as const satisfies Record<string, ToolModule>

export type Tool = keyof typeof TOOLS
export type Program = (typeof TOOLS)[Tool]['programs'][number]

/** Go names a program after its package; these packages have a name that says too little. */
const renamed: Record<string, Program> = { server: 'etcd', cmd: 'docker-compose' }

export const TOOL_NAMES = Object.keys(TOOLS) as Tool[]

/** Directory of a tool module: its go.mod and go.sum, or its requirements.txt, are the pin. */
export function toolModule(tool: Tool): string {
  return join(import.meta.dirname, '..', 'tools', tool)
}

/** The version of the Go module `path` that a tool's go.mod pins, such as `v1.35.4`. */
export function pinnedVersion(tool: Tool, path: string): string {
  const lines = readFileSync(join(toolModule(tool), 'go.mod'), 'utf8').split('\n')
  const pin = lines
    .map((line) => line.trim().replace('require ', '').split(' '))
    .find(([name]) => name === path)
  if (pin?.[1] === undefined) throw new TypeError(`tools/${tool}/go.mod pins no ${path}`)
  return pin[1]
}

/** The version of Kubernetes the box runs, such as `v1.35.4`. */
export function kubernetesVersion(): string {
  return pinnedVersion('kubernetes', 'k8s.io/kubernetes')
}

/** Directory the programs of `tool` are installed in; its name changes with the pin. */
export function toolDirectory(config: BoxConfig, tool: Tool): string {
  const pin = createHash('sha256')
  for (const file of ['go.mod', 'go.sum', 'main.go', 'requirements.txt']) {
    const path = join(toolModule(tool), file)
    if (existsSync(path)) pin.update(readFileSync(path))
  }
  return join(config.cacheDir, 'tools', `${tool}-${pin.digest('hex').slice(0, 12)}`)
}

/** Absolute path of a pinned program. It exists once the tools are built (`eks-box tools`, part of `up`). */
export function programPath(config: BoxConfig, program: Program): string {
  for (const tool of TOOL_NAMES) {
    if ((TOOLS[tool].programs as readonly string[]).includes(program)) {
      return join(toolDirectory(config, tool), program)
    }
  }
  throw new TypeError(`no tool module builds ${program}`)
}

/** The Python of the environment that holds the AWS CLI, boto3 and the AWS emulator. */
export function awsPythonPath(config: BoxConfig): string {
  return join(toolDirectory(config, 'aws'), 'venv', 'bin', 'python3')
}

/** Kubernetes' own OpenAPI document, kept beside the programs it describes. */
export function openApiPath(config: BoxConfig): string {
  return join(toolDirectory(config, 'kubernetes'), 'swagger.json')
}

/** The tools that are not built at their present pin. */
export function missingTools(config: BoxConfig): Tool[] {
  return TOOL_NAMES.filter((tool) => !existsSync(toolDirectory(config, tool)))
}

/** The directory of intermediate build results: large, and only worth keeping while pins change. */
export function buildCache(config: BoxConfig): string {
  return join(config.cacheDir, 'go-build')
}

/**
 * Installs the programs of one tool module in `toolDirectory`, all or none. An interrupted build goes
 * on from where it was.
 *
 * @param interrupt ends the build when aborted.
 * @param onProgress is told how far the build is.
 * @throws ActionableError when the toolchain is missing or the build fails.
 */
export async function buildTool(
  config: BoxConfig,
  tool: Tool,
  interrupt: AbortSignal,
  onProgress: (progress: string) => void,
): Promise<void> {
  const target = toolDirectory(config, tool)
  const unfinished = `${target}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { recursive: true })
  const lines: string[] = []
  const onLine = (line: string) => lines.push(line)
  try {
    if (TOOLS[tool].installer === 'pip') {
      await installWithPip(tool, unfinished, target, interrupt, onLine, onProgress)
    } else await installWithGo(config, tool, unfinished, interrupt, onLine, onProgress)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    if (interrupt.aborted) {
      throw new ActionableError(
        `stopped while building ${tool}`,
        'run the command again: it goes on from here',
        { cause: error },
      )
    }
    throw TOOLS[tool].installer === 'pip' ? pipFailure(tool, error, lines) : goFailure(tool, error, lines)
  }
  await rm(target, { recursive: true, force: true })
  await rename(unfinished, target)
}

async function installWithGo(
  config: BoxConfig,
  tool: Tool,
  directory: string,
  interrupt: AbortSignal,
  onLine: (line: string) => void,
  onProgress: (progress: string) => void,
): Promise<void> {
  const linkerFlags = ['-s', '-w']
  if (tool === 'kubernetes') {
    const version = kubernetesVersion()
    const [major, minor] = version.slice(1).split('.')
    for (const [field, value] of [
      ['gitVersion', version],
      ['gitMajor', major],
      ['gitMinor', minor],
    ]) {
      linkerFlags.push('-X', `k8s.io/component-base/version.${field}=${value}`)
    }
  }
  const environment = {
    CGO_ENABLED: '0',
    GOCACHE: buildCache(config),
    GOBIN: directory,
    GOFLAGS: '-trimpath -buildvcs=false -mod=readonly',
  }
  let [downloaded, compiled] = [0, 0]
  const build = execa(
    'go',
    ['install', '-v', '-ldflags', linkerFlags.join(' '), tool === 'pause' ? '.' : 'tool'],
    { cwd: toolModule(tool), env: environment, all: true, cancelSignal: interrupt },
  )
  for await (const line of build.iterable({ from: 'all' })) {
    onLine(line)
    // With -v, Go names each package when it is done with it.
    if (line.startsWith('go: downloading')) downloaded++
    else compiled++
    onProgress(`${downloaded} modules downloaded, ${compiled} packages compiled`)
  }
  await build
  for (const built of await readdir(directory)) {
    const name = renamed[built]
    if (name !== undefined) await rename(join(directory, built), join(directory, name))
  }
  if (tool === 'kubernetes') {
    const { stdout: source } = await execa('go', ['list', '-m', '-f', '{{.Dir}}', 'k8s.io/kubernetes'], {
      cwd: toolModule(tool),
      env: environment,
    })
    await copyFile(
      join(source, 'api', 'openapi-spec', 'swagger.json'),
      join(directory, basename(openApiPath(config))),
    )
  }
  if (tool === 'pause') await archivePauseImage(directory)
}

async function installWithPip(
  tool: Tool,
  directory: string,
  target: string,
  interrupt: AbortSignal,
  onLine: (line: string) => void,
  onProgress: (progress: string) => void,
): Promise<void> {
  const venv = join(directory, 'venv')
  const run = async (file: string, args: string[]) => {
    const running = execa(file, args, { all: true, cancelSignal: interrupt })
    for await (const line of running.iterable({ from: 'all' })) {
      onLine(line)
      onProgress(line)
    }
    await running
  }
  await run('python3', ['-m', 'venv', venv])
  await run(join(venv, 'bin', 'python3'), [
    ...['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--require-hashes'],
    ...['--requirement', join(toolModule(tool), 'requirements.txt')],
  ])
  const scripts = join(venv, 'bin')
  for (const program of TOOLS[tool].programs) {
    // pip writes the environment's present path into each script's first line; the environment moves afterwards.
    const script = join(scripts, program)
    const content = await readFile(script)
    const marked = Buffer.from(`#!${directory}`)
    if (content.subarray(0, marked.length).equals(marked)) {
      await writeFile(script, Buffer.concat([Buffer.from(`#!${target}`), content.subarray(marked.length)]))
    }
    await symlink(join('venv', 'bin', program), join(directory, program))
  }
}

/** Name of the image every pod's sandbox runs; containerd imports it from a file and never pulls it. */
export const PAUSE_IMAGE = 'eks-box.local/pause:1'

/** The file that holds `PAUSE_IMAGE`. */
export function pauseArchivePath(config: BoxConfig): string {
  return join(toolDirectory(config, 'pause'), 'pause.tar')
}

async function archivePauseImage(directory: string): Promise<void> {
  const storage = join(directory, 'storage')
  const options = ['--root', storage, '--runroot', join(storage, 'run'), '--storage-driver', 'vfs']
  const buildFile = join(directory, 'Containerfile')
  await writeFile(buildFile, 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n')
  await execa('buildah', [...options, 'bud', '--tag', PAUSE_IMAGE, '--file', buildFile, directory])
  const archive = `docker-archive:${join(directory, 'pause.tar')}:${PAUSE_IMAGE}`
  await execa('buildah', [...options, 'push', PAUSE_IMAGE, archive])
  await rm(storage, { recursive: true, force: true })
}

function goFailure(tool: Tool, error: unknown, output: string[]): ActionableError {
  const said = output.filter((line) => !line.startsWith('go: downloading')).at(-1) ?? String(error)
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return new ActionableError(
      'the Go toolchain is not installed, so the Kubernetes programs cannot be built',
      'install Go 1.26 or newer, then run the command again (`make doctor` lists everything needed)',
    )
  }
  if (output.some((line) => /no space left on device/.test(line))) {
    return new ActionableError(
      `the disk filled up while building ${tool}`,
      'free about 15 GB, or set BOX_CACHE_DIR to a larger disk, then run the command again',
    )
  }
  if (output.some((line) => /dial tcp|no such host|i\/o timeout|Forbidden|connection refused/.test(line))) {
    return new ActionableError(
      `the Go modules of ${tool} could not be downloaded: ${said}`,
      'set GOPROXY to a Go module proxy this machine can reach, then run the command again',
    )
  }
  return new ActionableError(
    `building ${tool} failed: ${said}`,
    `run \`go install tool\` in apps/eks-box/tools/${tool} to see the whole output`,
    { cause: error },
  )
}

function pipFailure(tool: Tool, error: unknown, output: string[]): ActionableError {
  const said = output.filter((line) => /error|no module/i.test(line)).at(-1) ?? String(error)
  if (
    (error instanceof Error && 'code' in error && error.code === 'ENOENT') ||
    /ensurepip|No module named (venv|pip)/.test(output.join('\n'))
  ) {
    return new ActionableError(
      `Python 3 with its venv module is not installed, so ${tool} cannot be installed`,
      'install it, on Debian with `apt-get install python3-venv`, then run the command again',
      { cause: error },
    )
  }
  if (
    output.some((line) => /Could not find a version|Connection|timed out|No matching distribution/.test(line))
  ) {
    return new ActionableError(
      `the Python packages of ${tool} could not be downloaded: ${said}`,
      'set PIP_INDEX_URL to a package index this machine can reach, then run the command again',
      { cause: error },
    )
  }
  return new ActionableError(
    `installing ${tool} failed: ${said}`,
    `run \`pip install --requirement apps/eks-box/tools/${tool}/requirements.txt\` in a virtual environment to see the whole output`,
    { cause: error },
  )
}
