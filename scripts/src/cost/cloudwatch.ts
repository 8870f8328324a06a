/** The cost of CloudWatch: logs, metrics and alarms. */
import { ActionableError } from 'shared/errors'
import { type CostLine, HOURS_PER_MONTH, line } from './bill.ts'
import { cacheNodes } from './databases.ts'
import { moduleOf, type PlannedResource, required } from './plan.ts'
import type { Context } from './pricing-rule.ts'

const DAYS_PER_MONTH = 365 / 12

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

/**
 * Flow logs of an idle VPC in GB per month, by the traffic that they record. These are estimates: about ten interfaces
 * with 200 connections of nodes, controllers and health checks in each ten minutes, of 110 bytes each; rejected are only
 * the scanners of the internet, at the public addresses.
 */
const FLOW_LOG_GB: Readonly<Record<string, number>> = { ALL: 1, ACCEPT: 0.9, REJECT: 0.1 }

/**
 * What Container Insights observes at rest, in millions a month: about 1,000 metrics of the cluster, two nodes and 25 pods
 * each minute. An estimate; the bill shows the actual number.
 */
const MILLION_OBSERVATIONS = 1_000 * 60 * HOURS_PER_MONTH * 1e-6

/** A volume of logs. */
interface LogVolume {
  of: string
  /** GB per month. */
  gb: number
  /** What is logged, for the assumption. */
  contents: string
}

/** What is written to a log group, and kept there. */
export function logs(group: PlannedResource, context: Context): CostLine[] {
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
      'add one to scripts/src/cost/cloudwatch.ts',
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

/** A query costs as much as the metrics that it reads. Those of the cache have one for each node. */
export function alarm({ values }: PlannedResource, { resources, prices }: Context): CostLine[] {
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
export function natAlarms({ resources, prices }: Context): CostLine[] {
  const alarms = resources.filter(({ type }) => type === 'aws_cloudwatch_metric_alarm')
  const planned = alarms.filter(({ index }) => String(index).startsWith('nat-')).length
  const nats = resources.filter(({ type }) => type === 'aws_nat_gateway' || type === 'aws_instance').length
  if (alarms.length === 0 || nats <= planned) return []
  return [line('CloudWatch alarms', nats - planned, prices.prices.alarmMetric)]
}
