import t from 'tap'
import {
  ruleFiles,
  type ScrapeConfiguration,
  type ServiceMonitor,
  scrapeConfigurations,
} from './configuration.ts'

const monitor: ServiceMonitor = {
  metadata: { namespace: 'apps', name: 'web' },
  spec: {
    jobLabel: 'app.kubernetes.io/instance',
    selector: { matchLabels: { 'app.kubernetes.io/name': 'web.one' } },
    endpoints: [{ port: 'metrics', path: '/m', interval: '15s', scrapeTimeout: '5s' }],
  },
}

/** A monitor with other fields in its specification. */
const withSpec = (spec: Partial<ServiceMonitor['spec']>): ServiceMonitor => ({
  ...monitor,
  spec: { ...monitor.spec, ...spec },
})

/** The configuration of a monitor with one endpoint. */
function configurationOf(scraped: ServiceMonitor): ScrapeConfiguration {
  const [scrape, ...others] = scrapeConfigurations(scraped)
  if (scrape === undefined || others.length > 0) throw new Error('not one endpoint')
  return scrape
}

t.test('a ServiceMonitor selects the endpoints of its Services by labels and port', async (t) => {
  const scrape = configurationOf(monitor)
  t.match(scrape, {
    job_name: 'serviceMonitor/apps/web/0',
    metrics_path: '/m',
    scrape_interval: '15s',
    scrape_timeout: '5s',
    honor_labels: false,
  })
  t.strictSame(scrape.relabel_configs.slice(0, 3), [
    { source_labels: ['__meta_kubernetes_namespace'], regex: 'apps', action: 'keep' },
    {
      source_labels: ['__meta_kubernetes_service_label_app_kubernetes_io_name'],
      regex: 'web\\.one',
      action: 'keep',
    },
    {
      source_labels: ['__meta_kubernetes_endpointslice_port_name'],
      regex: 'metrics',
      action: 'keep',
    },
  ])
})

t.test('the job is the Service, or the value of its label that jobLabel names', async (t) => {
  const jobs = (scraped: ServiceMonitor) =>
    configurationOf(scraped)
      .relabel_configs.filter((relabeling) => relabeling['target_label'] === 'job')
      .map((relabeling) => relabeling['source_labels'])
  t.strictSame(jobs(monitor), [
    ['__meta_kubernetes_service_name'],
    ['__meta_kubernetes_service_label_app_kubernetes_io_instance'],
  ])
  const { jobLabel: _, ...spec } = monitor.spec
  t.strictSame(jobs({ ...monitor, spec }), [['__meta_kubernetes_service_name']])
})

t.test('a ServiceMonitor can select other namespaces, or all', async (t) => {
  const namespaces = (namespaceSelector: ServiceMonitor['spec']['namespaceSelector'] & object) =>
    configurationOf(withSpec({ namespaceSelector }))
      .relabel_configs.filter((relabeling) =>
        String(relabeling['source_labels']).endsWith('_kubernetes_namespace'),
      )
      .flatMap((relabeling) => relabeling['regex'] ?? [])
  t.strictSame(namespaces({ matchNames: ['a', 'b'] }), ['a|b'])
  t.strictSame(namespaces({ any: true }), [])
})

t.test('relabellings keep their order and get the spelling of Prometheus', async (t) => {
  const endpoint = {
    port: 'metrics',
    relabelings: [{ sourceLabels: ['a'], targetLabel: 'b' }],
    metricRelabelings: [{ sourceLabels: ['__name__'], regex: 'go_.*', action: 'drop' }],
  }
  const scrape = configurationOf(withSpec({ endpoints: [endpoint] }))
  t.strictSame(scrape.relabel_configs.at(-1), { source_labels: ['a'], target_label: 'b' })
  t.strictSame(scrape.metric_relabel_configs, [
    { source_labels: ['__name__'], regex: 'go_.*', action: 'drop' },
  ])
})

t.test('a field that the box does not translate is refused', async (t) => {
  const refused = [
    withSpec({ endpoints: [{ port: 'metrics', tlsConfig: {} } as ServiceMonitor['spec']['endpoints'][0]] }),
    withSpec({ sampleLimit: 1 } as Partial<ServiceMonitor['spec']>),
  ]
  for (const scraped of refused) {
    t.throws(() => scrapeConfigurations(scraped), {
      message: /^the ServiceMonitor apps\/web has (tlsConfig|sampleLimit), which the box does not translate/,
      nextStep: /configuration\.ts$/,
    })
  }
})

t.test('each PrometheusRule is a file with its groups', async (t) => {
  const groups = [{ name: 'web-errors', rules: [{ alert: 'A', expr: 'up == 0' }] }]
  t.strictSame(ruleFiles([{ metadata: { namespace: 'apps', name: 'web' }, spec: { groups } }]), {
    'apps-web.rules.yaml': { groups },
  })
})
