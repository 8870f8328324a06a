/** The cost of the database, the cache and their secrets. */
import type { Prices } from 'shared/prices'
import { type CostLine, line } from './bill.ts'
import { type PlannedResource, required } from './plan.ts'
import { type Context, gp3Only, priceOf, unpriced } from './pricing-rule.ts'
import { whileAwake } from './sleep.ts'

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

/** An RDS instance, its storage, and the secret of its master password. */
export function database(resource: PlannedResource, context: Context): CostLine[] {
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

/** One secret. */
export function secretLine({ prices }: Prices): CostLine {
  return line('secrets in Secrets Manager', 1, prices.secret)
}

/** The nodes of an ElastiCache replication group. */
export function cache(group: PlannedResource, { prices }: Context): CostLine[] {
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

/** How many nodes a replication group has. */
export function cacheNodes(group: PlannedResource): number {
  return required(group.values['num_cache_clusters'] as number | undefined, group, 'the number of nodes')
}
