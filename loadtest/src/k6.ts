import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { ActionableError } from 'shared/errors'

/** A measurement by k6. Times are milliseconds since the epoch. */
export type Point =
  | { kind: 'request'; time: number; failure: string | null }
  | { kind: 'latency'; time: number; ms: number }
  | { kind: 'dropped'; time: number }

// k6 writes a dozen lines per request, so lines of other metrics are dropped before parsing.
const relevant = /^\{"metric":"(?:http_req_failed|iteration_duration|dropped_iterations)","type":"Point"/

interface PointLine {
  metric: string
  data: { time: string; value: number; tags: Record<string, string> }
}

/** Parses a line of k6's JSON output; undefined for lines that do not measure the load. */
export function parsePoint(line: string): Point | undefined {
  if (!relevant.test(line)) return undefined
  const { metric, data } = JSON.parse(line) as PointLine
  const { scenario, status, error } = data.tags
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
    default:
      return { kind: 'dropped', time }
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

/**
 * Runs a scenario to its end and reports its points as they are measured. The caller judges them: k6's thresholds are
 * off.
 *
 * @throws ActionableError when k6 cannot be started or fails.
 */
export async function runK6({ program, script, environment, signal, onPoint }: K6Run): Promise<void> {
  if (signal.aborted) return
  const k6 = spawn(
    program,
    [
      ...['run', '--quiet', '--no-usage-report', '--no-thresholds', '--summary-mode=disabled'],
      // Without the REST API, whose fixed port would conflict with another run.
      ...['--address', '', '--out', 'json=-', script],
    ],
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
  createInterface({ input: k6.stdout }).on('line', (line) => {
    const point = parsePoint(line)
    if (point !== undefined) onPoint(point)
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
    signal.removeEventListener('abort', stop)
    process.off('exit', killOnExit)
  }
}

/** The message of a line that k6 logged as an error. */
function errorMessage(line: string): string | undefined {
  const quoted = /level=error msg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1]
  return quoted === undefined ? undefined : (JSON.parse(quoted) as string).split('\n')[0]
}
