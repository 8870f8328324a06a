/** `make cost`: an environment's monthly cost at rest, from the plans of its stacks. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { ActionableError, reportFailure } from 'shared/errors'
import { PRICES, type Price, type Prices } from 'shared/prices'

/** The parts of `terraform show -json` of a saved plan that this module reads. */
export interface CostPlan {
  /** Set when planning failed part-way, so that resources are missing. */
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

/** A line of the monthly bill. */
export interface CostLine {
  item: string
  quantity: number
  price: Price
  /** US dollars a month. */
  usd: number
  /** An assumption about something that the plan does not contain. */
  assumption?: string
}

/** AWS's convention: a twelfth of 365 days. */
const HOURS_PER_MONTH = 730
const DAYS_PER_MONTH = 365 / 12
const MINUTES_PER_WEEK = 7 * 24 * 60

/**
 * Logs of a control plane at rest, in GB per month by log type. These are estimates, because EKS publishes no figures:
 * watches, leases and status updates of this stack's controllers come to about 4 audited requests per second of 1 kB
 * each, and the other logs are an order of magnitude smaller. For a real cluster, see IncomingBytes of its log group.
 */
const LOG_GB: Readonly<Record<string, number>> = {
  audit: 10,
  api: 1,
  controllerManager: 0.5,
  scheduler: 0.5,
  authenticator: 0.1,
}

/**
 * Logs of the pods at rest, in GB per month. An estimate too: a line of 400 bytes per second from all controllers and
 * agents is 1 GB. The service logs a line for each request, about 400 bytes with the fields that Fluent Bit adds.
 */
const POD_LOG_GB = 1

/** Logs of an idle database: a few lines for the checkpoint every five minutes, in GB per month. */
const DATABASE_LOG_GB = 0.01

/** The service's image: 54 MB compressed (docs/deploy.md), for two platforms. */
const IMAGE_GB = 2 * 0.054

/** Default root volume of the AL2023 image, which Karpenter's nodes use too. */
const DEFAULT_ROOT_GIB = 20

/** Rounded up: state files and their old versions are far smaller. */
const STATE_BUCKET_GB = 1

/**
 * What Container Insights observes at rest, in millions a month: about 1,000 metrics of the cluster, two nodes and 25 pods
 * each minute. An estimate; the bill shows the actual number.
 */
const MILLION_OBSERVATIONS = 1_000 * 60 * HOURS_PER_MONTH * 1e-6

/**
 * Flow logs of an idle VPC in GB per month, by the traffic that they record. These are estimates: about ten interfaces
 * with 200 connections of nodes, controllers and health checks in each ten minutes, of 110 bytes each; rejected are only
 * the scanners of the internet, at the public addresses.
 */
const FLOW_LOG_GB: Readonly<Record<string, number>> = { ALL: 1, ACCEPT: 0.9, REJECT: 0.1 }

/** The cheaper of the two types in the NodePool, which Karpenter prefers. */
const KARPENTER_INSTANCE = 't4g.small'

/** Resource types without a price of their own. */
const FREE_TYPES: ReadonlySet<string> = new Set([
  // Public certificates for AWS's own services are free.
  'aws_acm_certificate',
  'aws_acm_certificate_validation',
  // CloudFront charges for traffic only, and not for the connection to the load balancer.
  'aws_cloudfront_distribution',
  'aws_cloudfront_vpc_origin',
  // An account's first three are free.
  'aws_cloudwatch_dashboard',
  'aws_cloudwatch_event_rule',
  'aws_cloudwatch_event_target',
  'aws_cloudwatch_log_resource_policy',
  'aws_db_parameter_group',
  'aws_db_subnet_group',
  'aws_default_security_group',
  'aws_ec2_tag',
  'aws_ecr_lifecycle_policy',
  'aws_eks_access_entry',
  'aws_eks_access_policy_association',
  'aws_eks_addon',
  'aws_eks_pod_identity_association',
  'aws_elasticache_subnet_group',
  // Its log group is priced.
  'aws_flow_log',
  'aws_iam_openid_connect_provider',
  'aws_iam_policy',
  'aws_iam_role',
  'aws_iam_role_policy',
  'aws_iam_role_policy_attachment',
  'aws_internet_gateway',
  'aws_kms_alias',
  // Its volumes are priced with the node group.
  'aws_launch_template',
  'aws_network_interface',
  'aws_route',
  // Priced with their zone, see hostedZone.
  'aws_route53_record',
  'aws_route_table',
  'aws_route_table_association',
  'aws_s3_bucket_lifecycle_configuration',
  'aws_s3_bucket_ownership_controls',
  'aws_s3_bucket_policy',
  'aws_s3_bucket_public_access_block',
  'aws_s3_bucket_server_side_encryption_configuration',
  'aws_s3_bucket_versioning',
  // The first 14 million calls per month are free.
  'aws_scheduler_schedule',
  'aws_scheduler_schedule_group',
  // Its secret is priced. The operator reads it every hour, which costs less than a cent.
  'aws_secretsmanager_secret_version',
  'aws_security_group',
  'aws_security_group_rule',
  // The first million requests per month are free; Karpenter's long polling makes an eighth of that.
  'aws_sqs_queue',
  'aws_sqs_queue_policy',
  // The first 1,000 emails and 100,000 calls of a webhook per month are free.
  'aws_sns_topic',
  'aws_sns_topic_policy',
  'aws_sns_topic_subscription',
  'aws_subnet',
  'aws_vpc',
  'aws_vpc_security_group_egress_rule',
  'aws_vpc_security_group_ingress_rule',
  'aws_wafv2_web_acl_association',
  'aws_wafv2_web_acl_logging_configuration',
  // Only budget actions and reports have a price, not alerts.
  'aws_budgets_budget',
  'null_resource',
  'terraform_data',
  'time_sleep',
])

/** Helm releases that need no further nodes and no volumes. */
const FREE_RELEASES: ReadonlySet<string> = new Set([
  'aws-load-balancer-controller',
  'aws-load-balancer-controller-crds',
  'cluster-baseline',
  'cluster-monitoring',
  'external-secrets',
  'external-secrets-crds',
  // Its pods fit beside those of other nodes.
  'fluent-bit',
  'karpenter',
  'karpenter-crd',
  // At rest all pods fit on the system nodes, so its NodePool launches none.
  'karpenter-nodes',
  'metrics-server',
  'opentelemetry-collector',
  'prometheus-adapter',
  'prometheus-operator-crds',
])

/** What a rule needs besides its resource. */
interface Context {
  resources: readonly PlannedResource[]
  prices: Prices
  /** The day (UTC) to price for, as YYYY-MM-DD. */
  day: string
}

type Rule = (resource: PlannedResource, context: Context) => CostLine[]

const rules: Readonly<Record<string, Rule>> = {
  aws_eks_cluster: controlPlane,
  aws_eks_node_group: nodeGroup,
  aws_kms_key: ({ address }, { prices }) => [line(`KMS key ${address}`, 1, prices.prices.kmsKey)],
  aws_cloudwatch_log_group: logs,
  aws_cloudwatch_metric_alarm: alarm,
  aws_db_instance: database,
  aws_elasticache_replication_group: cache,
  aws_secretsmanager_secret: (_, { prices }) => [secretLine(prices)],
  aws_ecr_repository: images,
  aws_nat_gateway: (_, { prices }) => [line('NAT gateway', 1, prices.prices.natGateway)],
  aws_eip: ({ address }, { prices }) => [line(`public IPv4 address ${address}`, 1, prices.prices.publicIpv4)],
  aws_instance: instance,
  aws_vpc_endpoint: endpoint,
  aws_s3_bucket: ({ address }, { prices }) => [
    line(`S3 ${address}`, STATE_BUCKET_GB, prices.prices.s3Stored, 'holds at most 1 GB of Terraform states'),
  ],
  aws_wafv2_web_acl: webAcl,
  helm_release: release,
}

/**
 * The monthly cost of the resources of plans at rest: without load, and without Karpenter nodes except the one for
 * monitoring.
 *
 * @param on - the day to price for: a cluster costs more once its Kubernetes version leaves standard support
 * @throws ActionableError when a resource has no rule or price, or the plan's region is not that of the prices; the
 * total is never silently incomplete
 */
export function monthlyCost(plans: readonly CostPlan[], prices: Prices, on: Date): CostLine[] {
  const resources = plans.flatMap((plan) => plannedResources(plan, prices))
  const context: Context = { resources, prices, day: on.toISOString().slice(0, 10) }
  return combine([
    ...resources.flatMap((resource) => rules[resource.type]?.(resource, context) ?? []),
    ...loadBalancer(context),
    ...natAlarms(context),
    ...hostedZone(context),
  ])
}

/** The resources that a plan creates, after checking that all of them can be priced. */
function plannedResources(plan: CostPlan, prices: Prices): PlannedResource[] {
  if (plan.errored) {
    throw new ActionableError(
      'the plan has errors, so resources are missing from it',
      'fix what `terraform plan` reports, then plan again',
    )
  }
  const resources = resourcesOf(plan.planned_values.root_module).filter(({ mode }) => mode === 'managed')
  const unknown = new Set(
    resources.map(({ type }) => type).filter((type) => !FREE_TYPES.has(type) && !Object.hasOwn(rules, type)),
  )
  if (unknown.size > 0) {
    throw new ActionableError(
      `there is no rule for the cost of ${[...unknown].sort().join(', ')}`,
      'add a rule, or add it to FREE_TYPES, in scripts/src/infrastructure/cost.ts, with its price in prices.json',
    )
  }
  const region = regionOf(plan)
  if (region !== prices.region && resources.some(({ type }) => Object.hasOwn(rules, type))) {
    throw new ActionableError(
      `the plan is for ${region ?? 'an unknown region'}, but the prices are for ${prices.region}`,
      'replace shared/src/prices.json by the prices of that region',
    )
  }
  return resources
}

/** Adds up the lines with the same item. */
function combine(lines: readonly CostLine[]): CostLine[] {
  const combined = new Map<string, CostLine>()
  for (const entry of lines) {
    const { quantity = 0, usd = 0 } = combined.get(entry.item) ?? {}
    combined.set(entry.item, { ...entry, quantity: quantity + entry.quantity, usd: usd + entry.usd })
  }
  return [...combined.values()]
}

function resourcesOf({ resources = [], child_modules = [] }: PlannedModule): PlannedResource[] {
  return [...resources, ...child_modules.flatMap(resourcesOf)]
}

/** The plan's region: a variable of the cluster stack, which the platform stack reads from the cluster's state. */
function regionOf({ variables, prior_state }: CostPlan): string | undefined {
  const read = prior_state?.values?.root_module.resources?.find(
    ({ type }) => type === 'terraform_remote_state',
  )
  const outputs = read?.values['outputs'] as { region?: string } | undefined
  return (variables?.['region']?.value as string | undefined) ?? outputs?.region
}

function line(item: string, quantity: number, price: Price, assumption?: string): CostLine {
  const hours = price.per === 'hour' ? HOURS_PER_MONTH : 1
  return {
    item,
    quantity,
    price,
    usd: quantity * price.usd * hours,
    ...(assumption === undefined ? {} : { assumption }),
  }
}

/** Requires a value to be in the plan. Terraform omits values that are known only after apply. */
function required<T>(value: T | null | undefined, { address }: PlannedResource, what: string): T {
  if (value === null || value === undefined) {
    throw new ActionableError(
      `the plan does not contain ${what} of ${address}`,
      'set it explicitly in the stack, so that it is known before apply',
    )
  }
  return value
}

/** The error for what a rule has no price for. */
function unpriced({ address }: PlannedResource, what: string, nextStep: string): ActionableError {
  return new ActionableError(
    `${address} has ${what}, for which there is no price`,
    `${nextStep}, or add a rule to scripts/src/infrastructure/cost.ts and its price to prices.json`,
  )
}

function controlPlane(cluster: PlannedResource, { prices, day }: Context): CostLine[] {
  const version = required(cluster.values['version'] as string | undefined, cluster, 'the Kubernetes version')
  const end = prices.standardSupportEnds[version]
  if (end === undefined) {
    throw new ActionableError(
      `prices.json does not say when standard support of Kubernetes ${version} ends`,
      'add the date from the EKS release calendar to standardSupportEnds in shared/src/prices.json',
    )
  }
  const [policy] = (cluster.values['upgrade_policy'] ?? []) as { support_type?: string }[]
  // With STANDARD, EKS upgrades the cluster at the end of standard support instead of charging for extended support.
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
      `${group.address} is not on demand, and spot prices change all the time`,
      'plan it with capacity_type ON_DEMAND to get an upper bound',
    )
  }
  const type = required(instance_types?.[0], group, 'the instance type')
  const nodes = required(scaling_config?.[0]?.desired_size, group, 'the desired size')
  const { prices } = context
  const size = nodes * rootGib(group, context)
  return [
    line(`nodes, ${type} on demand`, nodes, priceOf('instances', type, prices)),
    line('root volumes of the nodes, gp3', size, prices.prices.gp3),
  ].map((entry) => whileAwake(entry, 'system-nodes', context))
}

