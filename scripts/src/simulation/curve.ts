/** The traffic of each hour of a day as a share of the peak: a minimum at night, peaks at noon and in the evening. */
export const TRAFFIC: readonly number[] = [
  0.42, 0.33, 0.27, 0.24, 0.23, 0.26, 0.35, 0.5, 0.66, 0.79, 0.88, 0.96, 1.0, 0.97, 0.91, 0.88, 0.87, 0.89,
  0.94, 0.98, 0.99, 0.9, 0.74, 0.56,
]

/** An hour of the simulated day. */
export interface Hour {
  /** 0 to 23. */
  hour: number
  /** Pods that the traffic needs. */
  pods: number
}

/**
 * The hours of a day whose peak needs `peak` pods. The day begins at its peak, because the simulation has scaled to the
 * peak before.
 */
export function day(peak: number): Hour[] {
  const start = TRAFFIC.indexOf(Math.max(...TRAFFIC))
  return TRAFFIC.map((_, index) => {
    const hour = (start + index) % TRAFFIC.length
    return { hour, pods: Math.ceil(peak * (TRAFFIC[hour] ?? 0)) }
  })
}
