import type { Nodegroup } from './model.ts'

/** The instances and nodes of managed node groups, which EKS manages in the user's account. */
export interface NodeGroupFleet {
  /**
   * Makes the instances and nodes of a group match its settings.
   *
   * @returns the name of the group's Auto Scaling group.
   * @throws FleetError when EKS would report the group as unhealthy.
   */
  converge: (group: Nodegroup) => Promise<string>
  /** Drains the nodes of a group, and removes everything that EKS created for it. */
  remove: (group: Nodegroup) => Promise<void>
}

/** A health issue of a node group (EKS API, Issue). */
export class FleetError extends Error {
  readonly code: 'AsgInstanceLaunchFailures' | 'NodeCreationFailure'

  constructor(code: FleetError['code'], message: string) {
    super(message)
    this.name = 'FleetError'
    this.code = code
  }
}
