import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BoxConfig } from './box.ts'
import { REPOSITORY_ROOT } from './environment.ts'
import { ActionableError } from './errors.ts'

interface ToolModule {
  /** The programs that the module installs, by their final names. */
  programs: readonly string[]
  /** Go installs it from modules, or pip from wheels into a separate Python environment. */
  installer: 'go' | 'pip'
  /**
   * The box does not start without its own tools. `make up` also builds those of its later steps; a step of `make test`
   * builds those that it runs; `make simulate` and `make monitoring` build their own.
   */
  neededBy: 'box' | 'up' | 'test' | 'simulation' | 'monitoring'
  /** Seconds that a cold build took on 2 cores, in the order of this list and with downloads. */
  coldSeconds: number
  /** Packages that this build compiled, without those that an earlier tool had compiled. */
  packages?: number
}

/** The tool modules below `tools/`, in build order. */
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
    installer: 'go',
    neededBy: 'box',
    coldSeconds: 415,
    packages: 2766,
  },
  'network-policies': {
    programs: ['network-policies'],
    installer: 'go',
    neededBy: 'box',
    coldSeconds: 5,
    packages: 20,
  },
  'metrics-server': {
    programs: ['metrics-server'],
    installer: 'go',
    neededBy: 'box',
    coldSeconds: 10,
    packages: 23,
  },
  coredns: { programs: ['coredns'], installer: 'go', neededBy: 'box', coldSeconds: 10, packages: 96 },
  etcd: { programs: ['etcd'], installer: 'go', neededBy: 'box', coldSeconds: 30, packages: 329 },
  registry: { programs: ['registry'], installer: 'go', neededBy: 'box', coldSeconds: 20, packages: 167 },
  'terraform-config-inspect': {
    programs: ['terraform-config-inspect'],
    installer: 'go',
    neededBy: 'box',
    coldSeconds: 5,
    packages: 37,
  },
  karpenter: { programs: ['karpenter'], installer: 'go', neededBy: 'up', coldSeconds: 115, packages: 309 },
  'load-balancer-controller': {
    programs: ['aws-load-balancer-controller'],
    installer: 'go',
    neededBy: 'up',
    coldSeconds: 40,
    packages: 126,
  },
  'external-secrets': {
    programs: ['external-secrets'],
    installer: 'go',
    neededBy: 'up',
    coldSeconds: 30,
    packages: 82,
  },
  helm: { programs: ['helm'], installer: 'go', neededBy: 'up', coldSeconds: 20, packages: 233 },
  k6: { programs: ['k6'], installer: 'go', neededBy: 'up', coldSeconds: 55, packages: 301 },
  aws: { programs: ['aws', 'moto_server'], installer: 'pip', neededBy: 'box', coldSeconds: 90 },
  pause: { programs: ['pause'], installer: 'go', neededBy: 'box', coldSeconds: 1, packages: 1 },
  tflint: { programs: ['tflint'], installer: 'go', neededBy: 'test', coldSeconds: 160, packages: 600 },
  compose: {
    programs: ['docker-compose'],
    installer: 'go',
    neededBy: 'test',
    coldSeconds: 30,
    packages: 430,
  },
  actionlint: { programs: ['actionlint'], installer: 'go', neededBy: 'test', coldSeconds: 5, packages: 15 },
  kubeconform: { programs: ['kubeconform'], installer: 'go', neededBy: 'test', coldSeconds: 5, packages: 29 },
  checkov: { programs: ['checkov'], installer: 'pip', neededBy: 'test', coldSeconds: 60 },
  schemathesis: { programs: ['schemathesis'], installer: 'pip', neededBy: 'test', coldSeconds: 20 },
  zizmor: { programs: ['zizmor'], installer: 'pip', neededBy: 'test', coldSeconds: 5 },
  'karpenter-kwok': {
    programs: ['karpenter-kwok'],
    installer: 'go',
    neededBy: 'simulation',
    coldSeconds: 5,
    packages: 8,
  },
  kwok: { programs: ['kwok'], installer: 'go', neededBy: 'simulation', coldSeconds: 10, packages: 58 },
  'kube-state-metrics': {
    programs: ['kube-state-metrics'],
    installer: 'go',
    neededBy: 'monitoring',
    coldSeconds: 20,
    packages: 75,
  },
  'prometheus-adapter': {
    programs: ['prometheus-adapter'],
    installer: 'go',
    neededBy: 'monitoring',
    coldSeconds: 10,
    packages: 23,
  },
} as const satisfies Record<string, ToolModule>

export type Tool = keyof typeof TOOLS
export type Program = (typeof TOOLS)[Tool]['programs'][number]

export const TOOL_NAMES = Object.keys(TOOLS) as Tool[]

