import type { Point } from './generator.ts'
import { errorMessage, parsePoint, tickMs } from './k6.ts'

/**
 * The output of a pod of the Job, as its log shows it: numbered lines with what k6 measures, readings of its CPU time, and
 * its errors. The log may be read again from its beginning at any time: each numbered line counts once.
 */
export class PodOutput {
  #lines = 0
  #hasPoints = false
  #firstCpu: CpuReading | undefined
  #lastReadingMs = 0
  #readings = 0
  /** When the pod started its load by its own clock, in seconds since the epoch. */
  startedAt: number | undefined
  /** The exit code of k6. */
  exitCode: number | undefined
  lastError = 'it logged no error'
  /** CPU time of k6 from the first point to the last reading, as a share of one CPU; null without two readings. */
  cpuShare: number | null = null

  /** Grows with every line that was not read before. */
  get progress(): number {
    return this.#lines + this.#readings
  }

  /**
   * Reads a line of the log.
   *
   * @returns the point that it contains.
   * @throws LostLines when numbered lines are missing before it.
   */
  read(line: string): Point | undefined {
    const [, number, content] = /^(\d+) (.*)$/.exec(line) ?? []
    if (content === undefined) {
      this.#readUnnumbered(line)
      return undefined
    }
    if (Number(number) <= this.#lines) return undefined
    if (Number(number) > this.#lines + 1) throw new LostLines(Number(number) - this.#lines - 1)
    this.#lines++
    const [, word, value] = /^(start|exit) (\d+)$/.exec(content) ?? []
    if (word === 'start') this.startedAt = Number(value)
    if (word === 'exit') this.exitCode = Number(value)
    const point = parsePoint(content)
    this.#hasPoints ||= point !== undefined
    return point
  }

  #readUnnumbered(line: string): void {
    const [, uptime, user, system] = /^cpu (\S+) (\d+) (\d+)$/.exec(line) ?? []
    if (uptime === undefined) {
      this.lastError = errorMessage(line) ?? this.lastError
      return
    }
    const reading = { ms: Number(uptime) * 1_000, cpuMs: (Number(user) + Number(system)) * tickMs }
    if (reading.ms <= this.#lastReadingMs) return
    this.#lastReadingMs = reading.ms
    this.#readings++
    // Compiling the scenario and starting the VUs is not part of the load.
    if (!this.#hasPoints) return
    this.#firstCpu ??= reading
    const ms = reading.ms - this.#firstCpu.ms
    if (ms > 0) this.cpuShare = (reading.cpuMs - this.#firstCpu.cpuMs) / ms
  }
}

interface CpuReading {
  /** Time since the start of the machine. */
  ms: number
  cpuMs: number
}

/** Lines that the kubelet has removed from the log before they were read. */
export class LostLines extends Error {
  readonly count: number

  constructor(count: number) {
    super(`${count} lines are missing`)
    this.name = 'LostLines'
    this.count = count
  }
}
