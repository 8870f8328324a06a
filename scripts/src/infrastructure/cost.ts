/** `make cost`: what an environment costs a month at rest, from the plans of its stacks. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { ActionableError, reportFailure } from 'shared/errors'
import recorded from './prices.json' with { type: 'json' }

/** What is read of a plan: `terraform show -json` of a saved plan. */
export interface CostPlan {
  /** Whether planning failed half-way: such a plan is still a plan, with resources missing. */
  errored?: boolean
  variables?: Record<string, { value?: unknown }>
  planned_values: { root_module: PlannedModule }
  prior_state?: { values?: { root_module: PlannedModule } }
}

export interface PlannedModule {
  address?: string
  resources?: PlannedResource[]
  child_modules?: PlannedModule[]
}

export interface PlannedResource {
  address: string
  mode: 'managed' | 'data'
  type: string
  name: string
  index?: string | number
  values: Record<string, unknown>
}

/** A list price, before tax and discounts. */
export interface Price {
  usd: number
  /** What one unit is; prices by the hour count for all hours of a month. */
  per: string
  /** Service and usage type in the AWS Price List. */
  offer: string
  /** Where the figure was found, with the date; a single entry means that nothing else confirmed it. */
  seen: string[]
}

/** The content of prices.json. */
export interface Prices {
  region: string
  prices: Record<PriceName, Price>
  instances: Record<string, Price>
  /** The day (UTC) a Kubernetes version's standard support ends on EKS, by the EKS release calendar. */
  standardSupportEnds: Record<string, string>
}

/** The prices of eu-central-1. */
export const PRICES: Prices = recorded

export type PriceName =
  | 'eksStandardSupport'
  | 'eksExtendedSupport'
  | 'gp3'
  | 'kmsKey'
  | 'logsIngested'
  | 'logsStored'
  | 'ecrStored'
  | 's3Stored'
  | 'alb'
  | 'publicIpv4'

/** One line of a month's bill. */
export interface CostLine {
  what: string
  quantity: number
  price: Price
  /** US dollars a month. */
  usd: number
  /** What was assumed because no plan tells it. */
  assumption?: string
}

/** AWS's own convention: 365 days of 24 hours, over 12 months. */
const HOURS_PER_MONTH = 730
const DAYS_PER_MONTH = 365 / 12

/**
 * Log a control plane writes at rest, in GB a month by log type. Estimated, as EKS publishes no figures: watches,
 * leases and status updates of this stack's controllers are about 4 audited requests a second of 1 kB each, and
 * the other logs are an order of magnitude smaller. A cluster's own figure is its log group's IncomingBytes.
 */
const LOG_GB: Readonly<Record<string, number>> = {
  audit: 10,
  api: 1,
  controllerManager: 0.5,
  scheduler: 0.5,
  authenticator: 0.1,
}

/** The service's image: 54 MB compressed (docs/deploy.md), for two platforms. */
const IMAGE_GB = 2 * 0.054

/** Root volume where the launch template says nothing: that of the AL2023 image. Karpenter's nodes have the same. */
const DEFAULT_ROOT_GIB = 20

/** State files and their old versions are far smaller; a bucket's bill is rounded up to it. */
const STATE_BUCKET_GB = 1

/** Of the two types in the NodePool, the one Karpenter takes while there is any: the cheaper. */
const KARPENTER_INSTANCE = 't4g.small'

/** Types that AWS lists no price for, and those that only arrange what is priced elsewhere. */
const FREE_TYPES: ReadonlySet<string> = new Set([
  'aws_cloudwatch_event_rule',
  'aws_cloudwatch_event_target',
  'aws_ec2_tag',
  'aws_ecr_lifecycle_policy',
  'aws_eks_access_entry',
  'aws_eks_access_policy_association',
  'aws_eks_addon',
  'aws_eks_pod_identity_association',
  'aws_iam_openid_connect_provider',
  'aws_iam_policy',
  'aws_iam_role',
  'aws_iam_role_policy',
  'aws_iam_role_policy_attachment',
  'aws_kms_alias',
  // Priced with the node group that uses it.
  'aws_launch_template',
  'aws_s3_bucket_lifecycle_configuration',
  'aws_s3_bucket_ownership_controls',
  'aws_s3_bucket_policy',
  'aws_s3_bucket_public_access_block',
  'aws_s3_bucket_server_side_encryption_configuration',
  'aws_s3_bucket_versioning',
  'aws_security_group',
  'aws_security_group_rule',
  // The first million requests of a month are free; Karpenter's long polls are an eighth of that.
  'aws_sqs_queue',
  'aws_sqs_queue_policy',
  'aws_vpc_security_group_egress_rule',
  'aws_vpc_security_group_ingress_rule',
  // Alerts are free; only budget actions and reports have a price.
  'aws_budgets_budget',
  'null_resource',
  'terraform_data',
  'time_sleep',
])

