import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import {
  kubernetesVersion,
  openApiPath,
  PAUSE_IMAGE,
  packagesExpected,
  pauseArchivePath,
  pinnedVersion,
  simulationDefinitionsPath,
  TOOLS,
  type Tool,
  toolModule,
} from 'shared/tools'
import { writeImage } from '../images/layout.ts'
import { isController, moduleOf, packageController } from './controllers.ts'
import { reduceExternalSecrets } from './external-secrets.ts'

/** Go's build cache: large, and only useful while pins change. */
export function buildCache(config: BoxConfig): string {
  return join(config.cacheDir, 'go-build')
}

/** With at least this much memory, the compiler may trade memory for time. In bytes. */
const ampleMemory = 8 * 2 ** 30

/**
 * The environment of every build. Go reuses the compiled packages of another tool only if these settings are the same.
 * GOWORK is off, because a `go.work` in a parent directory would change the versions.
 */
function goEnvironment(config: BoxConfig): Record<string, string> {
  return {
    CGO_ENABLED: '0',
    GOCACHE: buildCache(config),
    GOFLAGS: '-trimpath -buildvcs=false -mod=readonly',
    GOWORK: 'off',
    // By default, the compiler spends a sixth of its time on garbage collection. With these settings it collects garbage
    // only when it uses this much memory, which few packages need.
    ...(totalmem() >= ampleMemory ? { GOGC: 'off', GOMEMLIMIT: '1500MiB' } : {}),
  }
}

/** The packages to install: the module's own main program if it has one, otherwise its `tool` directives. */
function packagesOf(tool: Tool): string {
  return existsSync(join(toolModule(tool), 'main.go')) ? '.' : 'tool'
}

/**
 * Installs a tool's programs with Go.
 *
 * @param onProgress receives the share of packages compiled, 0 to 1, and the progress as text.
 * @throws ActionableError when the toolchain is missing, a module cannot be downloaded or the build fails.
 */
export async function installWithGo(
  config: BoxConfig,
  tool: Tool,
  directory: string,
  interrupt: AbortSignal,
  onProgress: (share: number, text: string) => void,
): Promise<void> {
  const expected = packagesExpected(tool)
  const lines: string[] = []
  try {
    await install(config, tool, directory, interrupt, (line) => {
      lines.push(line)
      const downloaded = lines.filter((entry) => entry.startsWith('go: downloading')).length
      const compiled = lines.length - downloaded
      onProgress(
        // Linking the programs comes last and takes time too.
        Math.min(compiled / (expected + 1), 0.97),
        compiled === 0
          ? `${downloaded} modules downloaded`
          : `${compiled} of about ${Math.max(expected, compiled)} packages compiled`,
      )
    })
  } catch (error) {
    throw interrupt.aborted ? error : goFailure(tool, error, lines)
  }
  // Go names a program after its package, such as `server`. A tool with one program gives it the tool's own name.
  const [program, ...others] = TOOLS[tool].programs
  const [built] = await readdir(directory)
  if (others.length === 0 && built !== undefined)
    await rename(join(directory, built), join(directory, program))
  if (tool === 'kubernetes') await copyOpenApi(config, directory)
  if (tool === 'pause') await archivePauseImage(config, directory)
  if (tool === 'karpenter-kwok') await copyDefinitions(config, directory)
  if (isController(tool)) {
    await packageController(tool, program, await sourceOf(config, tool, moduleOf(tool)), directory)
  }
}

/** The variables that a release of `tool` sets when it links its programs. */
function linkerVariables(tool: Tool): Readonly<Record<string, string>> {
  if (tool === 'kubernetes') {
    const version = kubernetesVersion()
    const [major = '', minor = ''] = version.slice(1).split('.')
    const path = 'k8s.io/component-base/version'
    return { [`${path}.gitVersion`]: version, [`${path}.gitMajor`]: major, [`${path}.gitMinor`]: minor }
  }
  if (tool === 'karpenter') {
    return {
      'sigs.k8s.io/karpenter/pkg/operator.Version': pinnedVersion(tool, moduleOf(tool)).slice(1),
    }
  }
  return {}
}

