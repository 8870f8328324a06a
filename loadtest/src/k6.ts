import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ActionableError } from 'shared/errors'
import type { Generator, Point } from './generator.ts'

/**
 * The lines of k6's output that measure the load, as an extended regular expression: awk understands it too. k6 writes a
 * dozen lines per request, so all others, and those of checks that passed, are dropped before parsing.
 */
export const RELEVANT_LINE =
  '^[{]"metric":"((http_req_failed|iteration_duration|dropped_iterations)"|checks","type":"Point","data":[{]"time":"[^"]*","value":0,)'
const relevant = new RegExp(RELEVANT_LINE)

/** k6's arguments for every load, before the scenario file. The recorder judges the points: k6's thresholds are off. */
export const K6_ARGUMENTS = [
  ...['run', '--quiet', '--no-usage-report', '--no-thresholds', '--summary-mode=disabled'],
  // Without the REST API, whose fixed port would conflict with another run.
  ...['--address=', '--out=json=-'],
]

interface PointLine {
  metric: string
  data: { time: string; value: number; tags: Record<string, string> }
}

/** Parses a line of k6's JSON output; undefined for lines that do not measure the load. */
export function parsePoint(line: string): Point | undefined {
  if (!relevant.test(line)) return undefined
  const { metric, data } = JSON.parse(line) as PointLine
  const { scenario, status, error, check } = data.tags
  // The probe in setup() runs outside the scenario and is not part of the load.
  if (scenario === undefined) return undefined
  const time = Date.parse(data.time)
  switch (metric) {
    case 'http_req_failed': {
      const cause = status === '0' ? (error ?? 'no answer') : `HTTP ${status}`
      return { kind: 'request', time, failure: data.value === 1 ? cause : null }
    }
    case 'iteration_duration':
      return { kind: 'latency', time, ms: data.value }
    case 'checks':
      return { kind: 'failed check', time, name: String(check) }
    default:
      return { kind: 'dropped', time }
  }
}

/** The scenario file of every profile. */
const scenarioFile = join(import.meta.dirname, 'scenarios', 'profile.ts')

/** k6 on this machine. `environment` selects its load. */
export function localGenerator(program: string, baseUrl: string, environment: NodeJS.ProcessEnv): Generator {
  return {
    baseUrl,
    pods: null,
    prepare: async () => {},
    send: (signal, onPoint) => runK6({ program, script: scenarioFile, environment, signal, onPoint }),
    close: async () => {},
  }
}

export interface K6Run {
  /** Paths of k6 and of the scenario file. */
  program: string
  script: string
  environment: NodeJS.ProcessEnv
  /** Aborts the load. All points measured until then are reported first. */
  signal: AbortSignal
  onPoint: (point: Point) => void
}

/** How often the CPU time of k6 is read, in milliseconds. */
const cpuIntervalMs = 1_000

/**
 * Runs a scenario to its end and reports its points as they are measured.
 *
 * @returns the CPU time of k6 under load as a share of the time of all cores; null if the system does not report it.
 * @throws ActionableError when k6 cannot be started or fails.
 */
export async function runK6({
  program,
  script,
  environment,
  signal,
  onPoint,
}: K6Run): Promise<number | null> {
  if (signal.aborted) return null
  const k6 = spawn(
    program,
    [...K6_ARGUMENTS, script],
    // In a separate process group: otherwise k6 gets Ctrl-C twice, from the terminal and from us, and a second
    // SIGINT makes it exit at once, without the last points.
    { env: environment, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  )
  const stop = () => k6.kill('SIGINT')
  const killOnExit = () => k6.kill('SIGKILL')
  signal.addEventListener('abort', stop)
  process.once('exit', killOnExit)

  let lastError = 'it logged no error'
  createInterface({ input: k6.stderr }).on('line', (line) => {
    lastError = errorMessage(line) ?? lastError
  })
  const usage = new CpuUsage(k6.pid)
  const measuring = setInterval(() => usage.measure(), cpuIntervalMs)
  createInterface({ input: k6.stdout }).on('line', (line) => {
    const point = parsePoint(line)
    if (point === undefined) return
    // Compiling the scenario and starting the VUs is not part of the load.
    usage.start()
    onPoint(point)
  })

  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      k6.once('error', reject)
      k6.once('close', resolve)
    })
    if (code !== 0 && !signal.aborted) {
      throw new ActionableError(
        `k6 stopped with ${code === null ? `signal ${k6.signalCode}` : `exit code ${code}`}: ${lastError}`,
        `fix what it reports; \`k6 run ${script}\` shows its whole output`,
      )
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ActionableError(
        `k6 is not built: ${program} does not exist`,
        'build it with `make tools TOOL=k6`',
        { cause: error },
      )
    }
    throw error
  } finally {
    clearInterval(measuring)
    signal.removeEventListener('abort', stop)
    process.off('exit', killOnExit)
  }
  return usage.share
}

/** The message of a line that k6 logged as an error. */
export function errorMessage(line: string): string | undefined {
  const quoted = /level=error msg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1]
  return quoted === undefined ? undefined : (JSON.parse(quoted) as string).split('\n')[0]
}

/** The unit of CPU times in /proc, which is the same on all architectures of Linux. In milliseconds. */
export const tickMs = 10

/** Measures the CPU time of a process, as long as it runs. */
export class CpuUsage {
  readonly #file: string
  #first: { time: number; cpuMs: number } | undefined
  /** Share of the time of all cores from the start to the last measurement; null without two measurements. */
  share: number | null = null

  constructor(pid: number | undefined) {
    this.#file = `/proc/${pid}/stat`
  }

  /** Takes the first measurement. Further calls have no effect. */
  start(): void {
    this.#first ??= this.#read()
  }

  measure(): void {
    const now = this.#read()
    if (this.#first === undefined || now === undefined || now.time <= this.#first.time) return
    this.share = (now.cpuMs - this.#first.cpuMs) / ((now.time - this.#first.time) * availableParallelism())
  }

  #read(): { time: number; cpuMs: number } | undefined {
    try {
      const text = readFileSync(this.#file, 'utf8')
      // The program's name, in parentheses, may contain spaces. utime and stime are the 14th and 15th field.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      return { time: performance.now(), cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs }
    } catch {
      // The process has ended, or the system has no /proc.
      return undefined
    }
  }
}
