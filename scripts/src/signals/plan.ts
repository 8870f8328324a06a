/** What `make compare-signals` compares: the autoscaler's signals, the loads, and the order of the rounds. */
import { PROFILES, SIZES } from 'loadtest/profiles'

/** The metrics that the autoscaler follows; with several, the one that wants the most pods decides. */
export const SIGNALS = ['cpu', 'elu', 'requests', 'cpu+elu', 'cpu+requests'] as const
export type Signal = (typeof SIGNALS)[number]

/** How the release is deployed for the comparison, apart from the signal. */
export interface Setting {
  /** Target of `elu` in percent of the event loop's time. */
  eluPercent: number
  /** Target of `requests` in requests per second and pod, including probes and health checks. */
  requestsPerSecond: number
  /** CPU limit of a ready pod, as a Kubernetes quantity. While a pod starts, it has the chart's. */
  cpuLimit: string
}

/**
 * At 44 requests/s of 8 ms, all targets should want about 7 pods: otherwise the comparison would be about the targets and
 * not about the signals. In the README's run, a request took 10 to 11 ms of CPU in all. The rest is an estimate, which the
 * column `most replicas` verifies: 9 to 10 ms of them on the event loop, and for an idle pod 1 % of event loop utilisation
 * and a request per second from probes and health checks.
 *
 * The CPU limit makes two pods too few: they get 440m, and 44 requests/s take 440m to 480m. At the chart's limit of 1000m,
 * two pods may use the two cores of a small machine, so more pods would not carry more. The kernel divides the limit into
 * 22 ms for each 100 ms, so at the target, where three requests seldom share 100 ms, it rarely throttles a pod. A pod that
 * starts keeps the chart's limit: at 220m it would start in 10 s instead of 1 to 3 s, which no deployment with the chart's
 * limit does.
 */
export const DEFAULT_SETTING: Readonly<Setting> = { eluPercent: 9, requestsPerSecond: 7, cpuLimit: '220m' }

/** The chart's default target, in percent of the CPU request. */
export const CPU_PERCENT = 70

/**
 * The values of the release in a round. They set every target, so that a round does not depend on the one before. The
 * release scales down sooner than by the chart's defaults, which would add five minutes to each round.
 */
export function releaseValues(signal: Signal, { eluPercent, requestsPerSecond }: Setting) {
  const metrics = signal.split('+')
  return {
    autoscaling: {
      targetCPUUtilizationPercentage: metrics.includes('cpu') ? CPU_PERCENT : 0,
      targetEventLoopUtilizationPercentage: metrics.includes('elu') ? eluPercent : 0,
      targetRequestsPerSecond: metrics.includes('requests') ? requestsPerSecond : 0,
      behavior: {
        scaleDown: {
          stabilizationWindowSeconds: 30,
          policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }],
        },
      },
    },
    // Restoring the release replaces its pods, whose limits were changed in place.
    podAnnotations: { 'compare-signals': 'resized' },
  }
}

/** A load test with its variables. */
interface LoadDefinition {
  profile: 'spike' | 'scaling' | 'ramp'
  variables: Readonly<Record<string, string>>
  /** When the load begins to rise, in seconds after the first request. */
  risesAt: number
}

/** All loads rise to 44 requests/s of 8 ms CPU, about as much as the box carries beside itself and k6 on two cores. */
export const LOADS = {
  /** From 11 to 44 requests/s at once, for two minutes. */
  spike: {
    profile: 'spike',
    variables: { TRAFFIC: 'work', PEAK_RATE: '44', RAMP: '60s', HOLD: '120s' },
    risesAt: 60,
  },
  /** From 6 to 44 requests/s in four minutes. */
  climb: {
    profile: 'scaling',
    variables: { PEAK_RATE: '44', RAMP: '4m', HOLD: '60s' },
    risesAt: 60,
  },
  /** From 1 to 44 requests/s in 140 s. */
  ramp: {
    profile: 'ramp',
    variables: { TRAFFIC: 'work', PEAK_RATE: '44' },
    risesAt: 30,
  },
} as const satisfies Record<string, LoadDefinition>
export type LoadName = keyof typeof LOADS

/** A load on a release that scales by a signal. */
export interface Round {
  load: LoadName
  signal: Signal
  /** Counts from 1. */
  run: number
}

/**
 * Puts the rounds in order: all signals under a load, one after the other, before any of them repeats, so that a machine
 * that is slow for a while affects all of them.
 */
export function planRounds(signals: readonly Signal[], loads: readonly LoadName[], runs: number): Round[] {
  return Array.from({ length: runs }, (_, index) => index + 1).flatMap((run) =>
    loads.flatMap((load) => signals.map((signal) => ({ load, signal, run }))),
  )
}

/** Seconds of a round besides its load: Helm, the first metrics, and the scale-down after the load. */
const OVERHEAD_SECONDS = 75

/** Estimates how long rounds take, by the rounds that have ended. */
export class RemainingTime {
  readonly #measured = new Map<LoadName, number[]>()

  /** Adds a round that took `seconds`. */
  add(load: LoadName, seconds: number): void {
    this.#measured.set(load, [...(this.#measured.get(load) ?? []), seconds])
  }

  /** Whole minutes that these rounds will take. */
  minutes(rounds: readonly Round[]): number {
    return Math.ceil(rounds.reduce((sum, { load }) => sum + this.#seconds(load), 0) / 60)
  }

  #seconds(load: LoadName): number {
    const measured = this.#measured.get(load)
    if (measured !== undefined) return measured.reduce((sum, seconds) => sum + seconds) / measured.length
    const { profile, variables } = LOADS[load]
    return PROFILES[profile](SIZES.local, variables).seconds + OVERHEAD_SECONDS
  }
}
