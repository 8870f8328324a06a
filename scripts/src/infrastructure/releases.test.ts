import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import type { DescribedRelease } from './releases.ts'

const cluster = {
  region: 'eu-central-1',
  cluster_name: 'checked-cluster',
  cluster_endpoint: 'https://cluster.example',
  cluster_certificate_authority_data: 'Y2VydGlmaWNhdGU=',
  vpc_id: 'vpc-0123456789abcdef0',
  karpenter_queue_name: 'checked-queue',
  karpenter_node_role_name: 'checked-node-role',
  node_subnet_ids: ['subnet-0123456789abcdef0'],
  load_balancer_controller_role_arn: 'arn:aws:iam::123456789012:role/checked-role',
  // With monitoring, every release of the description is enabled.
  metrics_server_addon: false,
  deploy_group: 'checked:deploy',
}

/**
 * Replaces the resources and data sources of the Helm provider by Terraform's built-in `terraform_data`, which has the
 * same arguments as its input. Terraform can then plan the stack without the provider.
 */
function withoutProvider(hcl: string): string {
  const blocks = /^(?:resource "helm_release"|data "helm_template") "(\w+)" \{\n([\s\S]*?)^\}/gm
  return hcl
    .replace(blocks, (_, name: string, body: string) => {
      const parts = body.split(/^(?= {2}\w+ +=)/m)
      const isMeta = (part: string) => /^ {2}(for_each|depends_on) /.test(part)
      const crds = name === 'definitions' ? ['  crds = ["definitions of a chart"]\n'] : []
      return [
        `resource "terraform_data" "${name}" {\n`,
        ...parts.filter(isMeta),
        '  input = {\n',
        ...[...parts.filter((part) => !isMeta(part)), ...crds],
        '  }\n}',
      ].join('')
    })
    .replace(/data\.helm_template\.(\w+\[[^\]]+\])/g, 'terraform_data.$1.input')
    .replace(/helm_release\./g, 'terraform_data.')
}

interface Resource {
  type: string
  name: string
  index: string
  values: { input: Record<string, unknown> }
}

interface Plan {
  planned_values: {
    outputs: {
      releases: { value: Record<string, DescribedRelease> }
      stages: { value: string[] }
    }
    root_module: { resources: Resource[] }
  }
  configuration: { root_module: { resources: { name: string; type: string; depends_on?: string[] }[] } }
}

/** Plans the platform stack with everything enabled, but without the Helm provider. */
async function planPlatform(t: Test, edit = (hcl: string) => hcl): Promise<Plan> {
  const directory = t.testdir()
  for (const part of ['infrastructure-hcl/platform', 'helm/karpenter-nodes']) {
    cpSync(join(REPOSITORY_ROOT, part), join(directory, part), {
      recursive: true,
      filter: (path) => !/\.terraform|\/tests/.test(path),
    })
  }
  const stack = join(directory, 'infrastructure-hcl', 'platform')
  const resources = join(stack, 'releases.tf')
  writeFileSync(resources, withoutProvider(edit(readFileSync(resources, 'utf8'))))
  writeFileSync(join(stack, 'versions.tf'), 'terraform {\n  required_version = ">= 1.11"\n}\n')
  const output = (name: string) => `output "${name}" {\n  value = module.releases.${name}\n}\n`
  writeFileSync(join(stack, 'outputs.tf'), output('releases') + output('stages'))
  const state = join(directory, 'cluster.tfstate')
  const outputs = Object.entries(cluster).map(([name, value]) => {
    const type = Array.isArray(value) ? ['list', 'string'] : typeof value === 'boolean' ? 'bool' : 'string'
    return [name, { value, type }]
  })
  const head = { version: 4, terraform_version: '1.11.0', serial: 1, lineage: 'cluster' }
  writeFileSync(state, JSON.stringify({ ...head, outputs: Object.fromEntries(outputs), resources: [] }))
  const variables = {
    environment: 'check',
    cluster_state: { backend: 'local', config: { path: state } },
    controller_replicas: 2,
    node_limits: { cpu: 8, memory: '16Gi' },
    monitoring: { enabled: true, adapter: true },
    logs: { store: 'loki' },
    traces: { backend: 'tempo' },
  }
  writeFileSync(join(stack, 'terraform.tfvars.json'), JSON.stringify(variables))
  const terraform = (...args: string[]) =>
    execa('terraform', args, { cwd: stack, env: { TF_INPUT: 'false', CHECKPOINT_DISABLE: 'true' } })
  await terraform('init')
  await terraform('plan', '-out=plan')
  return JSON.parse((await terraform('show', '-json', 'plan')).stdout) as Plan
}

/** The names of the releases that the resources do not install exactly as described. */
function differences({ planned_values }: Plan): string[] {
  const { outputs, root_module } = planned_values
  const installed = new Map(
    root_module.resources
      .filter(({ type, name }) => type === 'terraform_data' && name !== 'definitions')
      .map(({ name, index, values }) => [index, { stage: name, input: values.input }]),
  )
  const described = new Map(
    Object.entries(outputs.releases.value).map(
      ([name, { stage, definitions_of, install_timeout: _, ...input }]) => {
        const values =
          definitions_of === null ? input.values : ['"definitions":\n- "definitions of a chart"\n']
        return [name, { stage, input: { ...input, values } }]
      },
    ),
  )
  return [...new Set([...installed.keys(), ...described.keys()])]
    .filter((name) => !isDeepStrictEqual(installed.get(name), described.get(name)))
    .sort()
}

t.test('Terraform installs exactly the releases that the module describes', async (t) => {
  const plan = await planPlatform(t)
  t.strictSame(differences(plan), [])
  const { releases, stages } = plan.planned_values.outputs
  t.equal(Object.keys(releases.value).length, 17, 'every release is enabled')

  const definitions = plan.planned_values.root_module.resources.filter(({ name }) => name === 'definitions')
  t.equal(definitions.length, 1)
  const { chart, repository, version } = releases.value['aws-load-balancer-controller'] ?? {}
  t.match(definitions[0]?.values.input, { chart, repository, version }, 'the chart of the controller')

  const { resources } = plan.configuration.root_module
  t.strictSame(
    stages.value.map((stage) => resources.find(({ name }) => name === stage)?.depends_on ?? []),
    [[], ...stages.value.slice(0, -1).map((stage) => [`terraform_data.${stage}`])],
    'a stage comes after the one before it',
  )
})

t.test('the comparison finds arguments and releases that differ', async (t) => {
  const argument = await planPlatform(t, (hcl) => hcl.replaceAll('= each.value.skip_crds', '= false'))
  t.strictSame(differences(argument), ['aws-load-balancer-controller', 'karpenter', 'kube-prometheus-stack'])
  const stage = await planPlatform(t, (hcl) => hcl.replace('release.stage == "nodes"', 'false'))
  t.strictSame(differences(stage), ['karpenter-nodes'])
})
