import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { lintChart, readChartPrograms, renderChart } from './chart.ts'

const nodes = join(REPOSITORY_ROOT, 'helm', 'karpenter-nodes')
const baseline = join(
  REPOSITORY_ROOT,
  'infrastructure-hcl',
  'platform',
  'releases',
  'charts',
  'cluster-baseline',
)

const monitoring = join(baseline, '..', 'cluster-monitoring')

const programs = readChartPrograms(process.env)

async function render(chart: string, overrides: Record<string, unknown>) {
  const manifests = parseAllDocuments(await renderChart(programs, chart, { files: [], overrides }))
    .map((document) => document.toJS())
    .filter((manifest) => manifest !== null)
  return (kind: string, name?: string) =>
    manifests.find((object) => object.kind === kind && (name === undefined || object.metadata.name === name))
}

const cluster = { clusterName: 'fastify-eks-cluster', nodeRoleName: 'fastify-eks-cluster-karpenter-node' }

t.test('Karpenter launches small on-demand ARM64 nodes, and removes empty ones after 30 s', async (t) => {
  const { spec } = (await render(nodes, cluster))('NodePool')
  const allowed = Object.fromEntries(
    spec.template.spec.requirements.map(({ key, values }: { key: string; values: string[] }) => [
      key,
      values,
    ]),
  )
  t.strictSame(allowed['kubernetes.io/arch'], ['arm64'])
  t.strictSame(allowed['karpenter.sh/capacity-type'], ['on-demand'])
  t.strictSame(allowed['node.kubernetes.io/instance-type'], ['t4g.small', 'c6g.medium'])
  t.equal(spec.disruption.consolidateAfter, '30s')
  t.ok(spec.limits.cpu && spec.limits.memory, 'never without a limit')
  t.ok(spec.template.spec.expireAfter)
})

t.test('nodes can be amd64, but only with instance types of that architecture', async (t) => {
  const amd64 = { architecture: 'amd64', instanceTypes: ['t3a.small', 'c6a.large'] }
  const { spec } = (await render(nodes, { ...cluster, ...amd64 }))('NodePool')
  t.match(spec.template.spec.requirements, [
    {},
    { key: 'kubernetes.io/arch', values: ['amd64'] },
    {},
    { values: amd64.instanceTypes },
  ])
  await t.rejects(render(nodes, { ...cluster, architecture: 'amd64' }), { message: /instanceTypes/ })
  await t.rejects(render(nodes, { ...cluster, instanceTypes: ['t3.small'] }), { message: /instanceTypes/ })
})

t.test('its nodes have encrypted volumes and a metadata service that pods cannot reach', async (t) => {
  const { spec } = (await render(nodes, cluster))('EC2NodeClass')
  t.match(spec.metadataOptions, { httpTokens: 'required', httpPutResponseHopLimit: 1 })
  t.match(spec.blockDeviceMappings[0].ebs, { encrypted: true, volumeType: 'gp3' })
  t.notMatch(spec.amiSelectorTerms[0].alias, /@latest$/, 'a pinned image')
  for (const terms of [spec.subnetSelectorTerms, spec.securityGroupSelectorTerms]) {
    t.strictSame(terms, [{ tags: { 'karpenter.sh/discovery': cluster.clusterName } }])
  }
})

t.test('nodes use the subnets of the values, whatever their tags', async (t) => {
  const subnetIds = ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1']
  const { spec } = (await render(nodes, { ...cluster, subnetIds }))('EC2NodeClass')
  t.strictSame(
    spec.subnetSelectorTerms,
    subnetIds.map((id) => ({ id })),
  )
})

t.test('the cases of the chart render, and unknown values are refused', async (t) => {
  for (const file of readdirSync(join(nodes, 'ci'))) {
    await lintChart(programs, nodes, { files: [join(nodes, 'ci', file)], overrides: {} })
  }
  await t.rejects(render(nodes, { ...cluster, instanceType: 'm5.large' }), { message: /instanceType/ })
  await t.rejects(render(nodes, {}), { message: /nodeRoleName is empty: set it/ })
})

t.test('the baseline has a restricted namespace, encrypted volumes and a role for CI', async (t) => {
  const find = await render(baseline, { deployGroup: 'fastify-app:deploy', monitoring: true })
  t.match(find('Namespace', 'fastify-app').metadata.labels, {
    'pod-security.kubernetes.io/enforce': 'restricted',
  })
  t.match(find('StorageClass'), {
    provisioner: 'ebs.csi.aws.com',
    parameters: { type: 'gp3', encrypted: 'true' },
  })
  const binding = find('RoleBinding')
  t.equal(binding.metadata.namespace, 'fastify-app')
  t.match(binding.subjects, [{ kind: 'Group', name: 'fastify-app:deploy' }])
  const rules = find('Role').rules as { resources: string[]; verbs: string[] }[]
  t.notOk(
    rules.some(({ resources, verbs }) => resources.includes('*') || verbs.includes('*')),
    'it lists the permissions that a deployment needs, without wildcards',
  )
})

t.test('the cluster has alerts and a dashboard, with the labels of a foreign operator too', async (t) => {
  const find = await render(monitoring, {})
  t.match(find('ConfigMap', 'cluster-monitoring-dashboard-cluster'), {
    metadata: { labels: { grafana_dashboard: '1' } },
    data: { 'cluster.json': /"title": "Cluster"/ },
  })
  const labelled = await render(monitoring, {
    runbookUrl: 'https://example.org/runbooks/',
    ruleLabels: { release: 'monitoring' },
    dashboardLabels: { grafana_dashboard: null, dashboards: 'grafana' },
  })
  const rule = labelled('PrometheusRule')
  t.match(rule.metadata.labels, { release: 'monitoring' })
  t.match(rule.spec.groups[0].rules[0].annotations, {
    runbook_url: 'https://example.org/runbooks/KarpenterDown.md',
  })
  t.strictSame(labelled('ConfigMap').metadata.labels, { dashboards: 'grafana' })
  await t.rejects(render(monitoring, { runbookUrl: 'docs' }), { message: /runbookUrl/ })
})

interface CustomManager {
  managerFilePatterns: [string]
  matchStrings: [string]
}

t.test('Renovate finds every chart of the platform stack and the AMI of the nodes', async (t) => {
  const read = (path: string) => readFileSync(join(REPOSITORY_ROOT, path), 'utf8')
  const { customManagers } = JSON.parse(read('renovate.json')) as { customManagers: CustomManager[] }
  const found = customManagers.map(({ managerFilePatterns: [file], matchStrings: [pattern] }) =>
    [...read(file).matchAll(new RegExp(pattern, 'g'))].map(({ groups }) => groups),
  )
  const [charts, ociCharts, images] = found
  t.strictSame(
    [...(charts ?? []), ...(ociCharts ?? [])].map((groups) => groups?.['depName']).sort(),
    [
      ...read('infrastructure-hcl/platform/releases/charts.tf').matchAll(
        /^ {4}([a-z-]+) += \{ repository = /gm,
      ),
    ]
      .map(([, name]) => name)
      .sort(),
  )
  t.ok(ociCharts?.every((groups) => groups?.['repository'] === 'public.ecr.aws/karpenter'))
  t.match(images, [{ currentValue: /^v\d{8}$/ }])
})