function priceOf(kind: 'instances' | 'databases' | 'cacheNodes', type: string, prices: Prices): Price {
  const price = prices[kind][type]
  if (price === undefined) {
    throw new ActionableError(
      `prices.json has no price for ${type} in ${prices.region}`,
      `add it to ${kind} in shared/src/prices.json`,
    )
  }
  return price
}

/** What the schedules of the alarms stack switch off and on. The nodes of Karpenter sleep with the system nodes. */
type Sleeper = 'database' | 'system-nodes'

/** A line for something that costs nothing while it sleeps. */
function whileAwake(entry: CostLine, sleeper: Sleeper, context: Context): CostLine {
  const asleep = minutesAsleep(sleeper, context)
  if (asleep === 0) return entry
  const share = 1 - asleep / MINUTES_PER_WEEK
  const schedule = `the ${sleeper.replace('-', ' ')} asleep for ${Number((asleep / 60).toFixed(1))} of the week's 168 hours`
  const assumption = entry.assumption === undefined ? schedule : `${entry.assumption}; ${schedule}`
  return { ...entry, quantity: entry.quantity * share, usd: entry.usd * share, assumption }
}

function minutesAsleep(sleeper: Sleeper, { resources }: Context): number {
  const times = (step: string) =>
    resources
      .filter(({ type, values }) => type === 'aws_scheduler_schedule' && values['name'] === step)
      .flatMap(minutesOfWeek)
  const on = times(`${sleeper}-on`)
  return times(`${sleeper}-off`)
    .map((off) => Math.min(...on.map((time) => (time - off + MINUTES_PER_WEEK) % MINUTES_PER_WEEK)))
    .reduce((total, minutes) => total + minutes, 0)
}