/** Releases that run on the nodes there are, and claim no volume. */
const FREE_RELEASES: ReadonlySet<string> = new Set([
  'aws-load-balancer-controller',
  'aws-load-balancer-controller-crds',
  'cluster-baseline',
  'karpenter',
  'karpenter-crd',
  // It may launch nodes, but at rest the pods fit on the system nodes.
  'karpenter-nodes',
  'metrics-server',
  'prometheus-operator-crds',
])

/** What a rule may look at beside its resource. */
interface Context {
  resources: readonly PlannedResource[]
  prices: Prices
  /** The day the figures are for, in UTC. */
  day: string
}

type Rule = (resource: PlannedResource, context: Context) => CostLine[]

const rules: Readonly<Record<string, Rule>> = {
  aws_eks_cluster: controlPlane,
  aws_eks_node_group: nodeGroup,
  aws_kms_key: ({ address }, { prices }) => [line(`KMS key ${address}`, 1, prices.prices.kmsKey)],
  aws_cloudwatch_log_group: controlPlaneLogs,
  aws_ecr_repository: images,
  aws_s3_bucket: ({ address }, { prices }) => [
    line(`S3 ${address}`, STATE_BUCKET_GB, prices.prices.s3Stored, 'holds at most 1 GB of Terraform states'),
  ],
  helm_release: release,
}

/**
 * What a plan's resources cost a month at rest: no load, no Karpenter nodes but those the monitoring needs.
 *
 * @param on day the figures are for: a cluster's price depends on whether its Kubernetes is in standard support.
 * @throws ActionableError when the plan holds something without a rule or a price, or is of another region than
 * the prices, so that no figure is ever silently incomplete.
 */
export function monthlyCost(plan: CostPlan, prices: Prices, on: Date): CostLine[] {
  if (plan.errored) {
    throw new ActionableError(
      'the plan has errors, so resources are missing from it',
      'mend what `terraform plan` says, and plan again',
    )
  }
  const resources = resourcesOf(plan.planned_values.root_module).filter(({ mode }) => mode === 'managed')
  const unknown = new Set(
    resources.map(({ type }) => type).filter((type) => !FREE_TYPES.has(type) && !Object.hasOwn(rules, type)),
  )
  if (unknown.size > 0) {
    throw new ActionableError(
      `no rule says what ${[...unknown].sort().join(', ')} costs`,
      'add a rule or a free type to scripts/src/infrastructure/cost.ts, with its price in prices.json',
    )
  }
  const region = regionOf(plan)
  if (region !== prices.region && resources.some(({ type }) => Object.hasOwn(rules, type))) {
    throw new ActionableError(
      `the plan is for ${region ?? 'a region it does not name'}, the prices are of ${prices.region}`,
      'put the prices of that region into scripts/src/infrastructure/prices.json',
    )
  }
  const context: Context = { resources, prices, day: on.toISOString().slice(0, 10) }
  return [
    ...resources.flatMap((resource) => rules[resource.type]?.(resource, context) ?? []),
    ...loadBalancer(context),
  ]
}

function resourcesOf({ resources = [], child_modules = [] }: PlannedModule): PlannedResource[] {
  return [...resources, ...child_modules.flatMap(resourcesOf)]
}

/** The region of the plan: the cluster stack has it as a variable, the platform reads it from that stack's state. */
function regionOf({ variables, prior_state }: CostPlan): string | undefined {
  const read = prior_state?.values?.root_module.resources?.find(
    ({ type }) => type === 'terraform_remote_state',
  )
  const outputs = read?.values['outputs'] as { region?: string } | undefined
  return (variables?.['region']?.value as string | undefined) ?? outputs?.region
}

function line(what: string, quantity: number, price: Price, assumption?: string): CostLine {
  const hours = price.per === 'hour' ? HOURS_PER_MONTH : 1
  return {
    what,
    quantity,
    price,
    usd: quantity * price.usd * hours,
    ...(assumption === undefined ? {} : { assumption }),
  }
}

/** A value that a rule cannot do without; Terraform leaves out what it will know only after the apply. */
function known<T>(value: T | null | undefined, { address }: PlannedResource, what: string): T {
  if (value === null || value === undefined) {
    throw new ActionableError(
      `the plan does not tell ${what} of ${address}`,
      'set it in the stack, so that it is known before the apply',
    )
  }
  return value
}

