import type { ConstantArrivalRateScenario, RampingArrivalRateScenario } from 'k6/options'
import type { ScenarioName } from './slo.ts'

/** How many requests are sent and when; without imports of k6, so that the recorder knows the plan as well. */
export interface Load {
  scenario: RampingArrivalRateScenario | ConstantArrivalRateScenario
  /** Planned length in seconds. */
  seconds: number
  /** Planned number of requests. */
  requests: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** A request without an answer after this time has failed. */
export const REQUEST_TIMEOUT = '10s'

/**
 * VUs per request and second. A VU is busy until its request is answered, so this is the latency in seconds up
 * to which every request still starts on time. VUs are made before the load starts, since making one takes CPU
 * from the service where both share a machine; a waiting one costs about 0.2 MB.
 */
const vusPerRate = 4

/**
 * The loads by scenario, shaped by environment variables: `scaling` by PEAK_RATE (requests/s), RAMP and HOLD,
 * `steady` by RATE (requests/s) and DURATION. Durations are whole seconds or minutes: `90s`, `2m`.
 *
 * @throws RangeError when a variable holds something else.
 */
export const LOADS: Record<ScenarioName, (environment: Environment) => Load> = { scaling, steady }

/**
 * Climbs slowly enough for the autoscaler to follow: metrics are up to 15 s old and read every 15 s, a pod needs
 * a few seconds to start, and 40 requests/s are what the two pods at the start could serve at their CPU limit.
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

/** The default is 5,400 requests: enough for "none of 5,000 failed" with a margin. */
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