const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']

/** When a schedule runs, in minutes since the beginning of Sunday. */
function minutesOfWeek(schedule: PlannedResource): number[] {
  const cron = String(schedule.values['schedule_expression'])
  const [, minute, hour, days] = /^cron\((\d+) (\d+) \? \* (\S+) \*\)$/.exec(cron) ?? []
  return required(days, schedule, 'a weekly schedule')
    .split(',')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map((day) => WEEKDAYS.indexOf(day))
      return Array.from({ length: ((last - first + 7) % 7) + 1 }, (_, index) => (first + index) % 7)
    })
    .map((day) => (day * 24 + Number(hour)) * 60 + Number(minute))
}

interface BlockDevice {
  ebs?: { volume_size?: number; volume_type?: string }[]
}

/** Total size of a node's volumes, from the launch template in the same module with the same key. */
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
      gp3Only(template, volume_type)
      return total + required(volume_size, template, 'the size of a volume')
    }, 0)
}

/** The type of a volume, after checking that it is the one with a price. */
function gp3Only(resource: PlannedResource, type: string | undefined): 'gp3' {
  if (type === 'gp3') return type
  throw unpriced(resource, `a volume of type ${type ?? 'unknown'}`, 'use gp3')
}

function moduleOf({ address, type }: PlannedResource): string {
  return address.slice(0, address.lastIndexOf(`${type}.`))
}

