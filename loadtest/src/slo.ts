/** Service level objectives for the time of a load. Bounds are inclusive. */
export interface Slo {
  /** 95th percentile of the request duration in milliseconds, including the connection. */
  p95Ms: number
  /** Failed requests as a share of all requests, 0 to 1. */
  errorRate: number
  /** Requests that k6 could not start on time because all VUs were busy. */
  droppedIterations: number
  /** Minimum of ready replicas at the peak, for loads that should scale the service. */
  readyReplicas?: number
}

/**
 * The SLO of each scenario, for both k6's thresholds and the recorder's verdicts.
 *
 * - Error rate: 99.9 % of all requests must succeed. Tests that restart pods under load read the report and allow no
 *   failed request at all.
 * - Dropped iterations: none, because a dropped request is missing from the percentiles.
 * - `scaling` p95: a pod may use 20 ms of CPU in each period of 100 ms (limit 200m), enough for two requests of 8 ms. A
 *   request that finds the quota used up waits up to 80 ms, and 100 ms more for every two requests before it. 300 ms
 *   allows a short queue until the next pod is ready, but not a growing one. 56 ms was measured in the box.
 * - `scaling` replicas: 40 requests/s of 8 ms need 320m of CPU and some overhead, or 5 to 6 pods at a target of 70 % of
 *   100m. 4 leaves room for a late metric.
 * - `steady` p95: a request costs about 1 ms, so only throttling for one or two periods, or pods that start on the same
 *   cores, can make it slow.
 */
export const SLO = {
  scaling: { p95Ms: 300, errorRate: 0.001, droppedIterations: 0, readyReplicas: 4 },
  steady: { p95Ms: 250, errorRate: 0.001, droppedIterations: 0 },
} satisfies Record<string, Slo>

export type ScenarioName = keyof typeof SLO

/** A scenario's k6 thresholds, which give `k6 run` of the scenario file the same bounds. */
export function thresholds(scenario: ScenarioName): Record<string, string[]> {
  const slo = SLO[scenario]
  return {
    // An iteration is one request. Unlike http_req_duration, its duration includes name resolution, connection and
    // TLS, which is where a connection to a deleted pod spends its time.
    [`iteration_duration{scenario:${scenario}}`]: [`p(95)<=${slo.p95Ms}`],
    [`http_req_failed{scenario:${scenario}}`]: [`rate<=${slo.errorRate}`],
    [`dropped_iterations{scenario:${scenario}}`]: [`count<=${slo.droppedIterations}`],
  }
}

/** The measurements of a run, in the units of {@link Slo}; null where nothing was measured. */
export interface Measured {
  p95Ms: number | null
  errorRate: number | null
  droppedIterations: number
  /** Null when no cluster was watched; the bound on replicas then does not apply. */
  readyReplicas: number | null
}

/** The comparison of a measurement with a bound of the SLO. */
export interface Verdict {
  name: string
  /** In the unit that `name` states, like `bound`. */
  value: number | null
  comparison: '<=' | '>='
  bound: number
  met: boolean
}

/** Compares a run with its SLO. A missing measurement meets no bound. */
export function evaluate(slo: Slo, measured: Measured): Verdict[] {
  const verdicts = [
    verdict('p95 in ms', measured.p95Ms, '<=', slo.p95Ms),
    verdict('error rate', measured.errorRate, '<=', slo.errorRate),
    verdict('dropped iterations', measured.droppedIterations, '<=', slo.droppedIterations),
  ]
  if (slo.readyReplicas !== undefined && measured.readyReplicas !== null) {
    verdicts.push(verdict('ready replicas', measured.readyReplicas, '>=', slo.readyReplicas))
  }
  return verdicts
}

function verdict(
  name: string,
  value: number | null,
  comparison: Verdict['comparison'],
  bound: number,
): Verdict {
  const met = value !== null && (comparison === '<=' ? value <= bound : value >= bound)
  return { name, value, comparison, bound, met }
}