async function install(
  config: BoxConfig,
  tool: Tool,
  directory: string,
  interrupt: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const linkerFlags = ['-s', '-w']
  for (const [variable, value] of Object.entries(linkerVariables(tool))) {
    linkerFlags.push('-X', `${variable}=${value}`)
  }
  // Beside the directory of the programs, because its only file must be the program.
  const work = `${directory}.source`
  const reduced =
    tool === 'external-secrets' ? [await reduceExternalSecrets(goEnvironment(config), work)] : []
  const flags = [
    ...reduced,
    ...['-v', '-ldflags', linkerFlags.join(' ')],
    // The linker would remove debugging information anyway (-s -w). Not generating it saves a tenth of the time.
    '-gcflags=all=-dwarf=false',
  ]
  // With -v, Go prints the name of each package that it starts to compile.
  const build = execa('go', ['install', ...flags, packagesOf(tool)], {
    cwd: toolModule(tool),
    env: { ...goEnvironment(config), GOBIN: directory },
    all: true,
    cancelSignal: interrupt,
  })
  try {
    for await (const line of build.iterable({ from: 'all' })) onLine(line)
    await build
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/**
 * Downloads the modules of `tools`, one tool after another, so that their builds do not wait for the network. Errors are
 * ignored here, because the build downloads missing modules itself and reports the error.
 */
export async function downloadModules(
  config: BoxConfig,
  tools: readonly Tool[],
  interrupt: AbortSignal,
): Promise<void> {
  for (const tool of tools) {
    if (interrupt.aborted) return
    // Unlike `go mod download`, this downloads only the modules that the build compiles.
    await execa('go', ['list', '-deps', packagesOf(tool)], {
      cwd: toolModule(tool),
      env: goEnvironment(config),
      stdio: 'ignore',
      reject: false,
      cancelSignal: interrupt,
    })
  }
}

/** The directory with the source code of `module` at the version that `tool` pins. */
async function sourceOf(config: BoxConfig, tool: Tool, module: string): Promise<string> {
  const { stdout } = await execa('go', ['list', '-m', '-f', '{{.Dir}}', module], {
    cwd: toolModule(tool),
    env: goEnvironment(config),
  })
  return stdout
}

async function copyOpenApi(config: BoxConfig, directory: string): Promise<void> {
  await copyFile(
    join(await sourceOf(config, 'kubernetes', 'k8s.io/kubernetes'), 'api', 'openapi-spec', 'swagger.json'),
    join(directory, basename(openApiPath(config))),
  )
}

/** Copies Karpenter's custom resource definitions, and those of its provider for kwok. */
async function copyDefinitions(config: BoxConfig, directory: string): Promise<void> {
  const source = await sourceOf(config, 'karpenter-kwok', 'sigs.k8s.io/karpenter')
  const target = join(directory, basename(simulationDefinitionsPath(config)))
  await mkdir(target)
  for (const definitions of [join(source, 'pkg', 'apis', 'crds'), join(source, 'kwok', 'apis', 'crds')]) {
    for (const file of await readdir(definitions)) {
      if (file.startsWith('karpenter.')) await copyFile(join(definitions, file), join(target, file))
    }
  }
}

async function archivePauseImage(config: BoxConfig, directory: string): Promise<void> {
  const layout = join(directory, 'image')
  await writeImage(layout, PAUSE_IMAGE, directory, 'pause', '65535:65535')
  const file = join(directory, basename(pauseArchivePath(config)))
  await execa('tar', ['--create', '--file', file, '--directory', layout, '.'])
  await rm(layout, { recursive: true })
}

function goFailure(tool: Tool, error: unknown, output: string[]): ActionableError {
  const reason = output.filter((line) => !line.startsWith('go: downloading')).at(-1) ?? String(error)
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return new ActionableError(
      'the Go toolchain is not installed, so the Kubernetes programs cannot be built',
      'install Go 1.26 or newer, then run the command again (`make doctor` lists everything needed)',
    )
  }
  if (output.some((line) => /no space left on device/.test(line))) {
    return new ActionableError(
      `the disk filled up while building ${tool}`,
      'free about 10 GB, or set BOX_CACHE_DIR to a larger disk, then run the command again',
    )
  }
  if (output.some((line) => /dial tcp|no such host|i\/o timeout|Forbidden|connection refused/.test(line))) {
    return new ActionableError(
      `the Go modules of ${tool} could not be downloaded: ${reason}`,
      'set GOPROXY to a Go module proxy this machine can reach, then run the command again',
    )
  }
  return new ActionableError(
    `building ${tool} failed: ${reason}`,
    `run \`go install tool\` in apps/eks-box/tools/${tool} to see the whole output`,
    { cause: error },
  )
}
