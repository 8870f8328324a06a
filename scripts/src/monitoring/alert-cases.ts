/**
 * A fault for every alert, as series over time: the alert must be quiet before the fault, fire during it, and recover after
 * it. `alerts.test.ts` lets promtool evaluate the rendered rules on these series.
 */

/** Seconds between two samples and two evaluations, as `$step` in templates/prometheusrule.yaml. */
export const STEP_SECONDS = 30

/** Values of a series in the format of promtool, and its length. */
export interface Values {
  text: string
  minutes: number
}

/** Phases of a gauge: a value, or null for no sample, and for how many minutes it lasts. */
export function gauge(...phases: readonly (readonly [value: number | null, minutes: number])[]): Values {
  const text = phases.map(([value, minutes]) =>
    // A target that disappears leaves a marker. Without it, the last value would remain visible for five minutes.
    value === null ? `stale _x${samples(minutes) - 1}` : `${value}+0x${samples(minutes) - 1}`,
  )
  return { text: text.join(' '), minutes: total(phases) }
}

/** Phases of a counter: by how much it increases in a second, and for how many minutes. */
export function counter(...phases: readonly (readonly [perSecond: number, minutes: number])[]): Values {
  let value = 0
  const text = phases.map(([perSecond, minutes]) => {
    const increase = perSecond * STEP_SECONDS
    const first = value
    value += increase * samples(minutes)
    return `${first}+${increase}x${samples(minutes) - 1}`
  })
  return { text: text.join(' '), minutes: total(phases) }
}

const samples = (minutes: number) => (minutes * 60) / STEP_SECONDS
const total = (phases: readonly (readonly [unknown, number])[]) =>
  phases.reduce((sum, [, minutes]) => sum + minutes, 0)

/** A fault, and when the alert must be quiet, fire and be quiet again, in minutes. */
export interface AlertCase {
  alert: string
  /** Distinguishes alerts of the same name. */
  window?: string
  series: Readonly<Record<string, Values>>
  quietAt: number
  firesAt: number
  recoveredAt: number
}

/** Series for which an alert must never fire. */
export interface QuietCase {
  alert: string
  why: string
  series: Readonly<Record<string, Values>>
}

const SERVICE = 'namespace="fastify-app", job="fastify-app"'
const DEPLOYMENT = 'namespace="fastify-app", deployment="fastify-app"'
const HPA = 'namespace="fastify-app", horizontalpodautoscaler="fastify-app"'
const POD = 'namespace="fastify-app", pod="fastify-app-5d9c7b6f44-x2x7q"'

/** Healthy for 10 minutes, faulty for `faulty` minutes, healthy for 15 minutes. */
function fault(healthy: number | null, broken: number | null, faulty: number): Values {
  return gauge([healthy, 10], [broken, faulty], [healthy, 15])
}

/** An alert that fires during a {@link fault} of `faulty` minutes. */
function during(alert: string, faulty: number, series: AlertCase['series']): AlertCase {
  return { alert, series, quietAt: 10, firesAt: 10 + faulty, recoveredAt: 10 + faulty + 15 }
}

/** Requests per second in the cases of the objectives. */
const TRAFFIC = 20

/** The service's histogram, with a share of failed or slow requests during the fault. */
function requests(
  bad: 'failed' | 'slow',
  [goodMinutes, badMinutes, recoveryMinutes]: readonly [number, number, number],
  share: number,
  { traffic = TRAFFIC, route = '/api/v1/tasks' } = {},
): AlertCase['series'] {
  const labels = `${SERVICE}, method="GET", route="${route}"`
  const phases = (good: number, broken: number) =>
    counter([good * traffic, goodMinutes], [broken * traffic, badMinutes], [good * traffic, recoveryMinutes])
  const succeeded = phases(1, bad === 'failed' ? 1 - share : 1)
  return {
    [`http_request_duration_seconds_count{${labels}, status_code="200"}`]: succeeded,
    [`http_request_duration_seconds_count{${labels}, status_code="503"}`]: phases(
      0,
      bad === 'failed' ? share : 0,
    ),
    [`http_request_duration_seconds_bucket{${labels}, status_code="200", le="0.3"}`]:
      bad === 'slow' ? phases(1, 1 - share) : succeeded,
    [`http_request_duration_seconds_bucket{${labels}, status_code="200", le="+Inf"}`]: succeeded,
    [`http_request_duration_seconds_bucket{${labels}, status_code="503", le="0.3"}`]: phases(
      0,
      bad === 'failed' ? share : 0,
    ),
  }
}

