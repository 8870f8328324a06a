import { setTimeout as sleep } from 'node:timers/promises'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { simulationDefinitionsPath } from 'shared/tools'
import type { SimulatedCluster, State } from './cluster.ts'
import { CONTROLLER_PROGRAMS, type Controllers, logPath, startControllers } from './controllers.ts'
import { day, type Hour } from './curve.ts'
import { INSTANCE_TYPES } from './instance-types.ts'
import { type Batch, type Disruption, KarpenterLog } from './karpenter-log.ts'
import {
  findPrograms,
  measure,
  measureMachine,
  readProcesses,
  type Sample,
  type Usage,
  usageBetween,
} from './processes.ts'
import { formatFleet, formatHour, formatMoment, type Report } from './report.ts'
import { lowestCost, staticGroups } from './static-groups.ts'
import type { Size } from './workload.ts'

/** The processes of the control plane that are measured, beside the two controllers. */
export const CONTROL_PLANE = ['kube-apiserver', 'etcd', 'kube-scheduler', 'kube-controller-manager'] as const

/** The name under which the report has the processor use of the whole machine. */
export const MACHINE = 'whole machine'

/** Without a change of the nodes for this long, Karpenter has finished. It may act 30 s after its previous action. */
const settledMs = 45_000

/** Longest wait for that, in milliseconds. */
const settleLimitMs = 120_000

/** Intervals of samples and of progress lines, in milliseconds. */
const sampleMs = 1_000
const progressMs = 5_000

/** Without any change for this long, the simulation has failed. In milliseconds. */
const stuckMs = 180_000

export interface Simulation {
  config: BoxConfig
  cluster: SimulatedCluster
  size: Size
  /** Length of a simulated hour in seconds. */
  hourSeconds: number
  /** Aborts the simulation. */
  signal: AbortSignal
  print: (line: string) => void
}

/** The name of a phase of the simulation. */
export type Phase = 'scaleUp' | 'settle' | 'day' | 'scaleDown'

/** The price of a fleet per hour in USD. */
export function pricePerHour(nodes: State['nodes']): number {
  return [...nodes].reduce(
    (sum, [type, count]) => sum + count * (INSTANCE_TYPES.find(({ name }) => name === type)?.usd ?? 0),
    0,
  )
}

/**
 * Runs the simulation. The caller removes what it leaves in the cluster.
 *
 * @throws ActionableError when a controller ends, or nothing changes any more before a phase has ended.
 */
