import type { BoxConfig } from 'shared/box'

/** The box's time limits in milliseconds. */
export interface TimeLimits {
  /** From a component's start to its first answer. */
  componentStart: number
  /** From the first failing probe of a component that was ready until it is started again. */
  componentHang: number
  /** From a component's stop signal until it is killed. */
  componentStop: number
  /** From the order to stop until the host process kills every process of the box. */
  allStop: number
  /** From the order to stop until `make down` gives up on the host process. */
  boxStop: number
  /** From `make up` until every component is ready. */
  boxStart: number
}

/**
 * Derives every time limit of the box from `startTimeoutSeconds`, so that one setting fits them all to a slow
 * machine. The longest chain of components that wait for each other has four links: etcd, kube-apiserver,
 * kubelet, metrics-server.
 */
export function timeLimits({ startTimeoutSeconds }: Pick<BoxConfig, 'startTimeoutSeconds'>): TimeLimits {
  const componentStart = startTimeoutSeconds * 1000
  // A short patience with starts is no reason to kill a database that is still writing.
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