/** A volume of logs. */
interface LogVolume {
  of: string
  /** GB per month. */
  gb: number
  /** What is logged, for the assumption. */
  contents: string
}

/** The logs that EKS and its pods write to the groups of the cluster. */
function clusterLogs(group: PlannedResource, { resources }: Context): LogVolume | undefined {
  const [, clusterName, source] =
    /^\/aws\/eks\/(.+)\/(cluster|pods)$/.exec(String(group.values['name'])) ?? []
  const cluster = resources.find(
    ({ type, values }) => type === 'aws_eks_cluster' && values['name'] === clusterName,
  )
  if (cluster === undefined) return undefined
  if (source === 'pods') return { of: 'pod logs', gb: POD_LOG_GB, contents: 'all pods' }
  const types = (cluster.values['enabled_cluster_log_types'] ?? []) as string[]
  const gb = types.reduce(
    (total, type) => total + required(LOG_GB[type], cluster, `an estimate for log type ${type}`),
    0,
  )
  return { of: 'control plane logs', gb, contents: types.join(', ') }
}

/** The log group of flow logs is in the module of the VPC. */
function flowLogs(group: PlannedResource, { resources }: Context): LogVolume | undefined {
  const flow = resources.find((other) => other.type === 'aws_flow_log' && moduleOf(other) === moduleOf(group))
  if (flow === undefined) return undefined
  const traffic = required(flow.values['traffic_type'] as string | undefined, flow, 'the traffic')
  return {
    of: 'flow logs',
    gb: required(FLOW_LOG_GB[traffic], flow, `an estimate for the traffic ${traffic}`),
    contents: traffic,
  }
}