/** An alert on an objective: it recovers soon after its short window contains no bad requests. */
function burn(
  bad: 'failed' | 'slow',
  [window, shortMinutes]: readonly [string, number],
  [goodMinutes, badMinutes]: readonly [number, number],
  share: number,
): AlertCase {
  const recovery = shortMinutes + 5
  return {
    alert: bad === 'failed' ? 'ErrorBudgetBurn' : 'LatencyBudgetBurn',
    window,
    series: requests(bad, [goodMinutes, badMinutes, recovery], share),
    quietAt: goodMinutes,
    firesAt: goodMinutes + badMinutes,
    recoveredAt: goodMinutes + badMinutes + recovery,
  }
}

export const SERVICE_CASES: readonly AlertCase[] = [
  burn('failed', ['1h', 5], [60, 10], 0.2),
  burn('failed', ['6h', 30], [60, 60], 0.02),
  burn('failed', ['1d', 120], [30, 60], 0.01),
  burn('failed', ['3d', 360], [30, 60], 0.005),
  burn('slow', ['1h', 5], [5, 60], 1),
  burn('slow', ['6h', 30], [60, 60], 1),
  burn('slow', ['1d', 120], [30, 60], 0.5),
  burn('slow', ['3d', 360], [30, 60], 0.2),
  during('NoPodReady', 5, {
    [`kube_deployment_status_replicas_ready{${DEPLOYMENT}}`]: fault(2, 0, 5),
    [`kube_deployment_spec_replicas{${DEPLOYMENT}}`]: gauge([2, 30]),
  }),
  during('MetricsMissing', 8, {
    [`up{${SERVICE}, instance="10.0.0.1:9464"}`]: fault(1, 0, 8),
    // This pod disappears completely.
    [`up{${SERVICE}, instance="10.0.0.2:9464"}`]: fault(1, null, 8),
  }),
  during('TargetsDown', 15, {
    [`up{${SERVICE}, instance="10.0.0.1:9464"}`]: gauge([1, 40]),
    [`up{${SERVICE}, instance="10.0.0.2:9464"}`]: fault(1, 0, 15),
  }),
  during('RolloutStuck', 5, {
    [`kube_deployment_status_condition{${DEPLOYMENT}, condition="Progressing", reason="ProgressDeadlineExceeded", status="false"}`]:
      fault(0, 1, 5),
  }),
  during('PodsPending', 8, { [`kube_pod_status_phase{${POD}, phase="Pending"}`]: fault(0, 1, 8) }),
  {
    alert: 'PodsRestart',
    series: {
      [`kube_pod_container_status_restarts_total{${POD}, container="fastify-app"}`]: gauge(
        [0, 20],
        [1, 2],
        [3, 2],
        [4, 26],
      ),
    },
    quietAt: 20,
    firesAt: 24,
    recoveredAt: 50,
  },
  during('AtMaxReplicas', 20, {
    [`kube_horizontalpodautoscaler_status_desired_replicas{${HPA}}`]: fault(4, 10, 20),
    [`kube_horizontalpodautoscaler_spec_max_replicas{${HPA}}`]: gauge([10, 45]),
  }),
  during('AutoscalerInactive', 8, {
    [`kube_horizontalpodautoscaler_status_condition{${HPA}, condition="ScalingActive", status="false"}`]:
      fault(0, 1, 8),
  }),
  during('DatabaseDown', 3, { [`database_up{${SERVICE}, pod="a"}`]: fault(1, 0, 3) }),
  during('DatabasePoolExhausted', 8, {
    [`database_pool_connections{${SERVICE}, pod="a", state="waiting"}`]: fault(0, 12, 8),
  }),
  during('CacheDown', 8, { [`cache_store_up{${SERVICE}, pod="a"}`]: fault(1, 0, 8) }),
]

export const SERVICE_QUIET: readonly QuietCase[] = [
  {
    alert: 'ErrorBudgetBurn',
    why: 'three failed requests of twenty in an hour are too few',
    series: requests('failed', [10, 50, 10], 0.15, { traffic: 20 / 3600 }),
  },
  {
    alert: 'ErrorBudgetBurn',
    why: 'the objective allows one failure in 1,000',
    series: requests('failed', [10, 60, 10], 0.0005),
  },
  {
    alert: 'ErrorBudgetBurn',
    why: 'clients of the load routes ask for errors',
    series: requests('failed', [10, 30, 10], 1, { route: '/api/v1/status/:code' }),
  },
  {
    alert: 'LatencyBudgetBurn',
    why: 'clients of the load routes ask for delays',
    series: requests('slow', [10, 30, 10], 1, { route: '/api/v1/delay/:ms' }),
  },
  {
    alert: 'LatencyBudgetBurn',
    why: 'the objective allows one slow request in 20',
    series: requests('slow', [10, 60, 10], 0.04),
  },
  {
    alert: 'NoPodReady',
    why: 'the Deployment is scaled to zero',
    series: {
      [`kube_deployment_status_replicas_ready{${DEPLOYMENT}}`]: gauge([0, 30]),
      [`kube_deployment_spec_replicas{${DEPLOYMENT}}`]: gauge([0, 30]),
    },
  },
  {
    alert: 'PodsPending',
    why: 'a new node takes a few minutes',
    series: { [`kube_pod_status_phase{${POD}, phase="Pending"}`]: gauge([0, 10], [1, 4], [0, 10]) },
  },
  {
    alert: 'PodsPending',
    why: 'the migration is not a pod of the service',
    series: {
      'kube_pod_status_phase{namespace="fastify-app", pod="fastify-app-migration-x2x7q", phase="Pending"}':
        gauge([1, 20]),
    },
  },
  {
    alert: 'PodsRestart',
    why: 'one restart is not a loop',
    series: {
      [`kube_pod_container_status_restarts_total{${POD}, container="fastify-app"}`]: gauge([0, 20], [1, 20]),
    },
  },
]