/** The tools that run the box and apply its cluster stack. */
export const BOX_TOOLS = TOOL_NAMES.filter((tool) => TOOLS[tool].neededBy === 'box')

/** The tools that `make up` needs: to run the box, apply its infrastructure, deploy to it and send load. */
export const UP_TOOLS = TOOL_NAMES.filter((tool) => ['box', 'up'].includes(TOOLS[tool].neededBy))

/** The tools that `make simulate` needs in addition to those of the box. */
export const SIMULATION_TOOLS = TOOL_NAMES.filter((tool) => TOOLS[tool].neededBy === 'simulation')

/** The tools that `make monitoring` needs in addition to those of the box. */
export const MONITORING_TOOLS = TOOL_NAMES.filter((tool) => TOOLS[tool].neededBy === 'monitoring')

/** The number of packages that a cold build of `tool` compiles; 0 if Go does not build it. */
export function packagesExpected(tool: Tool): number {
  const module: ToolModule = TOOLS[tool]
  return module.packages ?? 0
}

/** The directory of a tool module. Its go.mod and go.sum, or its requirements.txt, pin the versions. */
export function toolModule(tool: Tool): string {
  return join(REPOSITORY_ROOT, 'apps', 'eks-box', 'tools', tool)
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

/** The box's version of Kubernetes, such as `v1.35.4`. */
export function kubernetesVersion(): string {
  return pinnedVersion('kubernetes', 'k8s.io/kubernetes')
}

/** The directory of a tool's installed programs. Its name changes with the pin. */
export function toolDirectory(config: BoxConfig, tool: Tool): string {
  const pin = createHash('sha256')
  for (const file of ['go.mod', 'go.sum', 'main.go', 'requirements.txt']) {
    const path = join(toolModule(tool), file)
    if (existsSync(path)) pin.update(readFileSync(path))
  }
  return join(config.cacheDir, 'tools', `${tool}-${pin.digest('hex').slice(0, 12)}`)
}

/** The tool module that builds `program`. */
function toolOf(program: Program): Tool {
  const tool = TOOL_NAMES.find((name) => (TOOLS[name].programs as readonly string[]).includes(program))
  if (tool === undefined) throw new TypeError(`no tool module builds ${program}`)
  return tool
}

/** The absolute path of a pinned program, whether or not it is built. */
export function programPath(config: BoxConfig, program: Program): string {
  return join(toolDirectory(config, toolOf(program)), program)
}

/**
 * The absolute path of a pinned program that is about to run.
 *
 * @throws ActionableError when it is not built at its current pin.
 */
export function builtProgram(config: BoxConfig, program: Program): string {
  const path = programPath(config, program)
  if (existsSync(path)) return path
  throw new ActionableError(
    `${program} is not built at the version that this checkout pins`,
    `build it with \`make tools TOOL=${toolOf(program)}\``,
  )
}

/** The Python of the environment with the AWS CLI, boto3 and the AWS emulator. */
export function awsPythonPath(config: BoxConfig): string {
  return join(toolDirectory(config, 'aws'), 'venv', 'bin', 'python3')
}

/** The OpenAPI document of Kubernetes, in the same directory as its programs. */
export function openApiPath(config: BoxConfig): string {
  return join(toolDirectory(config, 'kubernetes'), 'swagger.json')
}

/** The directory with the custom resource definitions of the simulation's Karpenter. */
export function simulationDefinitionsPath(config: BoxConfig): string {
  return join(toolDirectory(config, 'karpenter-kwok'), 'definitions')
}

/** The tools that are not built at their current pin. */
export function missingTools(config: BoxConfig, tools: readonly Tool[] = TOOL_NAMES): Tool[] {
  return tools.filter((tool) => !existsSync(toolDirectory(config, tool)))
}

/** The controllers that run as pods. The directory of such a tool also contains its charts and its image. */
export const CONTROLLERS = [
  'karpenter',
  'load-balancer-controller',
  'external-secrets',
] as const satisfies Tool[]
export type Controller = (typeof CONTROLLERS)[number]

/** The directory with the charts of a controller's release, such as `karpenter-1.14.1.tgz`. */
export function chartsDirectory(config: BoxConfig, controller: Controller): string {
  return join(toolDirectory(config, controller), 'charts')
}

/** The OCI image layout with a controller's image, under the name that its chart uses. */
export function imageLayout(config: BoxConfig, controller: Controller): string {
  return join(toolDirectory(config, controller), 'image')
}

/** The name of the image of every pod's sandbox. containerd imports it from a file and never pulls it. */
export const PAUSE_IMAGE = 'eks-box.local/pause:1'

/** The archive with `PAUSE_IMAGE`. */
export function pauseArchivePath(config: BoxConfig): string {
  return join(toolDirectory(config, 'pause'), 'pause.tar')
}