/** The logs that RDS exports. */
function databaseLogs(group: PlannedResource): LogVolume | undefined {
  if (!/^\/aws\/rds\/instance\/.+\/postgresql$/.test(String(group.values['name']))) return undefined
  return { of: 'logs of the database', gb: DATABASE_LOG_GB, contents: 'checkpoints' }
}

function logs(group: PlannedResource, context: Context): CostLine[] {
  const name = String(group.values['name'])
  // At rest, WAF has no blocked requests to log, and RDS no upgrade to a major version.
  if (/^aws-waf-logs-|^\/aws\/rds\/instance\/.+\/upgrade$/.test(name)) return []
  const { prices } = context.prices
  if (name.startsWith('/aws/containerinsights/')) {
    // The price includes the log events from which CloudWatch derives the metrics.
    return [
      line(
        'Container Insights',
        MILLION_OBSERVATIONS,
        prices.millionObservations,
        '1,000 observations a minute; each further node adds about 300',
      ),
    ]
  }
  const volume = clusterLogs(group, context) ?? flowLogs(group, context) ?? databaseLogs(group)
  if (volume === undefined) {
    throw new ActionableError(
      `there is no estimate of how much is logged to ${group.address}`,
      'add one to scripts/src/infrastructure/cost.ts',
    )
  }
  const { of, gb, contents } = volume
  const days = required(group.values['retention_in_days'] as number | undefined, group, 'the retention')
  return [
    line(`${of}, ingested`, gb, prices.logsIngested, `${gb} GB a month at rest (${contents})`),
    line(
      `${of}, kept ${days} days`,
      (gb * days) / DAYS_PER_MONTH,
      prices.logsStored,
      'logs are stored uncompressed, although CloudWatch compresses them',
    ),
  ]
}

/** A query costs as much as the metrics that it reads. Those of the cache have one for each node. */
function alarm({ values }: PlannedResource, { resources, prices }: Context): CostLine[] {
  const nodes = resources
    .filter(({ type }) => type === 'aws_elasticache_replication_group')
    .reduce((total, group) => total + cacheNodes(group), 0)
  const metrics = (values['metric_query'] as { expression?: string | null }[]).map(({ expression }) =>
    expression?.includes('AWS/ElastiCache') ? Math.max(1, nodes) : 1,
  )
  const sum = metrics.reduce((total, count) => total + count, 0)
  return [line('CloudWatch alarms', sum, prices.prices.alarmMetric)]
}

/** The alarms on NAT. A plan contains them only if the network that it creates already exists. */
function natAlarms({ resources, prices }: Context): CostLine[] {
  const alarms = resources.filter(({ type }) => type === 'aws_cloudwatch_metric_alarm')
  const planned = alarms.filter(({ index }) => String(index).startsWith('nat-')).length
  const nats = resources.filter(({ type }) => type === 'aws_nat_gateway' || type === 'aws_instance').length
  if (alarms.length === 0 || nats <= planned) return []
  return [line('CloudWatch alarms', nats - planned, prices.prices.alarmMetric)]
}

interface DatabaseValues {
  engine?: string
  instance_class?: string
  multi_az?: boolean
  storage_type?: string
  allocated_storage?: number
  manage_master_user_password?: boolean
  performance_insights_retention_period?: number
  database_insights_mode?: string
  monitoring_interval?: number
}

