import type { ConstantArrivalRateScenario, RampingArrivalRateScenario } from 'k6/options'
import type { EnvironmentName } from 'shared/environment'
import type { ProfileName } from './slo.ts'

/** The requests of a load: CPU work, the cheap root route, or a mix of the task API, work and delays. */
export type Traffic = 'work' | 'root' | 'mix'

/** A scenario for k6 and its planned size. This module imports nothing from k6, so that Node can load it too. */
export interface Load {
  traffic: Traffic
  /** The load in one sentence. */
  description: string
  scenario: RampingArrivalRateScenario | ConstantArrivalRateScenario
  /** Planned length in seconds. */
  seconds: number
  /** Planned number of requests. */
  requests: number
  /** Second at which the highest rate ends. */
  peakEnds: number
  /** Moments to mark on the time axis. */
  moments: { second: number; text: string }[]
  /** For a load that rises until the service breaks: the rate that the service must carry. */
  requiredRate?: number
}

/** The variables that `PROFILES` reads. */
export const LOAD_VARIABLES = ['PEAK_RATE', 'RAMP', 'HOLD', 'RATE', 'DURATION', 'TRAFFIC'] as const

type Variables = Readonly<Record<string, string | undefined>>

/** Rates in requests per second. */
interface Size {
  /** An ordinary day, and its busiest minutes. */
  average: number
  peak: number
  /** Where `breakpoint` ends if the service still responds. */
  limit: number
  soakMinutes: number
}

/**
 * The size of each environment. The box and dev share few cores. In staging and prod, ten pods of one CPU each carry the
 * limit only if every node has room, which is what `breakpoint` shows.
 */
export const SIZES: Readonly<Record<EnvironmentName, Size>> = {
  local: { average: 20, peak: 60, limit: 240, soakMinutes: 60 },
  dev: { average: 20, peak: 60, limit: 240, soakMinutes: 60 },
  staging: { average: 50, peak: 200, limit: 600, soakMinutes: 360 },
  prod: { average: 50, peak: 200, limit: 600, soakMinutes: 360 },
}

/** Timeout of a request. */
export const REQUEST_TIMEOUT = '10s'

/**
 * VUs for each request per second. A VU is busy until its request is answered, so requests start on time up to this
 * latency in seconds. All VUs are allocated before the load starts, because allocating them later would take CPU time
 * from a service on the same machine. An idle VU costs about 0.2 MB.
 */
const vusPerRate = 4

/**
 * The load of each profile: always an arrival rate, so that a slow service receives no fewer requests. Variables replace
 * the sizes: PEAK_RATE (requests/s), RAMP and HOLD for loads that rise, RATE and DURATION for constant ones. Durations
 * are whole seconds or minutes: `90s`, `2m`. TRAFFIC=work makes a spike or a ramp of CPU work instead of the mix.
 *
 * @throws RangeError when a variable has an invalid value.
 */
export const PROFILES: Readonly<Record<ProfileName, (size: Size, variables: Variables) => Load>> = {
  /** Is every route right? */
  smoke: (_size, variables) =>
    constant('mix', readRate(variables, 'RATE', 2), readDuration(variables, 'DURATION', 30)),
  average: ({ average }, variables) => rampAndHold(variables, average, 30, 240),
  stress: ({ peak }, variables) => rampAndHold(variables, peak, 60, 240),
  spike,
  ramp,
  soak: ({ average, soakMinutes }, variables) =>
    constant(
      'mix',
      readRate(variables, 'RATE', average),
      readDuration(variables, 'DURATION', soakMinutes * 60),
    ),
  breakpoint,
  scaling,
  /** Sends 5,400 requests by default, to support the statement "none of 5,000 requests failed" with a margin. */
  steady: (_size, variables) =>
    constant('root', readRate(variables, 'RATE', 60), readDuration(variables, 'DURATION', 90)),
}

/** Rises to a rate, holds it and falls. */
function rampAndHold(variables: Variables, rate: number, rampSeconds: number, holdSeconds: number): Load {
  const peak = readRate(variables, 'PEAK_RATE', rate)
  const ramp = readDuration(variables, 'RAMP', rampSeconds)
  const hold = readDuration(variables, 'HOLD', holdSeconds)
  return rising('mix', `Rises to ${peak} requests/s in ${ramp} s and holds them for ${hold} s.`, 1, [
    { seconds: ramp, rate: peak },
    { seconds: hold, rate: peak },
    { seconds: ramp / 2, rate: 0 },
  ])
}

/** A step to four times the ordinary rate, faster than any autoscaler, and back. */
function spike({ average }: Size, variables: Variables): Load {
  const peak = readRate(variables, 'PEAK_RATE', average * 4)
  const quiet = readDuration(variables, 'RAMP', 60)
  const hold = readDuration(variables, 'HOLD', 120)
  const traffic = readTraffic(variables)
  const ordinary = Math.ceil(peak / 4)
  const what = traffic === 'work' ? 'requests/s of 8 ms CPU' : 'requests/s'
  return rising(traffic, `Jumps from ${ordinary} to ${peak} ${what} for ${hold} s.`, ordinary, [
    { seconds: quiet, rate: ordinary },
    { seconds: 0, rate: peak },
    { seconds: hold, rate: peak },
    { seconds: 0, rate: ordinary },
    { seconds: quiet, rate: ordinary },
  ])
}

