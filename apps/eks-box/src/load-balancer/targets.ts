import { setTimeout as sleep } from 'node:timers/promises'
import type { Server } from './configuration.ts'
import type { checkTarget, Failure, Reason } from './health-check.ts'
import { type LoadBalancingState, type Target, type TargetGroup, targetGroupsOf } from './state.ts'

/** A target's state, as DescribeTargetHealth reports it. */
export interface TargetHealth {
  id: string
  port: number
  healthCheckPort: number
  state: 'initial' | 'healthy' | 'unhealthy' | 'draining' | 'unused'
  reason?: Reason
  description?: string
}

interface Entry {
  target: Target
  state: TargetHealth['state']
  /** The last failed health check. */
  failure?: Failure
  /** Successful health checks in a row, or failed ones if negative. */
  streak: number
  /** Stops the health checks, or the wait for the end of the draining. */
  stop: AbortController
}

interface Group {
  group: TargetGroup
  /** Whether a listener forwards to the group. If not, its targets are not checked. */
  inUse: boolean
  /** Indexed by place. A target keeps its place until it is gone; undefined is a free place. */
  entries: (Entry | undefined)[]
}

/** Smallest number of places in a group. It doubles as necessary. */
const fewestPlaces = 8

/** Follows the registered targets: checks their health, and drains those that are deregistered. */
export class Targets {
  readonly #groups = new Map<string, Group>()
  readonly #check: typeof checkTarget
  readonly #onChange: () => void

  /**
   * @param check checks a target once.
   * @param onChange called when the state of a target has changed for another reason than `update`.
   */
  constructor(check: typeof checkTarget, onChange: () => void) {
    this.#check = check
    this.#onChange = onChange
  }

  /** Takes over the registered targets. */
  update({ loadBalancers, targetGroups }: LoadBalancingState): void {
    const used = new Set(loadBalancers.flatMap(targetGroupsOf))
    for (const [arn, { entries }] of this.#groups) {
      if (targetGroups.some((group) => group.arn === arn)) continue
      for (const entry of entries) entry?.stop.abort()
      this.#groups.delete(arn)
    }
    for (const group of targetGroups) {
      const inUse = used.has(group.arn)
      const known = this.#groups.get(group.arn)
      const now: Group = { group, inUse, entries: known?.entries ?? Array(fewestPlaces).fill(undefined) }
      this.#groups.set(group.arn, now)
      for (const [place, entry] of now.entries.entries()) {
        if (entry === undefined || entry.state === 'draining') continue
        if (!group.targets.some((target) => isSame(target, entry.target))) {
          this.#drain(now, place, entry)
        } else if (inUse === (entry.state === 'unused')) {
          entry.stop.abort()
          now.entries[place] = this.#start(now, entry.target)
        }
      }
      for (const target of group.targets) {
        const place = now.entries.findIndex((entry) => entry !== undefined && isSame(target, entry.target))
        if (place !== -1 && now.entries[place]?.state !== 'draining') continue
        now.entries[place]?.stop.abort()
        now.entries[place === -1 ? freePlace(now.entries) : place] = this.#start(now, target)
      }
    }
  }

  /** The states of a group's targets, including those that drain; undefined for an unknown group. */
  healthOf(targetGroupArn: string): TargetHealth[] | undefined {
    const known = this.#groups.get(targetGroupArn)
    return known?.entries.flatMap((entry): TargetHealth[] => {
      if (entry === undefined) return []
      const { id, port } = entry.target
      const health = { id, port, healthCheckPort: known.group.healthCheck.port ?? port, state: entry.state }
      return [{ ...health, ...explain(entry) }]
    })
  }

