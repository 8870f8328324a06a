/** Prometheus, kube-state-metrics and prometheus-adapter, as pods in a running box. */
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type BoxConfig, ECR_REGISTRY, kubeconfigPath } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { pinnedVersion, programPath, toolDirectory } from 'shared/tools'
import { parse, stringify } from 'yaml'
import { librariesOf, type ProgramImage, pushProgram } from '../images/program.ts'
import { boxPaths } from '../state-directory.ts'
import { type PrometheusRule, ruleFiles, type ServiceMonitor, scrapeConfigurations } from './configuration.ts'

const NAMESPACE = 'monitoring'
/** In the order in which they depend on each other. */
const DEPLOYMENTS = ['prometheus', 'kube-state-metrics', 'prometheus-adapter'] as const

const manifests = join(import.meta.dirname, '..', '..', 'manifests', 'monitoring')
/** The adapter's values on EKS, whose rules the box's adapter uses. */
const adapterValues = join(
  REPOSITORY_ROOT,
  'infrastructure-hcl',
  'platform',
  'releases',
  'values',
  'prometheus-adapter.yaml',
)

/** Debian's program. It is not static, so the image also contains the libraries that it loads. */
const PROMETHEUS = '/usr/bin/prometheus'
const PROMTOOL = '/usr/bin/promtool'
const WEB_INTERFACE = '/usr/share/prometheus/web'

/** The step that an installation has reached, for the user. */
export type OnStep = (step: string) => void

/**
 * Installs monitoring in the running box, or updates it: pushes the images, configures Prometheus by the cluster's
 * ServiceMonitors and PrometheusRules, and waits until all pods are ready. Pods are replaced only if something has
 * changed.
 *
 * @throws ActionableError when a monitor or a rule is invalid, or a pod does not become ready.
 */
export async function installMonitoring(config: BoxConfig, onStep: OnStep): Promise<void> {
  onStep('pushing the images')
  const images: [variable: string, reference: string][] = []
  for (const [name, image] of Object.entries(await monitoringImages(config))) {
    const variable = `${name.toUpperCase().replaceAll('-', '_')}_IMAGE`
    images.push([variable, await pushProgram(config, image)])
  }

  onStep('creating the objects')
  const template = await readFile(join(manifests, 'monitoring.yaml'), 'utf8')
  const adapter = await adapterConfiguration()
  // The monitors in the manifest have to exist before Prometheus is configured by all monitors.
  await apply(config, `${namespaceOf(template)}\n---\n${monitorsOf(template)}`)
  const prometheus = await prometheusConfiguration(config)
  const discovery = await discoveryProgram()
  const manifest = [
    ...images,
    ['PROMETHEUS_CONFIGURATION', digest({ ...prometheus, ...discovery })] as const,
    ['ADAPTER_CONFIGURATION', digest(adapter)] as const,
  ].reduce((text, [variable, value]) => text.replace(variable, value), template)
  // A pod does not start without its ConfigMap.
  const configMaps = [
    configMap('prometheus', prometheus),
    configMap('prometheus-discovery', discovery),
    configMap('prometheus-adapter', adapter),
  ]
  await apply(config, [...configMaps, manifest].join('\n---\n'))

  for (const deployment of DEPLOYMENTS) {
    onStep(`waiting for ${deployment}`)
    await awaitRollout(config, deployment)
  }
}

async function monitoringImages(
  config: BoxConfig,
): Promise<Record<(typeof DEPLOYMENTS)[number] | 'discovery', ProgramImage>> {
  const { stdout } = await execa(PROMETHEUS, ['--version'])
  const [version] = /\d+\.\d+\.\d+/.exec(stdout) ?? []
  if (version === undefined) throw new TypeError(`${PROMETHEUS} --version prints no version: ${stdout}`)
  const built = (tool: 'kube-state-metrics' | 'prometheus-adapter', module: string): ProgramImage => ({
    name: `registry.k8s.io/${tool}/${tool}:${pinnedVersion(tool, module)}`,
    directory: toolDirectory(config, tool),
    program: tool,
  })
  return {
    prometheus: {
      name: `quay.io/prometheus/prometheus:v${version}`,
      directory: '/',
      program: PROMETHEUS.slice(1),
      files: [...(await librariesOf(PROMETHEUS)), WEB_INTERFACE].map((path) => path.slice(1)),
    },
    // This Node, which runs the discovery of targets.
    discovery: {
      name: `${ECR_REGISTRY}/eks-box/node:${process.version}`,
      directory: '/',
      program: process.execPath.slice(1),
      files: (await librariesOf(process.execPath)).map((path) => path.slice(1)),
    },
    'kube-state-metrics': built('kube-state-metrics', 'k8s.io/kube-state-metrics/v2'),
    'prometheus-adapter': built('prometheus-adapter', 'sigs.k8s.io/prometheus-adapter'),
  }
}

