/**
 * Translates the cluster's ServiceMonitors and PrometheusRules to the configuration of Prometheus, as the Prometheus
 * operator does on EKS.
 */
import { ActionableError } from 'shared/errors'

interface Metadata {
  namespace: string
  name: string
}

/** A relabelling step, in the operator's spelling. */
type Relabeling = Readonly<Record<string, unknown>>

interface Endpoint {
  port: string
  path?: string
  scheme?: 'http'
  interval?: string
  scrapeTimeout?: string
  honorLabels?: boolean
  relabelings?: readonly Relabeling[]
  metricRelabelings?: readonly Relabeling[]
}

/** The fields of a ServiceMonitor that the box supports. */
export interface ServiceMonitor {
  metadata: Metadata
  spec: {
    jobLabel?: string
    selector: { matchLabels: Readonly<Record<string, string>> }
    namespaceSelector?: { matchNames?: readonly string[]; any?: boolean }
    endpoints: readonly Endpoint[]
  }
}

/** The groups are already in the format of Prometheus. */
export interface PrometheusRule {
  metadata: Metadata
  spec: { groups: readonly Readonly<Record<string, unknown>>[] }
}

/** A scrape configuration, in the format of Prometheus. */
export interface ScrapeConfiguration {
  job_name: string
  http_sd_configs: readonly object[]
  metrics_path: string
  scrape_interval?: string
  scrape_timeout?: string
  honor_labels: boolean
  relabel_configs: readonly Relabeling[]
  metric_relabel_configs: readonly Relabeling[]
}

const supported = {
  spec: ['jobLabel', 'selector', 'namespaceSelector', 'endpoints'],
  selector: ['matchLabels'],
  namespaceSelector: ['matchNames', 'any'],
  endpoint: [
    ...['port', 'path', 'scheme', 'interval', 'scrapeTimeout', 'honorLabels'],
    ...['relabelings', 'metricRelabelings'],
  ],
}

/**
 * The scrape configurations of a ServiceMonitor, one for each endpoint. Targets get the labels that the operator gives
 * them.
 *
 * @throws ActionableError when the monitor has a field that the box does not translate.
 */
export function scrapeConfigurations({ metadata, spec }: ServiceMonitor): ScrapeConfiguration[] {
  const where = `the ServiceMonitor ${metadata.namespace}/${metadata.name}`
  requireSupported(where, spec, supported.spec)
  requireSupported(where, spec.selector, supported.selector)
  requireSupported(where, spec.namespaceSelector ?? {}, supported.namespaceSelector)
  const { matchNames = [metadata.namespace], any = false } = spec.namespaceSelector ?? {}
  return spec.endpoints.map((endpoint, index) => {
    requireSupported(where, endpoint, supported.endpoint)
    if ((endpoint.scheme ?? 'http') !== 'http') throw unsupported(where, 'scheme https')
    return {
      job_name: `serviceMonitor/${metadata.namespace}/${metadata.name}/${index}`,
      http_sd_configs: [{ url: 'http://localhost:9092/endpointslices', refresh_interval: '5s' }],
      metrics_path: endpoint.path ?? '/metrics',
      ...(endpoint.interval === undefined ? {} : { scrape_interval: endpoint.interval }),
      ...(endpoint.scrapeTimeout === undefined ? {} : { scrape_timeout: endpoint.scrapeTimeout }),
      honor_labels: endpoint.honorLabels ?? false,
      relabel_configs: [
        ...(any
          ? []
          : [
              { source_labels: ['__meta_kubernetes_namespace'], regex: matchNames.join('|'), action: 'keep' },
            ]),
        ...Object.entries(spec.selector.matchLabels).map(([label, value]) => ({
          source_labels: [serviceLabel(label)],
          regex: escapeRegex(value),
          action: 'keep',
        })),
        {
          source_labels: ['__meta_kubernetes_endpointslice_port_name'],
          regex: escapeRegex(endpoint.port),
          action: 'keep',
        },
        // A pod that has ended keeps its address for a moment.
        {
          source_labels: ['__meta_kubernetes_pod_phase'],
          regex: '(Failed|Succeeded)',
          action: 'drop',
        },
        ...Object.entries(targetLabels).map(([target, source]) => ({
          source_labels: [source],
          target_label: target,
        })),
        { source_labels: ['__meta_kubernetes_service_name'], target_label: 'job' },
        ...(spec.jobLabel === undefined
          ? []
          : [{ source_labels: [serviceLabel(spec.jobLabel)], regex: '(.+)', target_label: 'job' }]),
        { target_label: 'endpoint', replacement: endpoint.port },
        ...(endpoint.relabelings ?? []).map(inSnakeCase),
      ],
      metric_relabel_configs: (endpoint.metricRelabelings ?? []).map(inSnakeCase),
    }
  })
}

/** The rule file of each PrometheusRule, by the name of the file. */
export function ruleFiles(rules: readonly PrometheusRule[]): Record<string, PrometheusRule['spec']> {
  return Object.fromEntries(
    rules.map(({ metadata, spec }) => [
      `${metadata.namespace}-${metadata.name}.rules.yaml`,
      { groups: spec.groups },
    ]),
  )
}

/** Labels of a target, and the labels of the discovery that they come from. */
const targetLabels = {
  node: '__meta_kubernetes_pod_node_name',
  namespace: '__meta_kubernetes_namespace',
  service: '__meta_kubernetes_service_name',
  pod: '__meta_kubernetes_pod_name',
  container: '__meta_kubernetes_pod_container_name',
}

/** The label of the discovery with a Service's label. */
function serviceLabel(label: string): string {
  return `__meta_kubernetes_service_label_${label.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`
}

/** Values of labels can contain dots, which a regular expression would interpret. */
function escapeRegex(value: string): string {
  return value.replaceAll('.', '\\.')
}

/** The operator spells a relabelling's fields in camel case, Prometheus in snake case. */
function inSnakeCase(relabeling: Relabeling): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(relabeling).map(([name, value]) => [
      name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  )
}

function requireSupported(where: string, object: object, fields: readonly string[]): void {
  const other = Object.keys(object).find((field) => !fields.includes(field))
  if (other !== undefined) throw unsupported(where, other)
}

function unsupported(where: string, field: string): ActionableError {
  return new ActionableError(
    `${where} has ${field}, which the box does not translate for Prometheus`,
    'remove it, or add it to apps/eks-box/src/monitoring/configuration.ts',
  )
}
