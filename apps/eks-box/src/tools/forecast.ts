import { availableParallelism } from 'node:os'
import { TOOLS, type Tool } from 'shared/tools'

/** Seconds of work after which the observed speed outweighs the expected speed. */
const confidence = 60

/** Number of processors on which the weights were measured. */
const measuredOn = 2

/** The tools of one installer, which are built one after another. The lanes run side by side. */
interface Lane {
  tools: readonly Tool[]
  /** Expected pace: seconds on this machine for one measured second. */
  expected: number
  began?: number
  ended?: number
}

/** Estimates the remaining time of a build from the tools' measured times and the speed so far. */
export class Forecast {
  readonly #lanes: readonly Lane[]
  readonly #shares = new Map<Tool, number>()

  constructor(tools: readonly Tool[], processors = availableParallelism()) {
    const lane = (installer: 'go' | 'pip', expected: number): Lane => ({
      tools: tools.filter((tool) => TOOLS[tool].installer === installer),
      expected,
    })
    // Go compiles on all processors, but linking and the largest packages use only one. pip waits for the network.
    this.#lanes = [lane('go', Math.max(measuredOn / processors, 0.4)), lane('pip', 1)]
  }

  /** Records that `share` of a tool, 0 to 1, is done at `now`, in milliseconds. */
  update(tool: Tool, share: number, now = Date.now()): void {
    this.#shares.set(tool, share)
    const lane = this.#lanes.find(({ tools }) => tools.includes(tool))
    if (lane === undefined) return
    lane.began ??= now
    if (lane.tools.every((name) => this.#shares.get(name) === 1)) lane.ended = now
  }

  /** Seconds until the last tool is built. */
  secondsLeft(now = Date.now()): number {
    return Math.max(...this.#lanes.map((lane) => this.#left(lane, now)))
  }

  #left(lane: Lane, now: number): number {
    const total = sum(lane.tools.map((tool) => TOOLS[tool].coldSeconds))
    const done = sum(lane.tools.map((tool) => TOOLS[tool].coldSeconds * (this.#shares.get(tool) ?? 0)))
    const elapsed = lane.began === undefined ? 0 : ((lane.ended ?? now) - lane.began) / 1000
    const pace = (elapsed + confidence * lane.expected) / (done + confidence)
    return (total - done) * pace
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Formats a duration, rounded to the forecast's precision. */
export function formatLeft(seconds: number): string {
  if (seconds < 10) return 'a few seconds left'
  if (seconds < 90) return `about ${Math.round(seconds / 10) * 10} s left`
  return `about ${Math.round(seconds / 60)} min left`
}