function database(resource: PlannedResource, context: Context): CostLine[] {
  const values = resource.values as DatabaseValues
  const engine = required(values.engine, resource, 'the engine')
  const instanceClass = required(values.instance_class, resource, 'the instance class')
  const gib = required(values.allocated_storage, resource, 'the size of the storage')
  const zones = values.multi_az === true ? 'Multi-AZ' : 'Single-AZ'
  const type = `${instanceClass} ${engine} ${zones}`
  if (
    (values.performance_insights_retention_period ?? 7) > 7 ||
    values.database_insights_mode === 'advanced'
  ) {
    throw unpriced(resource, 'performance data for more than 7 days', 'keep them for 7 days')
  }
  if ((values.monitoring_interval ?? 0) > 0) {
    throw unpriced(resource, 'enhanced monitoring', 'set monitoring_interval to 0')
  }
  const { prices } = context
  const { rdsGp3, rdsGp3MultiAz } = prices.prices
  return [
    whileAwake(line(`database, ${type}`, 1, priceOf('databases', type, prices)), 'database', context),
    line(
      `storage of the database, ${gp3Only(resource, values.storage_type)} ${zones}`,
      gib,
      zones === 'Multi-AZ' ? rdsGp3MultiAz : rdsGp3,
      'backups and snapshots of the database are not larger than its storage, and so free',
    ),
    ...(values.manage_master_user_password === true ? [secretLine(prices)] : []),
  ]
}

function secretLine({ prices }: Prices): CostLine {
  return line('secrets in Secrets Manager', 1, prices.secret)
}

function cache(group: PlannedResource, { prices }: Context): CostLine[] {
  const { engine, node_type, snapshot_retention_limit } = group.values as {
    engine?: string
    node_type?: string
    snapshot_retention_limit?: number
  }
  const type = `${required(node_type, group, 'the node type')} ${required(engine, group, 'the engine')}`
  if ((snapshot_retention_limit ?? 0) > 0) {
    throw unpriced(group, 'snapshots', 'set snapshot_retention_limit to 0')
  }
  return [line(`cache, ${type}`, cacheNodes(group), priceOf('cacheNodes', type, prices))]
}

function cacheNodes(group: PlannedResource): number {
  return required(group.values['num_cache_clusters'] as number | undefined, group, 'the number of nodes')
}

function instance(resource: PlannedResource, { prices }: Context): CostLine[] {
  const { address, values } = resource
  const type = required(values['instance_type'] as string | undefined, resource, 'the instance type')
  const [root] = (values['root_block_device'] ?? []) as { volume_size?: number; volume_type?: string }[]
  const gib = required(root?.volume_size, resource, 'the size of the root volume')
  return [
    line(`${address}, ${type} on demand`, 1, priceOf('instances', type, prices)),
    line(`root volume of ${address}, ${gp3Only(resource, root?.volume_type)}`, gib, prices.prices.gp3),
  ]
}

/** Gateway endpoints are free. An interface endpoint has an interface in each zone of the VPC. */
function endpoint({ address, values }: PlannedResource, { resources, prices }: Context): CostLine[] {
  if (values['vpc_endpoint_type'] !== 'Interface') return []
  const zones = new Set(
    resources.flatMap(({ type, values }) => (type === 'aws_subnet' ? [values['availability_zone']] : [])),
  )
  return [line(`interface endpoint ${address}`, zones.size, prices.prices.interfaceEndpoint)]
}

interface LifecyclePolicy {
  rules: { selection: { tagStatus: string; countType: string; countNumber: number } }[]
}

function images(repository: PlannedResource, { resources, prices }: Context): CostLine[] {
  const policy = resources.find(
    ({ type, values }) =>
      type === 'aws_ecr_lifecycle_policy' && values['repository'] === repository.values['name'],
  )
  const json = required(
    policy?.values['policy'] as string | undefined,
    repository,
    'the number of images to keep',
  )
  const kept = (JSON.parse(json) as LifecyclePolicy).rules.find(
    ({ selection }) => selection.tagStatus === 'tagged' && selection.countType === 'imageCountMoreThan',
  )?.selection.countNumber
  const count = required(kept, repository, 'the number of tagged images to keep')
  return [
    line(
      `ECR, ${count} images`,
      count * IMAGE_GB,
      prices.prices.ecrStored,
      `${IMAGE_GB * 1000} MB per image for its two platforms, without shared layers`,
    ),
  ]
}

