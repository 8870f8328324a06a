import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What happens to this route's requests under pressure, instead of a 503. */
    pressureHandler?: () => void
  }
}

/** For routes that must answer at all times: a probe that fails under load makes Kubernetes remove capacity. */
export function serveUnderPressure(): void {}

/** How often the verdict is reviewed, in milliseconds; under-pressure's own default. */
const SAMPLE_INTERVAL_MS = 1_000

/**
 * Answers 503 at once where waiting has become pointless, so that what does wait, the probes included, still
 * gets an answer in time.
 *
 * The limits must never hide load from the autoscaler, which looks at CPU (70 % of a request of 100m). Delay
 * of the event loop is safe: it reaches a second only when the pod has been using its whole CPU limit (200m),
 * far above the target; and as it takes a blocked sample to begin shedding and one unblocked sample ends it,
 * a pod that sheds is still busy at least half of the time, at or above its request. Event loop utilisation
 * is off by default: the kernel stalling a throttled pod counts as utilised. Resident memory is no measure: it
 * does not shrink again when load does, so that a pod would refuse for ever.
 */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    await app.register(underPressure, {
      maxEventLoopDelay: config.PRESSURE_MAX_EVENT_LOOP_DELAY_MS,
      // Node measures a delay between two turns of the loop. A sample in which there was only one has no
      // value and counts as infinite, so no sample may be shorter than a delay that is still allowed.
      sampleInterval: Math.max(SAMPLE_INTERVAL_MS, config.PRESSURE_MAX_EVENT_LOOP_DELAY_MS),
      eventLoopUtilizationMode: 'interval',
      maxEventLoopUtilization: config.PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT / 100,
      maxHeapUsedBytes: (getHeapStatistics().heap_size_limit * config.PRESSURE_MAX_HEAP_USED_PERCENT) / 100,
    })
  },
  // After the metrics, which would not count what is refused before they have seen it.
  { name: 'pressure', dependencies: ['errors', 'metrics'] },
)