const VOLUME = 'namespace="monitoring", persistentvolumeclaim="prometheus", node="a"'
const GIB = 2 ** 30

export const CLUSTER_CASES: readonly AlertCase[] = [
  during('KarpenterDown', 8, { 'up{namespace="kube-system", job="karpenter"}': fault(1, 0, 8) }),
  {
    alert: 'KarpenterCloudErrors',
    series: {
      'karpenter_cloudprovider_errors_total{controller="nodeclaim.lifecycle", method="Create", provider="aws", error=""}':
        counter([0, 20], [1 / 30, 10], [0, 30]),
    },
    quietAt: 20,
    firesAt: 30,
    recoveredAt: 60,
  },
  during('KarpenterNodeNotJoined', 15, {
    'operator_nodeclaim_status_condition_count{name="default-x2x7q", type="Registered", status="Unknown", reason="NodeNotFound"}':
      fault(null, 1, 15),
  }),
  during('KarpenterNodePoolAtLimit', 20, {
    'karpenter_nodepools_usage{nodepool="default", resource_type="cpu"}': fault(4, 16, 20),
    'karpenter_nodepools_limit{nodepool="default", resource_type="cpu"}': gauge([16, 45]),
  }),
  {
    alert: 'LoadBalancerControllerErrors',
    series: {
      'controller_runtime_reconcile_errors_total{namespace="kube-system", job="aws-load-balancer-controller", controller="ingress"}':
        counter([0, 20], [1 / 30, 5], [1 / 1000, 45], [0, 30]),
    },
    quietAt: 20,
    // Long after the first attempts, between two of the last.
    firesAt: 69,
    recoveredAt: 95,
  },
  during('VolumeAlmostFull', 8, {
    [`kubelet_volume_stats_available_bytes{${VOLUME}}`]: fault(5 * GIB, 0.2 * GIB, 8),
    [`kubelet_volume_stats_capacity_bytes{${VOLUME}}`]: gauge([10 * GIB, 40]),
  }),
  {
    alert: 'VolumeFillsUp',
    series: {
      [`kubelet_volume_stats_available_bytes{${VOLUME}}`]: gauge(
        [5 * GIB, 60],
        [1.4 * GIB, 60],
        [1.2 * GIB, 60],
        [6 * GIB, 30],
      ),
      [`kubelet_volume_stats_capacity_bytes{${VOLUME}}`]: gauge([10 * GIB, 210]),
    },
    quietAt: 60,
    firesAt: 180,
    recoveredAt: 190,
  },
  during('KubeletCertificateExpires', 20, {
    'kubelet_certificate_manager_server_ttl_seconds{node="a"}': fault(30 * 86_400, 3 * 86_400, 20),
  }),
  {
    alert: 'KubeletCertificateNotRenewed',
    series: {
      'kubelet_server_expiration_renew_errors{node="a"}': counter([0, 20], [1 / 60, 20], [0, 70]),
    },
    quietAt: 20,
    firesAt: 40,
    recoveredAt: 110,
  },
]

export const CLUSTER_QUIET: readonly QuietCase[] = [
  {
    alert: 'KarpenterCloudErrors',
    why: 'Karpenter tries another type of instance',
    series: {
      'karpenter_cloudprovider_errors_total{controller="nodeclaim.lifecycle", method="Create", provider="aws", error="InsufficientCapacityError"}':
        counter([0, 20], [1 / 30, 10], [0, 30]),
    },
  },
  {
    alert: 'KarpenterNodeNotJoined',
    why: 'a node joins within minutes',
    series: {
      'operator_nodeclaim_status_condition_count{name="default-x2x7q", type="Registered", status="Unknown", reason="NodeNotFound"}':
        gauge([null, 10], [1, 5], [null, 10]),
    },
  },
  {
    alert: 'VolumeFillsUp',
    why: 'little space is free, but it does not decrease',
    series: {
      [`kubelet_volume_stats_available_bytes{${VOLUME}}`]: gauge([1.4 * GIB, 480]),
      [`kubelet_volume_stats_capacity_bytes{${VOLUME}}`]: gauge([10 * GIB, 480]),
    },
  },
]