  /**
   * The servers of a group by place. Requests go to the healthy targets, or, if there are none, to all that are
   * registered (ALB user guide, "target group health").
   */
  serversOf(targetGroupArn: string): (Server | undefined)[] {
    const { entries = [] } = this.#groups.get(targetGroupArn) ?? {}
    const isOpen = !entries.some((entry) => entry?.state === 'healthy')
    return entries.map((entry) => {
      if (entry?.target.address === undefined) return undefined
      const accepts = entry.state === 'healthy' || (isOpen && entry.state !== 'draining')
      return {
        address: entry.target.address,
        port: entry.target.port,
        state: accepts ? 'ready' : 'drain',
      }
    })
  }

  /** Stops all health checks. */
  close(): void {
    for (const { entries } of this.#groups.values()) for (const entry of entries) entry?.stop.abort()
    this.#groups.clear()
  }

  #start({ group, inUse }: Group, target: Target): Entry {
    const entry: Entry = {
      target,
      state: inUse ? 'initial' : 'unused',
      streak: 0,
      stop: new AbortController(),
    }
    if (inUse) this.#keepChecking(group.arn, entry).catch(() => {})
    return entry
  }

  async #keepChecking(arn: string, entry: Entry): Promise<void> {
    const { signal } = entry.stop
    while (true) {
      // The settings may have changed since the last check.
      const check = this.#groups.get(arn)?.group.healthCheck
      // Undefined only until `update` has stored the group.
      if (check === undefined) await sleep(0, undefined, { signal })
      else {
        const started = Date.now()
        const failure = await this.#check(check, entry.target, signal)
        signal.throwIfAborted()
        this.#record(entry, failure, check.healthyThreshold, check.unhealthyThreshold)
        const rest = check.intervalSeconds * 1000 - (Date.now() - started)
        await sleep(Math.max(rest, 0), undefined, { signal })
      }
    }
  }

  #record(entry: Entry, failure: Failure | undefined, healthy: number, unhealthy: number): void {
    const { streak, failure: previous, ...rest } = entry
    const { state } = rest
    if (failure === undefined) {
      entry.streak = Math.max(streak, 0) + 1
      // A new target is healthy after its first successful check.
      if (state === 'initial' || entry.streak >= healthy) entry.state = 'healthy'
      if (entry.state === 'healthy') delete entry.failure
    } else {
      entry.streak = Math.min(streak, 0) - 1
      entry.failure = failure
      if (-entry.streak >= unhealthy) entry.state = 'unhealthy'
    }
    if (entry.state !== state || entry.failure !== previous) this.#onChange()
  }

  #drain({ group, entries }: Group, place: number, entry: Entry): void {
    entry.stop.abort()
    if (entry.state === 'unused' || group.deregistrationDelaySeconds === 0) {
      entries[place] = undefined
      return
    }
    entry.state = 'draining'
    entry.stop = new AbortController()
    sleep(group.deregistrationDelaySeconds * 1000, undefined, { signal: entry.stop.signal }).then(
      () => {
        entries[place] = undefined
        this.#onChange()
      },
      // The target has been registered again, or its group has been deleted.
      () => {},
    )
  }
}

function isSame(one: Target, other: Target): boolean {
  return one.id === other.id && one.port === other.port && one.address === other.address
}

/** The first free place; doubles the places if there is none. */
function freePlace(entries: (Entry | undefined)[]): number {
  const free = entries.indexOf(undefined)
  if (free !== -1) return free
  const place = entries.length
  entries.push(...Array(place).fill(undefined))
  return place
}

function explain({ state, failure }: Entry): { reason?: Reason; description?: string } {
  switch (state) {
    case 'initial':
      return { reason: 'Elb.InitialHealthChecking', description: 'Initial health checks in progress' }
    case 'unhealthy':
      return failure ?? {}
    case 'draining':
      return {
        reason: 'Target.DeregistrationInProgress',
        description: 'Target deregistration is in progress',
      }
    case 'unused':
      return {
        reason: 'Target.NotInUse',
        description: 'Target group is not configured to receive traffic from the load balancer',
      }
    case 'healthy':
      return {}
  }
}
