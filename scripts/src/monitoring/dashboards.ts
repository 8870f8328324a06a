/**
 * The Grafana dashboards. `write-monitoring.ts` writes them as JSON into the charts, which ship them as ConfigMaps, and
 * docker-compose.yml mounts the same files.
 */
import { type Dashboard, TextBoxVariableBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import {
  dashboard,
  graph,
  labelVariable,
  lines,
  linesGraph,
  logsVariable,
  type Queries,
  stat,
  withRows,
} from './panels.ts'

/** Grafana replaces it by a range of at least four scrapes. */
const RATE = '[$__rate_interval]'

/**
 * For the service's own series: the default of `serviceMonitor.intervalSeconds`, which the chart replaces by its value.
 * Prometheus scrapes everything else every 30 s, which would show a spike as a gentle hill.
 */
const OWN = { scraped: '5s' } as const

/** The labels of the service's own series. */
const SERVICE = 'namespace=~"$namespace", job="$job"'
/** The labels of the service's objects in the series of kube-state-metrics, kubelet and Karpenter. */
const DEPLOYMENT = 'namespace=~"$namespace", deployment="$job"'
const HPA = 'namespace=~"$namespace", horizontalpodautoscaler="$job"'
const PODS = 'namespace=~"$namespace", pod=~"$job-[a-z0-9]+-[a-z0-9]+", pod!~"$job-migration-.*"'

const REQUESTS = `http_request_duration_seconds_count{${SERVICE}}`
const FAILED = `http_request_duration_seconds_count{${SERVICE}, status_code=~"5.."}`
const BUCKETS = `http_request_duration_seconds_bucket{${SERVICE}}`

/** The service's lines. Fluent Bit's configuration in the platform stack makes these labels. */
const LINES = '{namespace=~"$namespace", app="$job"}'
/** Lines of failed requests, and of those slower than the objective for most requests. */
const FAILED_OR_SLOW = `${LINES} | json | statusCode >= 500 or responseTimeMs > 300`
/** A variable of Grafana in an address, which Grafana replaces when the user follows it. */
const variable = (name: string) => `\${${name}}`
/** The lines of a series' route. */
const OF_ROUTE = `{namespace=~"${variable('namespace')}", app="${variable('job')}"} | route = \`${variable('__field.labels.route')}\``

const rate = (series: string) => `rate(${series}${RATE})`
const increase = (series: string) => `increase(${series}${RATE})`

/** Share of failed requests; 0 while requests succeed, and no value without requests. */
function errorRatio(by: string): string {
  const sum = by === '' ? 'sum' : `sum by (${by})`
  const all = `${sum} (${rate(REQUESTS)})`
  return `(${sum} (${rate(FAILED)}) or 0 * ${all}) / (${all} > 0)`
}

function quantile(value: number, by: string): string {
  const labels = by === '' ? 'le' : `le, ${by}`
  return `histogram_quantile(${value}, sum by (${labels}) (${rate(BUCKETS)}))`
}

/** A dashboard of one release of the service, which the user selects. */
function ofService(uid: string, title: string, description: string) {
  return dashboard(uid, title, description)
    .withVariable(
      labelVariable('job', 'Release', 'label_values(nodejs_version_info, job)').current({
        text: 'fastify-app',
        value: 'fastify-app',
      }),
    )
    .withVariable(
      labelVariable('namespace', 'Namespace', 'label_values(nodejs_version_info{job="$job"}, namespace)')
        .includeAll(true)
        // Without a cluster, the series have no namespace.
        .allValue('.*')
        .current({ text: 'All', value: '$__all' }),
    )
}

function service(): Dashboard {
  const builder = ofService(
    'fastify-app',
    'fastify-app: service',
    'Rate, errors and duration of requests by route, the saturation of the pods, and the services that they depend on.',
  ).withVariable(logsVariable())
  return withRows(builder, [
    {
      title: 'Now',
      panels: [
        stat('Pods', 'Pods that Prometheus can scrape.', `sum(up{${SERVICE}})`, { ...OWN, unit: 'short' }),
        stat('Requests', 'Requests per second.', `sum(${rate(REQUESTS)})`, { ...OWN, unit: 'reqps' }),
        stat('Errors', 'Share of requests that end in a 5xx.', errorRatio(''), {
          ...OWN,
          unit: 'percentunit',
          thresholds: [[0.001, 'red']],
        }),
        stat('Duration', '95th percentile of the response time.', `${quantile(0.95, '')} >= 0`, {
          ...OWN,
          unit: 's',
          thresholds: [[0.3, 'red']],
        }),
      ],
    },
    {
      title: 'Requests by route',
      panels: [
        graph(
          'Rate',
          'Requests per second.',
          { '{{route}}': `sum by (route) (${rate(REQUESTS)})` },
          { ...OWN, unit: 'reqps' },
        ),
        graph(
          'Errors',
          'Share of requests that end in a 5xx.',
          { '{{route}}': errorRatio('route') },
          { ...OWN, unit: 'percentunit', lines: OF_ROUTE },
        ),
        graph(
          'Duration',
          'Median and 99th percentile of the response time. With traces, the points are single requests.',
          { '{{route}}, p50': quantile(0.5, 'route'), '{{route}}, p99': quantile(0.99, 'route') },
          { ...OWN, unit: 's', exemplars: true, lines: OF_ROUTE },
        ),
      ],
    },
    {
      title: 'Saturation by pod',
      panels: [
        graph(
          'Event loop utilisation',
          'Share of time during which the event loop was busy. In a pod that the kernel throttles, it is 100 %.',
          {
            '{{pod}}': `${rate(`nodejs_eventloop_utilization_histogram_sum{${SERVICE}}`)} / ${rate(
              `nodejs_eventloop_utilization_histogram_count{${SERVICE}}`,
            )}`,
          },
          { ...OWN, unit: 'percentunit', max: 1 },
        ),
        graph(
          'Event loop lag, 99th percentile',
          'Delay of timers. A pod answers 503 if the mean exceeds config.pressure.maxEventLoopDelayMilliseconds.',
          { '{{pod}}': `nodejs_eventloop_lag_p99_seconds{${SERVICE}}` },
          { ...OWN, unit: 's' },
        ),
        graph(
          'CPU',
          'CPU cores that the process uses.',
          { '{{pod}}': rate(`process_cpu_seconds_total{${SERVICE}}`) },
          { ...OWN, unit: 'none' },
        ),
        graph(
          'Memory',
          'Resident memory of the process, and the used part of its heap.',
          {
            '{{pod}}, resident': `process_resident_memory_bytes{${SERVICE}}`,
            '{{pod}}, heap': `nodejs_heap_size_used_bytes{${SERVICE}}`,
          },
          { ...OWN, unit: 'bytes' },
        ),
        graph(
          'Garbage collection',
          'Share of time that the process spends on garbage collection.',
          { '{{pod}}': `sum by (pod) (${rate(`nodejs_gc_duration_seconds_sum{${SERVICE}}`)})` },
          { ...OWN, unit: 'percentunit' },
        ),
        graph(
          'Scrapes',
          'Pods that Prometheus can scrape, and pods that it cannot.',
          {
            answering: `sum(up{${SERVICE}})`,
            silent: `count(up{${SERVICE}} == 0) or vector(0)`,
          },
          { ...OWN, unit: 'short' },
        ),
      ],
    },
    {
      title: 'Dependencies',
      panels: [
        graph(
          'Cache reads',
          'Reads through the cache per second: hits, stale values that are being reloaded, and misses.',
          { '{{outcome}}': `sum by (outcome) (${rate(`cache_requests_total{${SERVICE}}`)})` },
          { ...OWN, unit: 'ops' },
        ),
        graph(
          'Database connections',
          'Connections of all pools by state, and calls that wait for one.',
          { '{{state}}': `sum by (state) (database_pool_connections{${SERVICE}})` },
          { ...OWN, unit: 'short' },
        ),
        graph(
          'Pods without a response',
          'Pods that get no response from the database or from the shared cache.',
          { database: silent('database_up'), cache: silent('cache_store_up') },
          { ...OWN, unit: 'short' },
        ),
      ],
    },
    {
      title: 'Logs (with Loki)',
      columns: 1,
      collapsed: true,
      panels: [
        linesGraph(
          'Lines by level',
          'Lines per interval. The service limits its lines, so in an outage the metrics count more.',
          '{{level}}',
          `sum by (level) (count_over_time(${LINES}[$__auto]))`,
        ),
        lines(
          'Warnings and errors',
          'Warnings and errors of the selected time.',
          `${LINES} | level=~"warn|error|fatal"`,
        ),
        lines(
          'Failed or slow requests',
          'Requests of the selected time that ended in a 5xx or took more than 300 ms.',
          FAILED_OR_SLOW,
        ),
      ],
    },
  ]).build()
}

/** Number of pods in which `gauge` is 0; no value if no pod has the gauge. */
function silent(gauge: string): string {
  return `count(${gauge}{${SERVICE}} == 0) or 0 * count(${gauge}{${SERVICE}})`
}

function autoscaling(): Dashboard {
  const builder = ofService(
    'fastify-app-autoscaling',
    'fastify-app: autoscaling',
    'From load to pods to nodes: what the HPA wants, how fast pods become ready, and what Karpenter launches.',
  )
  const used = `sum(${rate(`container_cpu_usage_seconds_total{${PODS}, container!=""}`)})`
  const requested = `sum(kube_pod_container_resource_requests{${PODS}, resource="cpu"})`
  return withRows(builder, [
    {
      title: 'Load and replicas',
      panels: [
        graph(
          'Requests',
          'Requests per second.',
          { requests: `sum(${rate(REQUESTS)})` },
          { ...OWN, unit: 'reqps' },
        ),
        graph(
          'Replicas',
          'What the HPA wants, what exists, what is ready, and the limits of the HPA.',
          {
            wanted: `max(kube_horizontalpodautoscaler_status_desired_replicas{${HPA}})`,
            current: `max(kube_horizontalpodautoscaler_status_current_replicas{${HPA}})`,
            ready: `max(kube_deployment_status_replicas_ready{${DEPLOYMENT}})`,
            maximum: `max(kube_horizontalpodautoscaler_spec_max_replicas{${HPA}})`,
            minimum: `max(kube_horizontalpodautoscaler_spec_min_replicas{${HPA}})`,
          },
          { unit: 'short' },
        ),
        graph(
          'CPU, in percent of the request',
          'The metric that the HPA compares with its target.',
          { used: `${used} / ${requested}` },
          { unit: 'percentunit' },
        ),
        graph(
          'Event loop utilisation',
          'Mean over the pods.',
          {
            utilisation: `sum(${rate(`nodejs_eventloop_utilization_histogram_sum{${SERVICE}}`)}) / sum(${rate(
              `nodejs_eventloop_utilization_histogram_count{${SERVICE}}`,
            )})`,
          },
          { ...OWN, unit: 'percentunit', max: 1 },
        ),
        graph(
          'Duration, 95th percentile',
          'What users notice until new pods are ready.',
          { p95: quantile(0.95, '') },
          { ...OWN, unit: 's' },
        ),
        graph(
          'HPA conditions',
          '1 while the HPA cannot read its metrics, and while its limits prevent it from scaling.',
          {
            'cannot scale': `max(kube_horizontalpodautoscaler_status_condition{${HPA}, condition="ScalingActive", status="false"})`,
            limited: `max(kube_horizontalpodautoscaler_status_condition{${HPA}, condition="ScalingLimited", status="true"})`,
          },
          { unit: 'short', max: 1 },
        ),
      ],
    },
    {
      title: 'Pods',
      panels: [
        graph(
          'Phase',
          'Pods by phase. A pending pod waits for a node, or for its image.',
          { '{{phase}}': `sum by (phase) (kube_pod_status_phase{${PODS}})` },
          { unit: 'short' },
        ),
        graph(
          'Time until ready',
          'Seconds from the creation of a pod until it was ready, for the pods that exist now.',
          {
            '{{pod}}': `kube_pod_status_ready_time{${PODS}} - on (namespace, pod) kube_pod_created{${PODS}}`,
          },
          { unit: 's' },
        ),
        graph(
          'Restarts',
          'Restarts of containers in the last 15 minutes.',
          { '{{pod}}': `sum by (pod) (increase(kube_pod_container_status_restarts_total{${PODS}}[15m]))` },
          { unit: 'short' },
        ),
      ],
    },
    {
      title: 'Nodes and Karpenter',
      panels: [
        graph('Nodes', 'Nodes of the cluster.', { nodes: 'count(kube_node_info)' }, { unit: 'short' }),
        graph(
          'NodeClaims created and disrupted',
          'Launches and disruptions, by reason.',
          {
            'created, {{reason}}': `sum by (reason) (${increase('karpenter_nodeclaims_created_total')})`,
            'disrupted, {{reason}}': `sum by (reason) (${increase('karpenter_nodeclaims_disrupted_total')})`,
          },
          { unit: 'short' },
        ),
        graph(
          'Pods that wait for nodes',
          'Pods in Karpenter’s queue, and pods for which no NodePool has a place.',
          {
            queue: 'sum(karpenter_scheduler_queue_depth)',
            unschedulable: 'sum(karpenter_scheduler_unschedulable_pods_count)',
          },
          { unit: 'short' },
        ),
        graph(
          'NodePools',
          'Share of the limit of each NodePool that is used. At 100 %, Karpenter launches no more nodes.',
          {
            '{{nodepool}}, {{resource_type}}':
              'max by (nodepool, resource_type) (karpenter_nodepools_usage) / max by (nodepool, resource_type) (karpenter_nodepools_limit)',
          },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Calls to AWS',
          'Mean duration of Karpenter’s calls to AWS by method.',
          {
            '{{method}}': `sum by (method) (${rate('karpenter_cloudprovider_duration_seconds_sum')}) / sum by (method) (${rate(
              'karpenter_cloudprovider_duration_seconds_count',
            )})`,
          },
          { unit: 's' },
        ),
        graph(
          'Failed calls to AWS',
          'Errors by method. InsufficientCapacityError means that EC2 has run out of a type of instance.',
          {
            '{{method}}, {{error}}': `sum by (method, error) (${increase('karpenter_cloudprovider_errors_total')})`,
          },
          { unit: 'short' },
        ),
      ],
    },
  ]).build()
}

/** The windows of the alerts on the objectives: see templates/prometheusrule.yaml. */
const WINDOWS = ['5m', '30m', '1h', '6h', '1d', '3d'] as const

function badRatio(bad: string, window: string): string {
  const sum = (series: string) => `sum(sum_over_time(${series}{${SERVICE}}[${window}]))`
  return `${sum(bad)} / (${sum('job:http_requests:rate')} > 0)`
}

function burnRates(bad: string, budget: string): Queries {
  return Object.fromEntries(WINDOWS.map((window) => [window, `${badRatio(bad, window)} / ${budget}`]))
}

/** The burn rates at which the alerts fire. */
const BURN_THRESHOLDS = [
  [1, 'yellow'],
  [6, 'orange'],
  [14.4, 'red'],
] as const

/** What a dashboard of the objectives needs to know about them. */
export interface Objectives {
  availabilityPercent: number
  p95Milliseconds: number
}

function objectives({ availabilityPercent, p95Milliseconds }: Objectives): Dashboard {
  const failed = 'job:http_requests_failed:rate'
  const slow = 'job:http_requests_slow:rate'
  const errorBudget = '(1 - $availability / 100)'
  // 95 % of the requests must be fast.
  const latencyBudget = '0.05'
  const fast = `${p95Milliseconds} ms`
  const builder = ofService(
    'fastify-app-slo',
    'fastify-app: objectives',
    'How much of the error budget the service has used, and how fast it uses it. Needs the recording rules of the chart.',
  )
    .withVariable(
      new TextBoxVariableBuilder('availability')
        .label('Objective: % without a 5xx')
        .defaultValue(String(availabilityPercent))
        .current({ text: String(availabilityPercent), value: String(availabilityPercent) }),
    )
    .time({ from: 'now-24h', to: 'now' })
    .refresh('1m')
  return withRows(builder, [
    {
      title: 'In the selected time',
      panels: [
        stat(
          'Without a 5xx',
          'Share of requests that did not end in a 5xx.',
          `1 - ${badRatio(failed, '$__range')}`,
          { unit: 'percentunit' },
        ),
        stat(
          'Error budget used',
          'Share of the errors that the objective allows for the selected time.',
          `${badRatio(failed, '$__range')} / ${errorBudget}`,
          {
            unit: 'percentunit',
            thresholds: [
              [0.8, 'orange'],
              [1, 'red'],
            ],
          },
        ),
        stat(
          `Within ${fast}`,
          `Share of requests that took at most ${fast}. The objective is 95 %.`,
          `1 - ${badRatio(slow, '$__range')}`,
          { unit: 'percentunit' },
        ),
        stat(
          'Latency budget used',
          'Share of the slow requests that the objective allows for the selected time.',
          `${badRatio(slow, '$__range')} / ${latencyBudget}`,
          {
            unit: 'percentunit',
            thresholds: [
              [0.8, 'orange'],
              [1, 'red'],
            ],
          },
        ),
      ],
    },
    {
      title: 'Burn rates',
      panels: [
        graph(
          'Errors',
          'At 1, the budget for 30 days lasts 30 days. Alerts fire at 14.4 (1h), 6 (6h), 3 (1d) and 1 (3d).',
          burnRates(failed, errorBudget),
          { unit: 'short', thresholds: BURN_THRESHOLDS },
        ),
        graph(
          'Latency',
          `The same for requests that take longer than ${fast}. At 20, every request is slow.`,
          burnRates(slow, latencyBudget),
          { unit: 'short', thresholds: BURN_THRESHOLDS },
        ),
      ],
    },
    {
      title: 'Requests',
      panels: [
        graph(
          'All, failed and slow',
          'Requests per second, without the routes for load tests.',
          {
            all: `sum(job:http_requests:rate{${SERVICE}})`,
            failed: `sum(${failed}{${SERVICE}})`,
            slow: `sum(${slow}{${SERVICE}})`,
          },
          { unit: 'reqps' },
        ),
        graph(
          'Failed, by route',
          'Requests per second that end in a 5xx.',
          {
            '{{method}} {{route}} {{status_code}}': `sum by (method, route, status_code) (${rate(FAILED)})`,
          },
          { ...OWN, unit: 'reqps' },
        ),
        graph(
          'Alerts',
          'Alerts of this release that fire or wait.',
          {
            '{{alertname}} {{window}} ({{alertstate}})':
              'count by (alertname, window, alertstate) (ALERTS{release="$job"})',
          },
          { unit: 'short' },
        ),
      ],
    },
  ]).build()
}

function cluster(): Dashboard {
  const builder = dashboard(
    'fastify-eks-cluster',
    'Cluster',
    'Nodes, pods, volumes, the API server and the controllers that all services share.',
  )
  return withRows(builder, [
    {
      title: 'Now',
      panels: [
        stat(
          'Nodes ready',
          'Nodes that accept pods.',
          'sum(kube_node_status_condition{condition="Ready", status="true"})',
          {
            unit: 'short',
          },
        ),
        stat(
          'Nodes not ready',
          'Nodes whose kubelet reports a problem, or does not report.',
          'count(kube_node_info) - sum(kube_node_status_condition{condition="Ready", status="true"})',
          {
            unit: 'short',
            thresholds: [[1, 'red']],
          },
        ),
        stat(
          'Pods pending',
          'Pods that wait for a node or for an image.',
          'sum(kube_pod_status_phase{phase="Pending"})',
          {
            unit: 'short',
            thresholds: [[1, 'orange']],
          },
        ),
        stat('Targets down', 'Targets that Prometheus cannot scrape.', 'count(up == 0) or vector(0)', {
          unit: 'short',
          thresholds: [[1, 'orange']],
        }),
      ],
    },
    {
      title: 'Nodes',
      panels: [
        graph(
          'CPU requests',
          'Share of the allocatable CPU that pods request. The scheduler uses this, not the actual use.',
          {
            '{{node}}':
              'sum by (node) (kube_pod_container_resource_requests{resource="cpu"}) / sum by (node) (kube_node_status_allocatable{resource="cpu"})',
          },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Memory requests',
          'Share of the allocatable memory that pods request.',
          {
            '{{node}}':
              'sum by (node) (kube_pod_container_resource_requests{resource="memory"}) / sum by (node) (kube_node_status_allocatable{resource="memory"})',
          },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Pods',
          'Pods on each node.',
          { '{{node}}': 'count by (node) (kube_pod_info{node!=""})' },
          { unit: 'short' },
        ),
        graph(
          'CPU use',
          'Share of time during which the CPUs were not idle.',
          { '{{instance}}': `1 - avg by (instance) (${rate('node_cpu_seconds_total{mode="idle"}')})` },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Memory use',
          'Share of memory that is not available.',
          { '{{instance}}': '1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes' },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Throttled containers',
          'Share of the scheduling periods in which a container had used its CPU limit.',
          {
            '{{namespace}}/{{pod}}': `topk(10, sum by (namespace, pod) (${rate(
              'container_cpu_cfs_throttled_periods_total',
            )}) / sum by (namespace, pod) (${rate('container_cpu_cfs_periods_total')}))`,
          },
          { unit: 'percentunit', max: 1 },
        ),
      ],
    },
    {
      title: 'Control plane and controllers',
      panels: [
        graph(
          'API requests',
          'Requests per second by status code.',
          { '{{code}}': `sum by (code) (${rate('apiserver_request_total')})` },
          { unit: 'reqps' },
        ),
        graph(
          'API latency, 99th percentile',
          'Without watches and other long requests.',
          {
            '{{verb}}': `histogram_quantile(0.99, sum by (le, verb) (${rate(
              'apiserver_request_duration_seconds_bucket{verb!~"WATCH|CONNECT"}',
            )}))`,
          },
          { unit: 's' },
        ),
        graph(
          'Failed reconciliations',
          'Errors of Karpenter’s and the load balancer controller’s loops.',
          {
            '{{job}}, {{controller}}': `sum by (job, controller) (${increase(
              'controller_runtime_reconcile_errors_total',
            )}) > 0`,
          },
          { unit: 'short' },
        ),
        graph(
          'Calls of the load balancer controller to AWS',
          'Requests per second by service and error code.',
          { '{{service}} {{error_code}}': `sum by (service, error_code) (${rate('aws_api_calls_total')})` },
          { unit: 'reqps' },
        ),
        graph(
          'Readiness gates, 95th percentile',
          'Time until the load balancer considers a new pod healthy.',
          {
            '{{namespace}}/{{name}}': `histogram_quantile(0.95, sum by (le, namespace, name) (${rate(
              'awslbc_readiness_gate_ready_seconds_bucket',
            )}))`,
          },
          { unit: 's' },
        ),
        graph(
          'Interruptions',
          'Messages from EC2 about instances that will be interrupted.',
          {
            '{{message_type}}': `sum by (message_type) (${increase('karpenter_interruption_received_messages_total')})`,
          },
          { unit: 'short' },
        ),
      ],
    },
    {
      title: 'Volumes and certificates',
      panels: [
        graph(
          'Free space',
          'Share of each volume that is free.',
          {
            '{{namespace}}/{{persistentvolumeclaim}}':
              'max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes)',
          },
          { unit: 'percentunit', max: 1 },
        ),
        graph(
          'Serving certificates of the kubelets',
          'Time until they expire. The kubelets renew them before.',
          { '{{node}}': 'min by (node) (kubelet_certificate_manager_server_ttl_seconds)' },
          { unit: 's' },
        ),
      ],
    },
  ]).build()
}

const SERVICE_CHART = 'helm/fastify-app/dashboards'
const CLUSTER_CHART = 'infrastructure-hcl/platform/releases/charts/cluster-monitoring/dashboards'

/** All dashboards by their path in the repository. */
export function dashboards(values: Objectives): ReadonlyMap<string, Dashboard> {
  return new Map([
    [`${SERVICE_CHART}/fastify-app.json`, service()],
    [`${SERVICE_CHART}/autoscaling.json`, autoscaling()],
    [`${SERVICE_CHART}/objectives.json`, objectives(values)],
    [`${CLUSTER_CHART}/cluster.json`, cluster()],
  ])
}
