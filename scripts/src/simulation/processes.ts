import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

/** A process of this machine. */
export interface ProcessEntry {
  pid: number
  parent: number
  /** The arguments of its command line, including the program. */
  command: readonly string[]
}

/** Reads all processes. A process that ends meanwhile is left out. */
export function readProcesses(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').slice(0, -1)
        const [, parent] = statFields(readFileSync(`/proc/${name}/stat`, 'utf8'))
        return [{ pid: Number(name), parent: Number(parent), command }]
      } catch {
        return []
      }
    })
}

/** The process ids of the descendants of `root` whose program is one of `programs`, by the program's name. */
export function findPrograms(
  processes: readonly ProcessEntry[],
  root: number,
  programs: readonly string[],
): Map<string, number> {
  const children = Map.groupBy(processes, ({ parent }) => parent)
  const found = new Map<string, number>()
  const visit = (pid: number) => {
    for (const child of children.get(pid) ?? []) {
      const program = basename(child.command[0] ?? '')
      if (programs.includes(program)) found.set(program, child.pid)
      visit(child.pid)
    }
  }
  visit(root)
  return found
}

/** The fields of /proc/PID/stat after the command name, which may contain spaces: state, parent and so on. */
function statFields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** What a process has used until a moment. */
export interface Sample {
  /** In milliseconds. */
  time: number
  cpuSeconds: number
  memoryMiB: number
}

/** The kernel reports processor time to programs in hundredths of a second on every architecture. */
const ticksPerSecond = 100

/** Measures a process; undefined when it has ended. */
export function measure(pid: number, time = Date.now()): Sample | undefined {
  try {
    const fields = statFields(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return {
      time,
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      memoryMiB: Number(resident ?? 0) / 1024,
    }
  } catch {
    return undefined
  }
}

/** Measures all processes of the machine together: the processor time that was not idle. */
export function measureMachine(time = Date.now()): Sample {
  const [first = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  // user, nice, system, idle, iowait, irq, softirq, steal; the rest is contained in user.
  const ticks = first.trim().split(/\s+/).slice(1, 9).map(Number)
  const busy = ticks.filter((_, index) => index !== 3 && index !== 4).reduce((sum, count) => sum + count, 0)
  return { time, cpuSeconds: busy / ticksPerSecond, memoryMiB: 0 }
}

/** What a process used during a phase. */
export interface Usage {
  cpuSeconds: number
  /** Processors in use, on average and in the busiest `PEAK_WINDOW_MS`. */
  averageCores: number
  peakCores: number
  peakMemoryMiB: number
}

/** Shorter peaks of processor use are averaged. In milliseconds. */
export const PEAK_WINDOW_MS = 5_000

/** Summarises the samples of a process in the interval [from, to], in milliseconds. */
export function usageBetween(samples: readonly Sample[], from: number, to: number): Usage | undefined {
  const phase = samples.filter(({ time }) => time >= from && time <= to)
  const first = phase[0]
  const last = phase.at(-1)
  if (first === undefined || last === undefined) return undefined
  let peakCores = 0
  let start = 0
  for (const sample of phase) {
    while ((phase[start + 1]?.time ?? Number.POSITIVE_INFINITY) <= sample.time - PEAK_WINDOW_MS) start++
    peakCores = Math.max(peakCores, cores(phase[start] ?? sample, sample))
  }
  return {
    cpuSeconds: last.cpuSeconds - first.cpuSeconds,
    averageCores: cores(first, last),
    // A shorter phase has no window of this length.
    peakCores: last.time - first.time < PEAK_WINDOW_MS ? cores(first, last) : peakCores,
    peakMemoryMiB: Math.max(...phase.map(({ memoryMiB }) => memoryMiB)),
  }
}

function cores(from: Sample, to: Sample): number {
  return to.time === from.time ? 0 : ((to.cpuSeconds - from.cpuSeconds) * 1000) / (to.time - from.time)
}
