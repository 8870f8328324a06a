import type { Hour } from './curve.ts'
import { INSTANCE_TYPES, type InstanceType, podsOn } from './instance-types.ts'
import { requestsOf, type Size } from './workload.ts'

/** A node group with a fixed number of nodes of one type, over a day. */
export interface StaticGroup {
  type: string
  nodes: number
  /** Price of the day in USD. */
  usd: number
  /** Hours in which some pods find no room, and the sum of these pods over the hours. */
  hoursWithoutRoom: number
  podHoursWithoutRoom: number
}

/** The cheapest type for the pods, and how many of them fit on one instance. */
export function cheapestFor(size: Size): { type: InstanceType; pods: number } {
  const requests = requestsOf(size)
  const [best] = INSTANCE_TYPES.map((type) => ({ type, pods: podsOn(type, requests) }))
    .filter(({ pods }) => pods > 0)
    // For the same price per pod, fewer and larger nodes.
    .sort((a, b) => a.type.usd / a.pods - b.type.usd / b.pods || b.pods - a.pods)
  if (best === undefined) throw new TypeError('no simulated instance type fits the pods')
  return best
}

/** The cheapest static node group with room for `pods` pods. */
export function staticGroup(pods: number, hours: readonly Hour[], size: Size): StaticGroup {
  const best = cheapestFor(size)
  const nodes = Math.ceil(pods / best.pods)
  const without = hours.map((hour) => Math.max(0, hour.pods - nodes * best.pods))
  return {
    type: best.type.name,
    nodes,
    usd: nodes * best.type.usd * hours.length,
    hoursWithoutRoom: without.filter((count) => count > 0).length,
    podHoursWithoutRoom: sum(without),
  }
}

/** Room of a group that is sized by the average, as a factor. */
export const HEADROOM = 1.3

/** Static node groups for the peak, and for the average with `HEADROOM`. */
export function staticGroups(hours: readonly Hour[], size: Size): Record<'peak' | 'average', StaticGroup> {
  const pods = hours.map((hour) => hour.pods)
  return {
    peak: staticGroup(Math.max(...pods), hours, size),
    average: staticGroup(Math.ceil((sum(pods) / pods.length) * HEADROOM), hours, size),
  }
}

/** What the pods of a day cost if they always filled the cheapest nodes: no fleet costs less. */
export function lowestCost(hours: readonly Hour[], size: Size): number {
  const best = cheapestFor(size)
  return sum(hours.map(({ pods }) => (pods / best.pods) * best.type.usd))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