function controlPlane(cluster: PlannedResource, { prices, day }: Context): CostLine[] {
  const version = known(cluster.values['version'] as string | undefined, cluster, 'the Kubernetes version')
  const end = prices.standardSupportEnds[version]
  if (end === undefined) {
    throw new ActionableError(
      `prices.json does not tell when standard support of Kubernetes ${version} ends`,
      'add the day from the EKS release calendar to standardSupportEnds in scripts/src/infrastructure/prices.json',
    )
  }
  const [policy] = (cluster.values['upgrade_policy'] ?? []) as { support_type?: string }[]
  // With STANDARD, EKS upgrades the cluster at the end of its standard support instead of extending it.
  return day > end && policy?.support_type !== 'STANDARD'
    ? [line(`EKS control plane ${version}, extended support`, 1, prices.prices.eksExtendedSupport)]
    : [line(`EKS control plane ${version}, standard support to ${end}`, 1, prices.prices.eksStandardSupport)]
}

interface NodeGroupValues {
  capacity_type?: string
  instance_types?: string[]
  scaling_config?: { desired_size?: number }[]
}

function nodeGroup(group: PlannedResource, context: Context): CostLine[] {
  const { capacity_type, instance_types, scaling_config } = group.values as NodeGroupValues
  if (capacity_type !== 'ON_DEMAND') {
    throw new ActionableError(
      `${group.address} is not on demand, and other prices change by the hour`,
      'plan it with capacity_type ON_DEMAND to learn the most it costs',
    )
  }
  const type = known(instance_types?.[0], group, 'the instance type')
  const nodes = known(scaling_config?.[0]?.desired_size, group, 'the desired size')
  const { prices } = context
  return [
    line(`nodes, ${type} on demand`, nodes, instancePrice(type, prices)),
    line('root volumes of the nodes, gp3', nodes * rootGib(group, context), prices.prices.gp3),
  ]
}

function instancePrice(type: string, { instances, region }: Prices): Price {
  const price = instances[type]
  if (price === undefined) {
    throw new ActionableError(
      `prices.json has no price of ${type} in ${region}`,
      'add it to instances in scripts/src/infrastructure/prices.json',
    )
  }
  return price
}

interface BlockDevice {
  ebs?: { volume_size?: number; volume_type?: string }[]
}

/** Size of a node's volumes. A group's launch template is its neighbour: same module, same key. */
function rootGib(group: PlannedResource, { resources }: Context): number {
  const home = moduleOf(group)
  const template = resources.find(
    (other) =>
      other.type === 'aws_launch_template' && moduleOf(other) === home && other.index === group.index,
  )
  const devices = (template?.values['block_device_mappings'] ?? []) as BlockDevice[]
  if (template === undefined || devices.length === 0) return DEFAULT_ROOT_GIB
  return devices
    .flatMap(({ ebs = [] }) => ebs)
    .reduce((total, { volume_size, volume_type }) => {
      if (volume_type !== 'gp3') {
        throw new ActionableError(
          `${template.address} has a volume of type ${volume_type ?? 'unknown'}, which prices.json lacks`,
          'use gp3, or add the price and a rule for it',
        )
      }
      return total + known(volume_size, template, 'the size of a volume')
    }, 0)
}

function moduleOf({ address, type }: PlannedResource): string {
  return address.slice(0, address.lastIndexOf(`${type}.`))
}

function controlPlaneLogs(group: PlannedResource, { resources, prices }: Context): CostLine[] {
  const cluster = resources.find(
    ({ type, values }) =>
      type === 'aws_eks_cluster' && group.values['name'] === `/aws/eks/${String(values['name'])}/cluster`,
  )
  if (cluster === undefined) {
    throw new ActionableError(
      `nothing tells how much is logged to ${group.address}`,
      'add an assumption on it to scripts/src/infrastructure/cost.ts',
    )
  }
  const types = (cluster.values['enabled_cluster_log_types'] ?? []) as string[]
  const days = known(group.values['retention_in_days'] as number | undefined, group, 'the retention')
  const gb = types.reduce(
    (total, type) => total + known(LOG_GB[type], cluster, `how much log type ${type}`),
    0,
  )
  return [
    line(
      'control plane logs, ingested',
      gb,
      prices.prices.logsIngested,
      `${gb} GB a month at rest (${types.join(', ')})`,
    ),
    line(
      `control plane logs, kept ${days} days`,
      (gb * days) / DAYS_PER_MONTH,
      prices.prices.logsStored,
      'logs are kept as large as they came, though CloudWatch compresses them',
    ),
  ]
}

interface LifecyclePolicy {
  rules: { selection: { tagStatus: string; countType: string; countNumber: number } }[]
}

