import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { insideBox } from 'eks-box/namespaces'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { builtProgram } from 'shared/tools'
import { INSTANCE_TYPES, providerCatalogue } from './instance-types.ts'
import { readProcesses } from './processes.ts'

/** Karpenter with its provider for kwok, and kwok itself. */
export const CONTROLLER_PROGRAMS = ['karpenter-kwok', 'kwok'] as const
type ControllerProgram = (typeof CONTROLLER_PROGRAMS)[number]

/** Addresses of simulated pods, outside every VPC (RFC 6598), so that no packet rule applies to them. */
const podAddresses = '100.64.0.0/10'

/** Karpenter's processor request in the platform stack: Karpenter derives the number of its workers from it. */
const karpenterMilliCpu = 100

/** The two controllers, running in the box's namespaces. */
export interface Controllers {
  /** The process whose descendants are the control plane of the box. */
  boxPid: number
  /** Rejects when a controller ends before `stop`. */
  failed: Promise<never>
  stop: () => Promise<void>
}

/** Directory of the simulation's files. It disappears with the box. */
export function simulationDirectory(config: BoxConfig): string {
  return join(config.stateDir, 'simulation')
}

/** File with the log of a controller. */
export function logPath(config: BoxConfig, program: ControllerProgram): string {
  return join(simulationDirectory(config), `${program}.log`)
}

/**
 * Refuses to start while another simulation uses the box.
 *
 * @throws ActionableError with the process id of the other one's kwok.
 */
export function requireNoOther(config: BoxConfig, processes = readProcesses()): void {
  const other = processes.find(
    ({ command }) =>
      command.includes(builtProgram(config, 'kwok')) && command.includes(adminKubeconfig(config)),
  )
  if (other === undefined) return
  throw new ActionableError(
    `a simulation is already running in box ${config.name}`,
    `wait until it ends, or stop it with Ctrl-C (its kwok is process ${other.pid})`,
  )
}

/**
 * Starts both controllers.
 *
 * @param onLine receives the lines of Karpenter's log.
 */
export async function startControllers(
  config: BoxConfig,
  onLine: (line: string) => void,
): Promise<Controllers> {
  await mkdir(simulationDirectory(config), { recursive: true })
  const catalogue = join(simulationDirectory(config), 'instance-types.json')
  await writeFile(catalogue, JSON.stringify(providerCatalogue(INSTANCE_TYPES)))
  const kubeconfig = adminKubeconfig(config)
  const karpenter = await start(
    config,
    'karpenter-kwok',
    ['--instance-types-file-path', catalogue],
    {
      KUBECONFIG: kubeconfig,
      SYSTEM_NAMESPACE: 'kube-system',
      DISABLE_LEADER_ELECTION: 'true',
      CPU_REQUESTS: String(karpenterMilliCpu),
      // Free ports: they exist in the box's network namespace only, and nothing reads them.
      METRICS_PORT: '0',
      HEALTH_PROBE_PORT: '0',
    },
    onLine,
  )
  const kwok = await start(config, 'kwok', ['--kubeconfig', kubeconfig, '--cidr', podAddresses], {}, () => {})
  const failed = Promise.race([karpenter.failed, kwok.failed])
  // It may reject while nothing waits for it.
  failed.catch(() => {})
  return {
    boxPid: karpenter.boxPid,
    failed,
    stop: async () => {
      await Promise.all([karpenter.stop(), kwok.stop()])
    },
  }
}

/** The administrator's kubeconfig for programs inside the box. */
function adminKubeconfig(config: BoxConfig): string {
  return join(config.stateDir, 'kubeconfigs', 'admin.conf')
}

async function start(
  config: BoxConfig,
  program: ControllerProgram,
  options: readonly string[],
  variables: Readonly<Record<string, string>>,
  onLine: (line: string) => void,
): Promise<Controllers> {
  // The kernel ends the program when this process ends, for whatever reason.
  const ending = ['setpriv', '--pdeathsig', 'KILL', '--']
  const inside = await insideBox(config, [...ending, builtProgram(config, program), ...options], 'simulate')
  const [file, ...args] = [...ending, ...inside.command]
  const child = spawn(file ?? '', args, {
    env: { ...inside.environment, ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Not in the foreground process group: Ctrl-C must let this process clean up first.
    detached: true,
  })
  const log = createWriteStream(logPath(config, program))
  let lastLine = ''
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      lastLine = line
      log.write(`${line}\n`)
      onLine(line)
    })
  }
  const ended = exitOf(child)
  let isStopping = false
  const failed = ended.then((reason) => {
    if (isStopping) return new Promise<never>(() => {})
    throw new ActionableError(`${program} ended (${reason}): ${lastLine}`, `see ${logPath(config, program)}`)
  })
  failed.catch(() => {})
  return {
    boxPid: inside.boxPid,
    failed,
    stop: async () => {
      isStopping = true
      child.kill('SIGKILL')
      await ended
      log.end()
    },
  }
}

async function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
}
