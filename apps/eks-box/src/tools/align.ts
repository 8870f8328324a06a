/**
 * Gives tools the same version of each module that they share, so that Go compiles it once. Run it after changing the
 * `go.mod` of an aligned tool.
 */
import { readFileSync } from 'node:fs'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { reportFailure } from 'shared/errors'
import { TOOL_NAMES, type Tool, toolModule } from 'shared/tools'
import { EXTERNAL_SECRETS, reduceExternalSecrets } from './external-secrets.ts'

const workspace = join(import.meta.dirname, '..', '..', 'tools', 'aligned.work')

/** The tools that use Kubernetes' libraries. They build every module at the version that Kubernetes builds it at. */
export const KUBERNETES_TOOLS: readonly Tool[] = [
  'network-policies',
  'metrics-server',
  'coredns',
  'helm',
  'karpenter',
  'load-balancer-controller',
  'external-secrets',
  'karpenter-kwok',
  'kwok',
  'kube-state-metrics',
  'prometheus-adapter',
]

/** The other tools with many common modules, which `aligned.work` names. They use the highest versions among them. */
export function workspaceTools(): Tool[] {
  const text = readFileSync(workspace, 'utf8')
  return TOOL_NAMES.filter((tool) => text.includes(`\n\t./${tool}\n`))
}

/** The version of each module that a tool's `go.mod` requires. */
export function requirements(tool: Tool): Map<string, string> {
  const text = readFileSync(join(toolModule(tool), 'go.mod'), 'utf8')
  const required = text.replaceAll(/^(?:exclude|replace) (?:\([^)]*\)|.*)$/gm, '')
  return new Map(
    [...required.matchAll(/^(?:require )?\t?(\S+) (v\S+)(?: \/\/ indirect)?$/gm)].map(([, path, version]) => [
      path as string,
      version as string,
    ]),
  )
}

/**
 * The versions that a tool of `KUBERNETES_TOOLS` has to use: those of Kubernetes. The load balancer controller and
 * External Secrets also share the AWS SDK with Karpenter; its EC2 client alone compiles for a minute. kube-state-metrics
 * and External Secrets do not compile with one of these versions.
 */
export function versionsFor(tool: Tool): Map<string, string> {
  const kubernetes = requirements('kubernetes')
  if (tool === 'kube-state-metrics') kubernetes.delete('github.com/prometheus/client_golang')
  if (tool !== 'load-balancer-controller' && tool !== 'external-secrets') return kubernetes
  const versions = new Map([...requirements('karpenter'), ...kubernetes])
  if (tool === 'external-secrets') versions.delete('sigs.k8s.io/controller-runtime')
  return versions
}

/** The modules that `tool` requires at another version than `versions`, with the version in `versions`. */
export function differing(
  tool: Tool,
  versions: ReadonlyMap<string, string>,
): [path: string, version: string][] {
  return [...requirements(tool)].flatMap(([path, version]) => {
    const wanted = versions.get(path)
    return wanted === undefined || wanted === version ? [] : [[path, wanted]]
  })
}

/** Edits a tool's `go.mod` with the flags of `go mod edit`, then lets Go complete it. */
async function edit(tool: Tool, flags: readonly string[]): Promise<void> {
  const options = {
    cwd: toolModule(tool),
    env: { GOFLAGS: '-mod=mod', GOWORK: 'off' },
    stdio: 'inherit',
  } as const
  if (flags.length > 0) await execa('go', ['mod', 'edit', ...flags], options)
  if (tool !== 'external-secrets') {
    await execa('go', ['mod', 'tidy'], options)
    return
  }
  // The requirements are those of the reduced copy, which the build compiles.
  const work = await mkdtemp(join(tmpdir(), 'align-'))
  try {
    await execa('go', ['mod', 'tidy', await reduceExternalSecrets(options.env, work)], options)
    await execa('go', ['mod', 'edit', `-dropreplace=${EXTERNAL_SECRETS}`, join(work, 'go.mod')], options)
    for (const file of ['go.mod', 'go.sum']) await copyFile(join(work, file), join(options.cwd, file))
    // go.sum of the copy lacks the checksum of the original.
    await execa('go', ['mod', 'download', EXTERNAL_SECRETS], options)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Aligns `tool` with `versions`. A module that it requires at a higher version has to be excluded at that version. */
async function alignWith(tool: Tool, versions: ReadonlyMap<string, string>): Promise<void> {
  const { stdout } = await execa('go', ['mod', 'edit', '-json'], { cwd: toolModule(tool) })
  const { Exclude: excluded } = JSON.parse(stdout) as {
    Exclude: { Path: string; Version: string }[] | null
  }
  const require = (modules: [string, string][]) =>
    modules.map(([path, version]) => `-require=${path}@${version}`)
  await edit(tool, [
    ...(excluded ?? []).map(({ Path, Version }) => `-dropexclude=${Path}@${Version}`),
    ...require(differing(tool, versions)),
  ])
  for (;;) {
    const higher = differing(tool, versions)
    if (higher.length === 0) return
    const current = requirements(tool)
    await edit(tool, [...higher.map(([path]) => `-exclude=${path}@${current.get(path)}`), ...require(higher)])
  }
}

/** The version of each module that a build of all tools in `aligned.work` would select. */
async function workspaceVersions(): Promise<Map<string, string>> {
  const { stdout } = await execa('go', ['list', '-m', 'all'], { env: { GOFLAGS: '', GOWORK: workspace } })
  return new Map(
    stdout.split('\n').flatMap((line) => {
      const [path, version] = line.split(' ')
      return path === undefined || version === undefined ? [] : [[path, version]]
    }),
  )
}

async function align(): Promise<void> {
  for (const tool of KUBERNETES_TOOLS) await alignWith(tool, versionsFor(tool))
  const highest = await workspaceVersions()
  for (const tool of workspaceTools()) await alignWith(tool, highest)
}

if (import.meta.main) await align().catch(reportFailure)