function images(repository: PlannedResource, { resources, prices }: Context): CostLine[] {
  const policy = resources.find(
    ({ type, values }) =>
      type === 'aws_ecr_lifecycle_policy' && values['repository'] === repository.values['name'],
  )
  const json = known(policy?.values['policy'] as string | undefined, repository, 'how many images it keeps')
  const kept = (JSON.parse(json) as LifecyclePolicy).rules.find(
    ({ selection }) => selection.tagStatus === 'tagged' && selection.countType === 'imageCountMoreThan',
  )?.selection.countNumber
  const count = known(kept, repository, 'how many tagged images it keeps')
  return [
    line(
      `ECR, ${count} images`,
      count * IMAGE_GB,
      prices.prices.ecrStored,
      `${IMAGE_GB * 1000} MB an image for its two platforms, no layer shared`,
    ),
  ]
}

function release({ address, values }: PlannedResource, { prices }: Context): CostLine[] {
  const name = String(values['name'])
  if (FREE_RELEASES.has(name)) return []
  if (name !== 'kube-prometheus-stack') {
    throw new ActionableError(
      `no rule says what the release ${name} (${address}) costs`,
      'add it to scripts/src/infrastructure/cost.ts: does it need nodes, volumes or a load balancer of its own?',
    )
  }
  const claimed = ((values['values'] ?? []) as string[])
    .flatMap((yaml) => [...yaml.matchAll(/^\s*storage: "?(\d+)Gi"?$/gm)])
    .reduce((total, [, gib]) => total + Number(gib), 0)
  const assumption = 'the monitoring fits on one node that Karpenter launches for it'
  return [
    line(
      `node for the monitoring, ${KARPENTER_INSTANCE} on demand`,
      1,
      instancePrice(KARPENTER_INSTANCE, prices),
      assumption,
    ),
    line('root volume of the node for the monitoring, gp3', DEFAULT_ROOT_GIB, prices.prices.gp3, assumption),
    line('volumes of the monitoring, gp3', claimed, prices.prices.gp3),
  ]
}

/** The service's Ingress makes one, in each subnet that a plan opens to internet-facing load balancers. */
function loadBalancer({ resources, prices }: Context): CostLine[] {
  const subnets = resources.filter(
    ({ type, values }) => type === 'aws_ec2_tag' && values['key'] === 'kubernetes.io/role/elb',
  ).length
  if (subnets === 0) return []
  const assumption = 'one Ingress; load balancer capacity units only come with load'
  return [
    line('Application Load Balancer', 1, prices.prices.alb, assumption),
    line('public IPv4 addresses of the load balancer', subnets, prices.prices.publicIpv4, assumption),
  ]
}

/** What no plan holds and no line counts. */
const NOT_COUNTED = [
  'NAT gateways and VPC endpoints: they belong to the existing VPC',
  'data transfer, and nodes, capacity units and logs that come with load',
  'tax, discounts, savings plans and free tiers',
]

/** A bill as a table, dearest first, with what it assumes and what it leaves out. */
export function renderCost(bill: readonly CostLine[]): string {
  const lines = bill.toSorted((one, other) => other.usd - one.usd)
  const assumptions = [...new Set(lines.flatMap(({ assumption = [] }) => assumption))]
  const note = ({ assumption, price }: CostLine): string =>
    [
      assumption === undefined ? '' : ` [${assumptions.indexOf(assumption) + 1}]`,
      price.seen.length < 2 ? ' [?]' : '',
    ].join('')
  const total = lines.reduce((sum, { usd }) => sum + usd, 0)
  const rows = [
    ['', 'quantity', 'unit price', 'USD/month'],
    ...lines.map((entry) => [
      entry.what + note(entry),
      String(Number(entry.quantity.toFixed(2))),
      `${entry.price.usd} / ${entry.price.per}`,
      entry.usd.toFixed(2),
    ]),
    ['total', '', '', total.toFixed(2)],
  ]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const table = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  )
  return [
    ...table,
    '',
    ...assumptions.map((assumption, index) => `[${index + 1}] assumed: ${assumption}`),
    ...(lines.some(({ price }) => price.seen.length < 2) ? ['[?] price known from one source only'] : []),
    ...NOT_COUNTED.map((what) => `not counted: ${what}`),
  ].join('\n')
}

function readPlan(file: string): CostPlan {
  try {
    const plan = JSON.parse(readFileSync(file, 'utf8')) as Partial<CostPlan>
    if (plan.planned_values !== undefined) return { ...plan, planned_values: plan.planned_values }
  } catch (cause) {
    throw new ActionableError(`${file} is no readable plan`, planHint, { cause })
  }
  throw new ActionableError(`${file} is JSON, but no plan`, planHint)
}

const planHint = 'make one: `terraform show -json <saved plan>`'

if (import.meta.main) {
  new Command('cost')
    .description('Prices the plans of one environment: what they cost a month at rest.')
    .argument('<plans...>', 'files with the output of `terraform show -json`')
    .action((files: string[]) => {
      const today = new Date()
      console.log(renderCost(files.flatMap((file) => monthlyCost(readPlan(file), PRICES, today))))
    })
    .parseAsync()
    .catch(reportFailure)
}
