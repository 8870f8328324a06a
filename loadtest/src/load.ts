import type { ConstantArrivalRateScenario, RampingArrivalRateScenario } from 'k6/options'
import type { ScenarioName } from './slo.ts'

/** A scenario for k6 and its planned size. This module imports nothing from k6, so that Node can load it too. */
export interface Load {
  scenario: RampingArrivalRateScenario | ConstantArrivalRateScenario
  /** Planned length in seconds. */
  seconds: number
  /** Planned number of requests. */
  requests: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** Timeout of a request. */
export const REQUEST_TIMEOUT = '10s'

/**
 * VUs for each request per second. A VU is busy until its request is answered, so requests start on time up to this
 * latency in seconds. All VUs are allocated before the load starts, because allocating them later would take CPU time
 * from a service on the same machine. An idle VU costs about 0.2 MB.
 */
const vusPerRate = 4

/**
 * The load of each scenario, configured with environment variables: `scaling` with PEAK_RATE (requests/s), RAMP and
 * HOLD, `steady` with RATE (requests/s) and DURATION. Durations are whole seconds or minutes: `90s`, `2m`.
 *
 * @throws RangeError when a variable has an invalid value.
 */
export const LOADS: Record<ScenarioName, (environment: Environment) => Load> = { scaling, steady }

/**
 * Ramps up slowly enough for the autoscaler to follow: metrics are up to 15 s old and read every 15 s, and a pod takes a
 * few seconds to start. At their CPU limit, the initial two pods could serve just the peak of 40 requests/s.
 */
function scaling(environment: Environment): Load {
  const peak = readRate(environment, 'PEAK_RATE', 40)
  const ramp = readDuration(environment, 'RAMP', 60)
  const hold = readDuration(environment, 'HOLD', 90)
  const warmUpRate = Math.ceil(peak / 8)
  const edge = ramp / 4
  return {
    scenario: {
      executor: 'ramping-arrival-rate',
      startRate: warmUpRate,
      timeUnit: '1s',
      stages: [
        { duration: `${edge}s`, target: warmUpRate },
        { duration: `${ramp}s`, target: peak },
        { duration: `${hold}s`, target: peak },
        { duration: `${edge}s`, target: 0 },
      ],
      preAllocatedVUs: peak * vusPerRate,
      gracefulStop: REQUEST_TIMEOUT,
    },
    seconds: edge + ramp + hold + edge,
    requests: Math.round(
      edge * warmUpRate + (ramp * (warmUpRate + peak)) / 2 + hold * peak + (edge * peak) / 2,
    ),
  }
}

/** Sends 5,400 requests by default, to support the statement "none of 5,000 requests failed" with a margin. */
function steady(environment: Environment): Load {
  const rate = readRate(environment, 'RATE', 60)
  const seconds = readDuration(environment, 'DURATION', 90)
  return {
    scenario: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${seconds}s`,
      preAllocatedVUs: rate * vusPerRate,
      gracefulStop: REQUEST_TIMEOUT,
    },
    seconds,
    requests: rate * seconds,
  }
}

function readRate(environment: Environment, variable: string, fallback: number): number {
  const text = environment[variable]
  if (text === undefined || text === '') return fallback
  if (!/^[1-9]\d{0,4}$/.test(text)) {
    throw new RangeError(`${variable} is "${text}": use whole requests per second, 1 to 99999`)
  }
  return Number(text)
}

function readDuration(environment: Environment, variable: string, fallbackSeconds: number): number {
  const text = environment[variable]
  if (text === undefined || text === '') return fallbackSeconds
  const [, amount, unit] = /^([1-9]\d{0,4})([sm])$/.exec(text) ?? []
  if (amount === undefined) {
    throw new RangeError(`${variable} is "${text}": use whole seconds or minutes such as 90s or 2m`)
  }
  return Number(amount) * (unit === 'm' ? 60 : 1)
}