export async function simulate(simulation: Simulation): Promise<Report> {
  const { config, cluster, signal } = simulation
  await cluster.prepare(
    simulationDefinitionsPath(config),
    INSTANCE_TYPES.map(({ name }) => name),
  )
  const following = new AbortController()
  const run = new Run(simulation)
  const controllers = await startControllers(config, (line) => run.readLog(line))
  try {
    cluster.follow(following.signal)
    const sampler = setInterval(() => run.sample(controllers), sampleMs)
    const phases = run.phases()
    try {
      return await Promise.race([phases, controllers.failed, aborted(signal)])
    } finally {
      clearInterval(sampler)
      run.end()
      await phases.catch(() => {})
    }
  } finally {
    following.abort()
    await controllers.stop()
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

/** A running simulation and what it has recorded. */
class Run {
  readonly #simulation: Simulation
  readonly #log = new KarpenterLog()
  readonly #decisions: { time: number; decision: Batch | Disruption }[] = []
  readonly #samples = new Map<string, Sample[]>()
  readonly #prices: { time: number; usdPerHour: number }[] = []
  readonly #phases: { name: Phase; from: number; to: number }[] = []
  #pids = new Map<string, number>()
  readonly #over = new AbortController()
  readonly #startedAt = Date.now()

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  readLog(line: string): void {
    const decision = this.#log.read(line)
    if (decision !== undefined) this.#decisions.push({ time: Date.now(), decision })
  }

  sample({ boxPid }: Controllers): void {
    const time = Date.now()
    const names = [...CONTROL_PLANE, ...CONTROLLER_PROGRAMS]
    if (names.some((name) => !this.#pids.has(name))) {
      const processes = readProcesses()
      this.#pids = new Map([
        ...findPrograms(processes, boxPid, CONTROL_PLANE),
        ...findPrograms(processes, process.pid, CONTROLLER_PROGRAMS),
      ])
    }
    for (const [name, pid] of this.#pids) {
      const sample = measure(pid, time)
      // The supervisor has restarted it.
      if (sample === undefined) this.#pids.delete(name)
      else this.#samplesOf(name).push(sample)
    }
    this.#samplesOf(MACHINE).push(measureMachine(time))
    this.#prices.push({ time, usdPerHour: pricePerHour(this.#simulation.cluster.state.nodes) })
  }

  /** Ends `phases`, unless they have ended. */
  end(): void {
    this.#over.abort()
  }

  async phases(): Promise<Report> {
    const { cluster, size, hourSeconds, print } = this.#simulation
    await this.#until('Karpenter accepts the NodePool', () => cluster.isPoolReady())

    print(`\n0 -> ${size.pods} pods`)
    const up = await this.#phase('scaleUp', () => this.#scaleUp())
    const fleet = cluster.state.nodes
    print(`all pods run after ${up.runningSeconds.toFixed(1)} s on ${formatFleet(fleet)}`)

    print('\nuntil Karpenter has consolidated the nodes')
    const settled = await this.#phase('settle', () => this.#settle())
    print(`${formatFleet(settled.nodes)}${settled.isSettled ? '' : ', still changing'}`)

    print(`\na day with a peak of ${size.pods} pods, an hour in ${hourSeconds} s`)
    const hours = await this.#phase('day', () => this.#day())

    print(`\n${cluster.state.pods} -> 0 pods`)
    const down = await this.#phase('scaleDown', () => this.#scaleDown())
    print(`the last node is gone after ${down.nodesSeconds.toFixed(1)} s`)

    const curve = day(size.pods)
    return {
      startedAt: new Date(this.#startedAt).toISOString(),
      seconds: (Date.now() - this.#startedAt) / 1000,
      size,
      hourSeconds,
      scaleUp: {
        ...up,
        batches: this.#decisionsIn('scaleUp').filter((decision) => decision.kind === 'batch'),
        nodes: sum([...fleet.values()]),
        fleet: Object.fromEntries(fleet),
        usdPerHour: pricePerHour(fleet),
      },
      settled: {
        isSettled: settled.isSettled,
        nodes: sum([...settled.nodes.values()]),
        fleet: Object.fromEntries(settled.nodes),
        usdPerHour: pricePerHour(settled.nodes),
      },
      day: {
        hours,
        disruptions: this.#decisionsIn('day').filter((decision) => decision.kind === 'disruption'),
        usd: sum(hours.map(({ usdPerHour }) => usdPerHour)),
        settledUsd: sum(curve.map(({ pods }) => (pods / size.pods) * pricePerHour(settled.nodes))),
        lowestUsd: lowestCost(curve, size),
        static: staticGroups(curve, size),
      },
      scaleDown: down,
      usage: this.#usage(),
    }
  }

  async #scaleUp() {
    const { cluster, size } = this.#simulation
    const start = Date.now()
    await cluster.scale(size.pods, size)
    const seconds: { created?: number; bound?: number } = {}
    await this.#until('all pods run', () => {
      const { pods, bound, running } = cluster.state
      if (pods >= size.pods) seconds.created ??= (Date.now() - start) / 1000
      if (bound >= size.pods) seconds.bound ??= (Date.now() - start) / 1000
      return running >= size.pods
    })
    const runningSeconds = (Date.now() - start) / 1000
    return {
      createdSeconds: seconds.created ?? runningSeconds,
      boundSeconds: seconds.bound ?? runningSeconds,
      runningSeconds,
    }
  }

  /** Waits until the nodes no longer change. */
  async #settle(): Promise<{ nodes: State['nodes']; isSettled: boolean }> {
    const { cluster } = this.#simulation
    const start = Date.now()
    let changed = start
    let last = ''
    await this.#until('the nodes settle', () => {
      const fleet = formatFleet(cluster.state.nodes)
      if (fleet !== last) changed = Date.now()
      last = fleet
      return Date.now() - changed > settledMs || Date.now() - start > settleLimitMs
    })
    return { nodes: cluster.state.nodes, isSettled: Date.now() - changed > settledMs }
  }

  async #day() {
    const { size, hourSeconds, print } = this.#simulation
    const rows: Report['day']['hours'] = []
    const start = Date.now()
    for (const [index, hour] of day(size.pods).entries()) {
      const row = await this.#hour(hour, start + index * hourSeconds * 1000)
      rows.push(row)
      print(formatHour(row))
    }
    return rows
  }

  /** Scales to the pods of an hour and waits for its end. */
  async #hour({ hour, pods }: Hour, from: number): Promise<Report['day']['hours'][number]> {
    const { cluster, size, hourSeconds } = this.#simulation
    const to = from + hourSeconds * 1000
    await cluster.scale(pods, size)
    let readySeconds: number | null = null
    while (Date.now() < to) {
      const { running } = cluster.state
      if (readySeconds === null && running >= pods) readySeconds = (Date.now() - from) / 1000
      await this.#pause(Math.min(200, Math.max(1, to - Date.now())))
    }
    const prices = this.#prices.filter(({ time }) => time >= from && time < to)
    const { running, nodes } = cluster.state
    return {
      hour,
      pods,
      running,
      readySeconds,
      nodes: sum([...nodes.values()]),
      usdPerHour: sum(prices.map(({ usdPerHour }) => usdPerHour)) / Math.max(1, prices.length),
    }
  }

  async #scaleDown() {
    const { cluster, size } = this.#simulation
    const start = Date.now()
    await cluster.scale(0, size)
    let podsSeconds: number | undefined
    await this.#until('all nodes are gone', () => {
      if (cluster.state.pods === 0) podsSeconds ??= (Date.now() - start) / 1000
      return cluster.state.pods === 0 && cluster.state.nodes.size === 0
    })
    const nodesSeconds = (Date.now() - start) / 1000
    return { podsSeconds: podsSeconds ?? nodesSeconds, nodesSeconds }
  }

  async #phase<T>(name: Phase, steps: () => Promise<T>): Promise<T> {
    const from = Date.now()
    const result = await steps()
    this.#phases.push({ name, from, to: Date.now() })
    return result
  }

  /**
   * Waits until `condition` holds, and prints the progress meanwhile.
   *
   * @throws ActionableError when nothing has changed for `stuckMs`.
   */
  async #until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const { config, cluster, print } = this.#simulation
    const start = Date.now()
    let printed = start
    let changed = start
    let last = ''
    while (!(await condition())) {
      await this.#pause(200)
      const now = Date.now()
      const moment = formatMoment(cluster.state, pricePerHour(cluster.state.nodes))
      if (moment !== last) changed = now
      if (moment !== last && now - printed >= progressMs) {
        print(`${String(Math.round((now - start) / 1000)).padStart(5)}s  ${moment}`)
        printed = now
      }
      last = moment
      if (now - changed > stuckMs) {
        throw new ActionableError(
          `the simulation waited until ${what}, but nothing has changed for ${stuckMs / 1000} s: ${moment}`,
          `see ${logPath(config, 'karpenter-kwok')}, or simulate fewer pods`,
        )
      }
    }
  }

  /** @throws AbortError after `end`. */
  async #pause(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.#over.signal })
  }

  #samplesOf(program: string): Sample[] {
    const known = this.#samples.get(program)
    if (known !== undefined) return known
    const samples: Sample[] = []
    this.#samples.set(program, samples)
    return samples
  }

  #decisionsIn(phase: Phase): ((Batch | Disruption) & { second: number })[] {
    const { from = 0, to = 0 } = this.#phases.find(({ name }) => name === phase) ?? {}
    return this.#decisions
      .filter(({ time }) => time >= from && time <= to)
      .map(({ time, decision }) => ({ ...decision, second: (time - from) / 1000 }))
  }

  #usage(): Report['usage'] {
    return Object.fromEntries(
      this.#phases.map(({ name, from, to }) => [
        name,
        Object.fromEntries(
          [...this.#samples].flatMap(([program, samples]): [string, Usage][] => {
            const usage = usageBetween(samples, from, to)
            return usage === undefined ? [] : [[program, usage]]
          }),
        ),
      ]),
    )
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
