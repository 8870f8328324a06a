import recorded from './prices.json' with { type: 'json' }

/** A list price, before tax and discounts. */
export interface Price {
  usd: number
  /** The unit of the price; `hour` is charged for every hour of a month. */
  per: string
  /** Service and usage type in the AWS Price List. */
  offer: string
  /** The sources of the price, with dates. A price with a single source is unconfirmed. */
  seen: string[]
}

/** The content of prices.json. */
export interface Prices {
  region: string
  prices: Record<PriceName, Price>
  instances: Record<string, Price>
  /** Instances of RDS, by class, engine, and whether they have a standby in another zone. */
  databases: Record<string, Price>
  /** Nodes of ElastiCache, by type and engine. */
  cacheNodes: Record<string, Price>
  /** The last day (UTC) of each Kubernetes version's standard support, from the EKS release calendar. */
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
  | 'alarmMetric'
  | 'alb'
  | 'millionObservations'
  | 'publicIpv4'
  | 'natGateway'
  | 'interfaceEndpoint'
  | 'rdsGp3'
  | 'rdsGp3MultiAz'
  | 'secret'
  | 'route53Zone'
  | 'wafWebAcl'
  | 'wafRule'
