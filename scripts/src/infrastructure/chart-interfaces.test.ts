/**
 * The values that the platform gives to charts which the box cannot install: Helm ignores a value that a chart does not
 * have. The interfaces are recorded from the published charts. There, a null or an empty map can have any content, and so
 * can what a chart only hands on as the configuration of its program.
 */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import type { DescribedRelease } from './releases.ts'

// Each plan runs Terraform, which takes seconds on a busy machine.
t.setTimeout(120_000)

type ValueType = 'any' | 'bool' | 'list' | 'map' | 'number' | 'string'

interface ChartInterface {
  chart: string
  version: string
  repository: string
  /** Types of the chart's default values, by their path. */
  values: Record<string, ValueType>
}

const directory = join(REPOSITORY_ROOT, 'infrastructure-hcl', 'tests', 'chart-interfaces')
const interfaces = readdirSync(directory).map(
  (file) => JSON.parse(readFileSync(join(directory, file), 'utf8')) as ChartInterface,
)

const variables = {
  environment: 'check',
  cluster: {
    region: 'eu-central-1',
    cluster_name: 'checked-cluster',
    vpc_id: 'vpc-0123456789abcdef0',
    karpenter_queue_name: 'checked-queue',
    karpenter_node_role_name: 'checked-node-role',
    node_subnet_ids: ['subnet-0123456789abcdef0'],
    load_balancer_controller_role_arn: 'arn:aws:iam::123456789012:role/checked-role',
    metrics_server_addon: true,
    deploy_group: 'checked:deploy',
    pod_log_group: '/aws/eks/checked-cluster/pods',
    trace_role: true,
  },
  controller_replicas: 2,
  node_limits: { cpu: 8, memory: '16Gi' },
  monitoring: { enabled: true },
}

/** The described releases, by name. */
async function releases(t: Test, chosen: object): Promise<Record<string, DescribedRelease>> {
  const copy = t.testdir()
  for (const part of ['infrastructure-hcl/platform/releases', 'helm/karpenter-nodes']) {
    cpSync(join(REPOSITORY_ROOT, part), join(copy, part), { recursive: true })
  }
  const cwd = join(copy, 'infrastructure-hcl', 'platform', 'releases')
  writeFileSync(join(cwd, 'terraform.tfvars.json'), JSON.stringify({ ...variables, ...chosen }))
  const terraform = (...args: string[]) =>
    execa('terraform', args, { cwd, env: { TF_INPUT: 'false', CHECKPOINT_DISABLE: 'true' } })
  await terraform('init')
  await terraform('plan', '-out=plan')
  const { planned_values } = JSON.parse((await terraform('show', '-json', 'plan')).stdout) as {
    planned_values: { outputs: { releases: { value: Record<string, DescribedRelease> } } }
  }
  return planned_values.outputs.releases.value
}

function typeOf(value: unknown): ValueType {
  if (value === null) return 'any'
  if (Array.isArray(value)) return 'list'
  if (typeof value === 'boolean') return 'bool'
  if (typeof value === 'object') return 'map'
  return typeof value === 'number' ? 'number' : 'string'
}

/** Paths of `values` that the chart does not have, or has with another type. */
function unknownValues(values: unknown, chart: ChartInterface['values'], path = ''): string[] {
  const type = typeOf(values)
  const expected = path === '' ? 'map' : chart[path]
  if (expected === undefined) return [path]
  if (expected === 'any' || type === 'any') return []
  if (type !== expected) return [`${path}: ${type}, not ${expected}`]
  const hasFixedKeys = path === '' || Object.keys(chart).some((name) => name.startsWith(`${path}.`))
  if (type !== 'map' || !hasFixedKeys) return []
  return Object.entries(values as object).flatMap(([name, value]) =>
    unknownValues(value, chart, path === '' ? name : `${path}.${name}`),
  )
}

t.test('the comparison finds unknown names and other types', (t) => {
  const chart = { replicas: 'number', image: 'map', 'image.tag': 'any', labels: 'map' } as const
  t.strictSame(unknownValues({ replicas: 1, image: { tag: 'v1' }, labels: { a: 'b' } }, chart), [])
  t.strictSame(unknownValues({ replicas: '1', image: { tags: 'v1' }, label: {} }, chart), [
    'replicas: string, not number',
    'image.tags',
    'label',
  ])
  t.end()
})

for (const chosen of [
  { logs: { store: 'loki' }, traces: { backend: 'tempo' } },
  { logs: { store: 'cloudwatch' }, traces: { backend: 'xray' } },
]) {
  const { logs, traces } = chosen
  t.test(
    `${logs.store} and ${traces.backend}: the charts have all values that the releases set`,
    async (t) => {
      const described = await releases(t, chosen)
      const names = Object.keys(described).filter((name) => interfaces.some(({ chart }) => chart === name))
      t.strictSame(
        names.sort(),
        logs.store === 'loki'
          ? ['fluent-bit', 'loki', 'opentelemetry-collector', 'tempo']
          : ['fluent-bit', 'opentelemetry-collector'],
      )
      for (const { chart, version, repository, values } of interfaces) {
        const release = described[chart]
        if (release === undefined) continue
        t.match(release, { version, repository }, `${chart}: the recorded version`)
        t.strictSame(unknownValues(parse(release.values[0] ?? ''), values), [], chart)
      }
    },
  )
}
