import type { BoxConfig } from 'shared/box'

/** The box's time limits in milliseconds. */
export interface TimeLimits {
  /** From a component's start until it is ready. */
  componentStart: number
  /** From the first failed probe of a ready component until it is restarted. */
  componentHang: number
  /** From a component's stop signal until SIGKILL. */
  componentStop: number
  /** From the stop command until the host process kills every process of the box. */
  allStop: number
  /** From the stop command until `make down` kills the host process. */
  boxStop: number
  /** From `make up` until every component is ready. */
  boxStart: number
}

/**
 * Derives every time limit of the box from `startTimeoutSeconds`, so that one setting adapts them to a slow machine.
 * The longest dependency chain has three components: moto, aws and nodes, which stops the components of its nodes.
 */
export function timeLimits({ startTimeoutSeconds }: Pick<BoxConfig, 'startTimeoutSeconds'>): TimeLimits {
  const componentStart = startTimeoutSeconds * 1000
  // A short start timeout must not kill a database that is still writing.
  const boxStop = Math.max(componentStart, 120_000)
  return {
    componentStart,
    componentHang: componentStart / 4,
    componentStop: boxStop / 8,
    allStop: (boxStop * 3) / 4,
    boxStop,
    boxStart: componentStart * 4,
  }
}
