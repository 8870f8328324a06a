import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from './config.ts'
import { ActionableError } from './errors.ts'

interface ToolModule {
  /** Programs the module installs, under the names they have afterwards. */
  programs: readonly string[]
  /** Seconds a cold build took on 2 cores, one after another and downloads included. */
  coldSeconds: number
}

/** The Go tool modules below `tools/`, in the order they are built: the longest first. */
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
  },
  'metrics-server': { programs: ['metrics-server'], coldSeconds: 165 },
  coredns: { programs: ['coredns'], coldSeconds: 145 },
  helm: { programs: ['helm'], coldSeconds: 115 },
  registry: { programs: ['registry'], coldSeconds: 70 },
  k6: { programs: ['k6'], coldSeconds: 75 },
  compose: { programs: ['docker-compose'], coldSeconds: 30 },
  etcd: { programs: ['etcd'], coldSeconds: 15 },
  actionlint: { programs: ['actionlint'], coldSeconds: 5 },
  kubeconform: { programs: ['kubeconform'], coldSeconds: 5 },
  pause: { programs: ['pause'], coldSeconds: 5 },
} as const satisfies Record<string, ToolModule>

export type Tool = keyof typeof TOOLS
export type Program = (typeof TOOLS)[Tool]['programs'][number]

/** Go names a program after its package; these packages have a name that says too little. */
const renamed: Record<string, Program> = { server: 'etcd', cmd: 'docker-compose' }

export const TOOL_NAMES = Object.keys(TOOLS) as Tool[]

/** Directory of a tool module: its go.mod and go.sum are the pin. */
export function toolModule(tool: Tool): string {
  return join(import.meta.dirname, '..', 'tools', tool)
}

/** The version of Kubernetes that `tools/kubernetes/go.mod` pins, such as `v1.35.4`. */
export function kubernetesVersion(): string {
  const pin = /k8s\.io\/kubernetes (v\d+\.\d+\.\d+)/.exec(
    readFileSync(join(toolModule('kubernetes'), 'go.mod'), 'utf8'),
  )
  if (pin?.[1] === undefined) throw new TypeError('tools/kubernetes/go.mod pins no k8s.io/kubernetes')
  return pin[1]
}

/** Directory the programs of `tool` are installed in; its name changes with the pin. */
export function toolDirectory(config: BoxConfig, tool: Tool): string {
  const pin = createHash('sha256')
  for (const file of ['go.mod', 'go.sum', 'main.go']) {
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
 * Builds one tool module from source and installs its programs in `toolDirectory`, all or none.
 * An interrupted build goes on from where it was.
 *
 * @param interrupt ends the build when aborted.
 * @param onProgress is told how far the build is, once for each package.
 * @throws ActionableError when the Go toolchain is missing or the build fails.
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
    GOBIN: unfinished,
    GOFLAGS: '-trimpath -buildvcs=false -mod=readonly',
  }
  const packages = tool === 'pause' ? '.' : 'tool'
  const lines: string[] = []
  let [downloaded, compiled] = [0, 0]
  try {
    const build = execa('go', ['install', '-v', '-ldflags', linkerFlags.join(' '), packages], {
      cwd: toolModule(tool),
      env: environment,
      all: true,
      cancelSignal: interrupt,
    })
    for await (const line of build.iterable({ from: 'all' })) {
      lines.push(line)
      // With -v, Go names each package when it is done with it.
      if (line.startsWith('go: downloading')) downloaded++
      else compiled++
      onProgress(`${downloaded} modules downloaded, ${compiled} packages compiled`)
    }
    await build
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    if (interrupt.aborted) {
      throw new ActionableError(
        `stopped while building ${tool}`,
        'run the command again: it goes on from here',
        { cause: error },
      )
    }
    throw buildFailure(tool, error, lines)
  }
  for (const built of await readdir(unfinished)) {
    const name = renamed[built]
    if (name !== undefined) await rename(join(unfinished, built), join(unfinished, name))
  }
  if (tool === 'kubernetes') {
    const { stdout: source } = await execa('go', ['list', '-m', '-f', '{{.Dir}}', 'k8s.io/kubernetes'], {
      cwd: toolModule(tool),
      env: environment,
    })
    await copyFile(
      join(source, 'api', 'openapi-spec', 'swagger.json'),
      join(unfinished, basename(openApiPath(config))),
    )
  }
  if (tool === 'pause') await archivePauseImage(unfinished)
  await rm(target, { recursive: true, force: true })
  await rename(unfinished, target)
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

function buildFailure(tool: Tool, error: unknown, output: string[]): ActionableError {
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
