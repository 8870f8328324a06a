/** What all rules for the cost of a resource share. */
import { ActionableError } from 'shared/errors'
import type { Price, Prices } from 'shared/prices'
import type { CostLine } from './bill.ts'
import type { PlannedResource } from './plan.ts'

/** What a rule needs besides its resource. */
export interface Context {
  resources: readonly PlannedResource[]
  prices: Prices
  /** The day (UTC) to price for, as YYYY-MM-DD. */
  day: string
}

/** The lines of the bill for one resource. */
export type Rule = (resource: PlannedResource, context: Context) => CostLine[]

/**
 * The price of an instance, a database or a node of a cache.
 *
 * @throws ActionableError when prices.json has none
 */
export function priceOf(kind: 'instances' | 'databases' | 'cacheNodes', type: string, prices: Prices): Price {
  const price = prices[kind][type]
  if (price === undefined) {
    throw new ActionableError(
      `prices.json has no price for ${type} in ${prices.region}`,
      `add it to ${kind} in shared/src/prices.json`,
    )
  }
  return price
}

/** The error for what a rule has no price for. */
export function unpriced({ address }: PlannedResource, what: string, nextStep: string): ActionableError {
  return new ActionableError(
    `${address} has ${what}, for which there is no price`,
    `${nextStep}, or add a rule to scripts/src/cost and its price to prices.json`,
  )
}

/** The type of a volume, after checking that it is the one with a price. */
export function gp3Only(resource: PlannedResource, type: string | undefined): 'gp3' {
  if (type === 'gp3') return type
  throw unpriced(resource, `a volume of type ${type ?? 'unknown'}`, 'use gp3')
}