function release(planned: PlannedResource, context: Context): CostLine[] {
  const { prices } = context
  const { address, values } = planned
  const name = String(values['name'])
  if (FREE_RELEASES.has(name)) return []
  const documents = (values['values'] ?? []) as string[]
  if (name === 'loki' || name === 'tempo') {
    const size = documents.flatMap((yaml) => /^\s*size: "?(\d+)Gi"?$/m.exec(yaml)?.[1] ?? [])[0]
    const gib = Number(required(size, planned, 'the size of its volume'))
    return [line(`volume of ${name}, gp3`, gib, prices.prices.gp3, `${name} fits on the node for monitoring`)]
  }
  if (name !== 'kube-prometheus-stack') {
    throw new ActionableError(
      `there is no rule for the cost of the release ${name} (${address})`,
      'add one to scripts/src/infrastructure/cost.ts for its nodes, volumes and load balancers, or add it to FREE_RELEASES',
    )
  }
  const claimed = documents
    .flatMap((yaml) => [...yaml.matchAll(/^\s*storage: "?(\d+)Gi"?$/gm)])
    .reduce((total, [, gib]) => total + Number(gib), 0)
  const assumption = 'monitoring fits on one node, which Karpenter launches for it'
  const node = [
    line(
      `node for monitoring, ${KARPENTER_INSTANCE} on demand`,
      1,
      priceOf('instances', KARPENTER_INSTANCE, prices),
      assumption,
    ),
    line('root volume of the node for monitoring, gp3', DEFAULT_ROOT_GIB, prices.prices.gp3, assumption),
  ]
  return [
    ...node.map((entry) => whileAwake(entry, 'system-nodes', context)),
    line('volumes of monitoring, gp3', claimed, prices.prices.gp3),
  ]
}

function webAcl({ address, values }: PlannedResource, { prices }: Context): CostLine[] {
  const rules = (values['rule'] ?? []) as unknown[]
  return [
    line(`WAF web ACL ${address}`, 1, prices.prices.wafWebAcl),
    line(
      `WAF rules of ${address}`,
      rules.length,
      prices.prices.wafRule,
      'requests cost 0.60 per million in addition, which comes with load',
    ),
  ]
}

/** The hosted zone of the planned records, which exists already. */
function hostedZone({ resources, prices }: Context): CostLine[] {
  if (!resources.some(({ type }) => type === 'aws_route53_record')) return []
  return [
    line(
      'Route 53 hosted zone',
      1,
      prices.prices.route53Zone,
      'the zone is for this environment alone; it costs the same if several share it',
    ),
  ]
}

/**
 * The load balancer of the service's Ingress, with an address in each subnet that a plan creates for one, or that it tags
 * for one in an existing network.
 */
function loadBalancer({ resources, prices }: Context): CostLine[] {
  const role = 'kubernetes.io/role/elb'
  const created = resources.filter(
    ({ type, values }) => type === 'aws_subnet' && Object.hasOwn(values['tags'] ?? {}, role),
  ).length
  const tagged = resources.filter(
    ({ type, values }) => type === 'aws_ec2_tag' && values['key'] === role,
  ).length
  const subnets = created === 0 ? tagged : created
  if (subnets === 0) return []
  const assumption = 'one Ingress; load balancer capacity units come only with load'
  return [
    line('Application Load Balancer', 1, prices.prices.alb, assumption),
    line('public IPv4 addresses of the load balancer', subnets, prices.prices.publicIpv4, assumption),
  ]
}

/** Costs that depend on the load or on the account. */
const NOT_COUNTED = [
  'NAT gateways and VPC endpoints of an existing VPC',
  'data transfer, also through NAT and endpoints, and nodes, capacity units and logs that come with load',
  'tax, discounts, savings plans and free tiers',
]

/** Formats a bill as a table, the most expensive line first, with its assumptions and omissions. */
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
      entry.item + note(entry),
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
    ...NOT_COUNTED.map((item) => `not counted: ${item}`),
  ].join('\n')
}

function readPlan(file: string): CostPlan {
  try {
    const plan = JSON.parse(readFileSync(file, 'utf8')) as Partial<CostPlan>
    if (plan.planned_values !== undefined) return { ...plan, planned_values: plan.planned_values }
  } catch (cause) {
    throw new ActionableError(`the plan ${file} cannot be read`, planHint, { cause })
  }
  throw new ActionableError(`${file} is JSON, but not a Terraform plan`, planHint)
}

const planHint = 'pass the output of `terraform show -json <saved plan>`'

if (import.meta.main) {
  new Command('cost')
    .description("Prints an environment's monthly cost at rest, from the plans of its stacks.")
    .argument('<plans...>', 'files with the output of `terraform show -json`')
    .action((files: string[]) =>
      console.log(renderCost(monthlyCost(files.map(readPlan), PRICES, new Date()))),
    )
    .parseAsync()
    .catch(reportFailure)
}