/** The files of Prometheus' configuration. */
async function prometheusConfiguration(config: BoxConfig): Promise<Record<string, string>> {
  const monitors = await list<ServiceMonitor>(config, 'servicemonitors')
  const rules = await list<PrometheusRule>(config, 'prometheusrules')
  const base = parse(await readFile(join(manifests, 'prometheus.yaml'), 'utf8'), { merge: true })
  const scrapes = monitors.flatMap(scrapeConfigurations)
  const files = Object.fromEntries(
    Object.entries(ruleFiles(rules)).map(([name, content]) => [name, stringify(content)]),
  )
  await checkRules(config, files)
  return {
    'prometheus.yaml': stringify(
      { ...base, scrape_configs: [...base.scrape_configs, ...scrapes] },
      // Aliases would be correct, but hard to read in the web interface.
      { aliasDuplicateObjects: false },
    ),
    ...files,
  }
}

/** @throws ActionableError when Prometheus would refuse a rule. */
async function checkRules(config: BoxConfig, files: Readonly<Record<string, string>>): Promise<void> {
  const directory = join(boxPaths(config).run, 'monitoring')
  await mkdir(directory, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    const file = join(directory, name)
    await writeFile(file, content)
    const { failed, all } = await execa(PROMTOOL, ['check', 'rules', file], { reject: false, all: true })
    if (!failed) continue
    throw new ActionableError(
      `Prometheus refuses the rules in ${name}: ${all.replaceAll(/\s+/g, ' ')}`,
      'correct the PrometheusRule and deploy it, then run `make monitoring` again',
    )
  }
}

/** The files of the program that finds Prometheus' targets. */
async function discoveryProgram(): Promise<Record<string, string>> {
  const files = ['discovery-server.ts', 'discovery.ts']
  return Object.fromEntries(
    await Promise.all(
      files.map(async (name) => [name, await readFile(join(import.meta.dirname, name), 'utf8')]),
    ),
  )
}

/** The adapter's configuration, from its values on EKS. The chart makes the same. */
async function adapterConfiguration(): Promise<Record<string, string>> {
  const values = parse(await readFile(adapterValues, 'utf8')) as { rules: { custom: unknown } }
  return { 'config.yaml': stringify({ rules: values.rules.custom }) }
}

function configMap(name: string, data: Readonly<Record<string, string>>): string {
  return stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: NAMESPACE }, data })
}

function digest(files: Readonly<Record<string, string>>): string {
  return createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 12)
}

const documentsOf = (manifest: string) => manifest.split(/^---$/m)
const namespaceOf = (manifest: string) =>
  documentsOf(manifest).find((text) => /^kind: Namespace$/m.test(text))
const monitorsOf = (manifest: string) =>
  documentsOf(manifest)
    .filter((text) => /^kind: ServiceMonitor$/m.test(text))
    .join('\n---\n')

/** Runs kubectl, and returns its output. */
async function run(config: BoxConfig, args: readonly string[], input?: string): Promise<string> {
  const kubeconfig = ['--kubeconfig', kubeconfigPath(config)]
  const result = await execa(programPath(config, 'kubectl'), [...kubeconfig, ...args], {
    reject: false,
    ...(input === undefined ? {} : { input }),
  })
  if (!result.failed) return result.stdout
  throw new ActionableError(
    `kubectl ${args[0]} failed: ${result.stderr.trim().split('\n').at(-1)}`,
    'see `make status`; when every component is ready, run `make monitoring` again',
    { cause: result },
  )
}

async function apply(config: BoxConfig, manifest: string): Promise<void> {
  await run(
    config,
    ['apply', '--server-side', '--force-conflicts', '--field-manager=eks-box', '--filename=-'],
    manifest,
  )
}

/** Lists objects of all namespaces. */
async function list<Item>(config: BoxConfig, resource: string): Promise<Item[]> {
  const output = await run(config, [
    'get',
    `${resource}.monitoring.coreos.com`,
    '--all-namespaces',
    '--output=json',
  ])
  return (JSON.parse(output) as { items: Item[] }).items
}

async function awaitRollout(config: BoxConfig, deployment: string): Promise<void> {
  const arguments_ = ['--namespace', NAMESPACE, `deployment/${deployment}`]
  try {
    await run(config, ['rollout', 'status', ...arguments_, `--timeout=${config.startTimeoutSeconds}s`])
  } catch (cause) {
    throw new ActionableError(
      `${deployment} was not ready after ${config.startTimeoutSeconds} s`,
      `see \`kubectl --namespace ${NAMESPACE} describe pods\` and \`kubectl --namespace ${NAMESPACE} logs deployment/${deployment}\`; without a node, run \`make apply\` first`,
      { cause },
    )
  }
}
