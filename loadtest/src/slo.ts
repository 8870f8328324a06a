import type { Verdict } from './run-report.ts'

/**
 * The service's objectives in production. The chart's alerts have the same values (`prometheusRule` in values.yaml), and
 * the profiles derive theirs from these.
 */
export const SERVICE_SLO = { errorRate: 0.001, p95Ms: 300 } as const

/** Service level objectives for the time of a load. Bounds are inclusive. */
export interface Slo {
  /**
   * 95th percentile of the request duration in milliseconds, including the connection. It applies to the whole run, or
   * with `recoverySeconds` to each 5 s after that time.
   */
  p95Ms: number
  /** Failed requests as a share of all requests, 0 to 1. */
  errorRate: number
  /** Requests that k6 could not start on time because all VUs were busy. */
  droppedIterations: number
  /** Responses with a wrong status or body. */
  failedChecks: number
  /** Minimum of ready replicas at the peak, for loads that should scale the service. */
  readyReplicas?: number
  /** Longest time from the first 5 s over the bounds until they hold again, for loads that rise faster than pods start. */
  recoverySeconds?: number
}

/** What holds for every load, unless its own objective replaces it. */
const usual = { ...SERVICE_SLO, droppedIterations: 0, failedChecks: 0 } as const

/**
 * The SLO of each load profile, for both k6's thresholds and the recorder's verdicts.
 *
 * - Error rate: 99.9 % of all requests must succeed. Tests that restart pods under load read the report and allow no
 *   failed request at all.
 * - Dropped iterations: none, because a dropped request is missing from the percentiles.
 * - Failed checks: none, because a wrong response is a bug and not a matter of load.
 * - `scaling` p95: a request of 8 ms may wait while pods start on the same cores. 300 ms allows a short queue until the
 *   next pod is ready, but not a growing one.
 * - `scaling` replicas: 40 requests/s of 8 ms need 320m of CPU and some overhead, or 5 to 6 pods at a target of 70 % of
 *   100m. 4 leaves room for a late metric.
 * - `steady` p95: a request costs about 1 ms, so only pods that start on the same cores can make it slow.
 * - `spike` recovery: metrics are up to 30 s old when the autoscaler sees the step, and pods need a few seconds to start.
 * - `breakpoint`: the load ends when the bounds are exceeded, so the verdict is about the rate at that moment.
 */
export const SLO = {
  smoke: usual,
  average: usual,
  stress: usual,
  spike: { ...usual, recoverySeconds: 60 },
  ramp: usual,
  soak: usual,
  breakpoint: usual,
  scaling: { ...usual, readyReplicas: 4 },
  steady: { ...usual, p95Ms: 250 },
} satisfies Record<string, Slo>

export type ProfileName = keyof typeof SLO

/** A profile's k6 thresholds, which give `k6 run` of the scenario file the same bounds. */
export function thresholds(profile: ProfileName): Record<string, string[]> {
  const slo: Slo = SLO[profile]
  const only = `{scenario:${profile}}`
  return {
    // An iteration is one request. Unlike http_req_duration, its duration includes name resolution, connection and
    // TLS, which is where a connection to a deleted pod spends its time.
    ...(slo.recoverySeconds === undefined && { [`iteration_duration${only}`]: [`p(95)<=${slo.p95Ms}`] }),
    [`http_req_failed${only}`]: [`rate<=${slo.errorRate}`],
    [`dropped_iterations${only}`]: [`count<=${slo.droppedIterations}`],
    [`checks${only}`]: ['rate>=1'],
  }
}

/** The measurements of a run, in the units of {@link Slo}; null where nothing was measured. */
export interface Measured {
  p95Ms: number | null
  errorRate: number | null
  droppedIterations: number
  failedChecks: number
  /** Null when no cluster was watched; the bound on replicas then does not apply. */
  readyReplicas: number | null
  /** 0 when the bounds always held; null when they did not hold when the load ended. */
  recoverySeconds: number | null
  /** Highest rate of 5 s before the bounds were exceeded, in requests per second. */
  carriedRate: number | null
}

/**
 * Compares a run with its SLO. A missing measurement meets no bound.
 *
 * @param requiredRate - for a load that rises until the service breaks: the rate that it must carry before that
 */
export function evaluate(slo: Slo, measured: Measured, requiredRate?: number): Verdict[] {
  const checks = verdict('failed checks', measured.failedChecks, '<=', slo.failedChecks)
  if (requiredRate !== undefined) {
    return [
      verdict('rate before the SLO was missed', measured.carriedRate, '>=', requiredRate, 'req/s'),
      checks,
    ]
  }
  const verdicts = [
    slo.recoverySeconds === undefined
      ? verdict('p95', measured.p95Ms, '<=', slo.p95Ms, 'ms')
      : verdict(`p95 within ${slo.p95Ms} ms again`, measured.recoverySeconds, '<=', slo.recoverySeconds, 's'),
    verdict('error rate', measured.errorRate, '<=', slo.errorRate),
    verdict('dropped iterations', measured.droppedIterations, '<=', slo.droppedIterations),
    checks,
  ]
  if (slo.readyReplicas !== undefined && measured.readyReplicas !== null) {
    verdicts.push(verdict('ready replicas', measured.readyReplicas, '>=', slo.readyReplicas))
  }
  return verdicts
}

/** Compares a measurement with a bound. */
export function verdict(
  name: string,
  value: number | null,
  comparison: Verdict['comparison'],
  bound: number,
  unit = '',
): Verdict {
  const met = value !== null && (comparison === '<=' ? value <= bound : value >= bound)
  return { name, value, comparison, bound, unit, met }
}
