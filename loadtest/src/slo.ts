/** What users of the service are promised while a load runs. Bounds are inclusive. */
export interface Slo {
  /** 95th percentile of a request's time in milliseconds, connecting included. */
  p95Ms: number
  /** Failed requests as a share of all requests, 0 to 1. */
  errorRate: number
  /** Requests the load generator could not start on time, because all of its VUs were still waiting. */
  droppedIterations: number
  /** Replicas that must have been ready at the peak. Only for loads that are meant to make the service scale. */
  readyReplicas?: number
}

/**
 * The only place that holds bounds: the scenarios' thresholds and the recorder's verdict are made from it.
 *
 * - Error rate: 99.9 % of requests answered, in both. A box that drops one request in a thousand is allowed
 *   here; tests that move pods around read the report and allow none.
 * - Dropped iterations: none. A dropped request is one that no percentile can see.
 * - `scaling` p95: a pod may use 20 ms of CPU in each period of 100 ms (limit 200m), which is two requests of
 *   8 ms. One that meets an empty quota waits up to 80 ms, and 100 ms more for every two before it. 300 ms allows
 *   a short queue until the next pod is ready, and not one that grows; 56 ms were measured in the box.
 * - `scaling` replicas: 40 requests/s of 8 ms are 320m of CPU and some overhead, which a target of 70 % of
 *   100m spreads over 5 or 6 pods; 4 leaves room for a late metric.
 * - `steady` p95: requests that cost about 1 ms, so only throttling, one period at most two, and the
 *   start-up of new pods on the same cores can make one slow.
 */
export const SLO = {
  scaling: { p95Ms: 300, errorRate: 0.001, droppedIterations: 0, readyReplicas: 4 },
  steady: { p95Ms: 250, errorRate: 0.001, droppedIterations: 0 },
} satisfies Record<string, Slo>

export type ScenarioName = keyof typeof SLO

/** k6 thresholds of a scenario, so that `k6 run` on a scenario file judges by the same bounds. */
export function thresholds(scenario: ScenarioName): Record<string, string[]> {
  const slo = SLO[scenario]
  return {
    // An iteration is one request. Unlike http_req_duration, its time includes the name look-up, connecting and
    // TLS, which is where a connection to a pod that has just gone spends its time.
    [`iteration_duration{scenario:${scenario}}`]: [`p(95)<=${slo.p95Ms}`],
    [`http_req_failed{scenario:${scenario}}`]: [`rate<=${slo.errorRate}`],
    [`dropped_iterations{scenario:${scenario}}`]: [`count<=${slo.droppedIterations}`],
  }
}

/** What a run measured, in the units of {@link Slo}; null where there was nothing to measure. */
export interface Measured {
  p95Ms: number | null
  errorRate: number | null
  droppedIterations: number
  /** Null when no cluster was watched: the bound on replicas is left out then. */
  readyReplicas: number | null
}

/** One bound of the SLO held against what was measured. */
export interface Verdict {
  name: string
  /** The measured value and the bound, in the unit that `name` states. */
  value: number | null
  comparison: '<=' | '>='
  bound: number
  met: boolean
}

/** Judges a run. Nothing measured never meets a bound. */
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

/** Holds one value against one bound. */
export function verdict(
  name: string,
  value: number | null,
  comparison: Verdict['comparison'],
  bound: number,
): Verdict {
  const met = value !== null && (comparison === '<=' ? value <= bound : value >= bound)
  return { name, value, comparison, bound, met }
}