/**
 * Rises for minutes, as fast as the ramp in the benchmark that the authors of arXiv 2604.19705 published for their
 * forecasting autoscaler (GitHub platformatic/k8s-watt-performance-demo, next/loadtest.sh at c04f273): 10 requests/s, to a
 * quarter of the peak in 20 s, to the peak of 800 in another 120 s, and 40 s there. They compared it with HPA and KEDA
 * between 4 and 20 pods of one CPU each.
 */
function ramp({ peak: usualPeak }: Size, variables: Variables): Load {
  const peak = readRate(variables, 'PEAK_RATE', usualPeak)
  const rise = readDuration(variables, 'RAMP', 140)
  const hold = readDuration(variables, 'HOLD', 40)
  const traffic = readTraffic(variables)
  const low = Math.ceil(peak / 80)
  const what = traffic === 'work' ? 'requests/s of 8 ms CPU' : 'requests/s'
  return rising(
    traffic,
    `Rises from ${low} to ${peak} ${what} in ${rise} s and holds them for ${hold} s.`,
    low,
    [
      { seconds: 30, rate: low },
      { seconds: Math.round(rise / 7), rate: Math.ceil(peak / 4) },
      { seconds: rise - Math.round(rise / 7), rate: peak },
      { seconds: hold, rate: peak },
    ],
  )
}

/** Rises slowly, until the recorder stops it because the service no longer meets its SLO. */
function breakpoint({ average, peak, limit }: Size, variables: Variables): Load {
  const top = readRate(variables, 'PEAK_RATE', limit)
  const seconds = readDuration(variables, 'RAMP', 600)
  const start = Math.min(average, top)
  const load = rising(
    'mix',
    `Rises from ${start} to ${top} requests/s in ${seconds} s, or until the SLO is missed.`,
    start,
    [{ seconds, rate: top }],
  )
  return { ...load, requiredRate: Math.min(peak, top) }
}

/**
 * Ramps up slowly enough for the autoscaler to follow: metrics are up to 15 s old and read every 15 s, and a pod takes a
 * few seconds to start. The peak of 40 requests/s needs about 400m of CPU, more than five pods' target of 70m each.
 */
function scaling(_size: Size, variables: Variables): Load {
  const peak = readRate(variables, 'PEAK_RATE', 40)
  const ramp = readDuration(variables, 'RAMP', 60)
  const hold = readDuration(variables, 'HOLD', 90)
  const warmUp = Math.ceil(peak / 8)
  return rising(
    'work',
    `Rises to ${peak} requests/s of 8 ms CPU in ${ramp} s and holds them for ${hold} s.`,
    warmUp,
    [
      { seconds: ramp / 4, rate: warmUp },
      { seconds: ramp, rate: peak },
      { seconds: hold, rate: peak },
      { seconds: ramp / 4, rate: 0 },
    ],
  )
}

/** A part of a load, during which the rate changes linearly to `rate`; with 0 seconds it jumps. */
interface Stage {
  seconds: number
  rate: number
}

function rising(traffic: Traffic, description: string, startRate: number, stages: Stage[]): Load {
  const peak = Math.max(...stages.map(({ rate }) => rate))
  const moments: Load['moments'] = []
  let seconds = 0
  let requests = 0
  let rate = startRate
  let peakEnds = 0
  for (const stage of stages) {
    requests += (stage.seconds * (rate + stage.rate)) / 2
    seconds += stage.seconds
    if (stage.rate === peak) {
      if (rate !== peak) moments.push({ second: seconds, text: `the load reaches ${peak} requests/s` })
      peakEnds = seconds
    }
    rate = stage.rate
  }
  if (peakEnds < seconds) moments.push({ second: peakEnds, text: 'the load falls' })
  return {
    traffic,
    description,
    scenario: {
      executor: 'ramping-arrival-rate',
      startRate,
      timeUnit: '1s',
      stages: stages.map((stage) => ({ duration: `${stage.seconds}s`, target: stage.rate })),
      preAllocatedVUs: peak * vusPerRate,
      gracefulStop: REQUEST_TIMEOUT,
    },
    seconds,
    requests: Math.round(requests),
    peakEnds,
    moments,
  }
}

function constant(traffic: Traffic, rate: number, seconds: number): Load {
  return {
    traffic,
    description: `Sends ${rate} requests/s for ${seconds} s.`,
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
    peakEnds: seconds,
    moments: [],
  }
}

function readRate(variables: Variables, variable: string, fallback: number): number {
  const text = variables[variable]
  if (text === undefined || text === '') return fallback
  if (!/^[1-9]\d{0,4}$/.test(text)) {
    throw new RangeError(`${variable} is "${text}": use whole requests per second, 1 to 99999`)
  }
  return Number(text)
}

function readTraffic({ TRAFFIC: text }: Variables): 'mix' | 'work' {
  if (text === undefined || text === '') return 'mix'
  if (text === 'mix' || text === 'work') return text
  throw new RangeError(`TRAFFIC is "${text}": use mix or work`)
}

function readDuration(variables: Variables, variable: string, fallbackSeconds: number): number {
  const text = variables[variable]
  if (text === undefined || text === '') return fallbackSeconds
  const [, amount, unit] = /^([1-9]\d{0,4})([sm])$/.exec(text) ?? []
  if (amount === undefined) {
    throw new RangeError(`${variable} is "${text}": use whole seconds or minutes such as 90s or 2m`)
  }
  return Number(amount) * (unit === 'm' ? 60 : 1)
}
