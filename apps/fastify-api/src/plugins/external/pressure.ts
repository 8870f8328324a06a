import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Handles this route's requests under pressure, instead of a 503. */
    pressureHandler?: () => void
  }
}

/** For routes that must always answer: if probes fail under load, Kubernetes removes capacity. */
export function serveUnderPressure(): void {}

/** Interval of the measurements, in milliseconds: under-pressure's default. */
const SAMPLE_INTERVAL_MS = 1_000

/**
 * Answers 503 immediately under overload, so that the requests that are accepted, and the probes, are answered in time.
 *
 * Shedding must not hide load from the autoscaler, which targets 70 % of a CPU request of 100m. The delay of the event
 * loop is safe: it reaches one second only when the pod uses its whole CPU limit (1000m), far above the target. Shedding
 * starts after a blocked sample and ends after an unblocked one, so a shedding pod is busy at least half of the time.
 * Event loop utilisation is disabled by default, because throttling by the kernel counts as utilisation. Resident memory
 * is not a limit: it does not shrink when the load does, so the pod would never recover.
 */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    await app.register(underPressure, {
      maxEventLoopDelay: config.PRESSURE_MAX_EVENT_LOOP_DELAY_MS,
      // Node measures the delay between two turns of the loop. A sample with only one turn counts as infinite, so a
      // sample must not be shorter than the allowed delay.
      sampleInterval: Math.max(SAMPLE_INTERVAL_MS, config.PRESSURE_MAX_EVENT_LOOP_DELAY_MS),
      eventLoopUtilizationMode: 'interval',
      maxEventLoopUtilization: config.PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT / 100,
      maxHeapUsedBytes: (getHeapStatistics().heap_size_limit * config.PRESSURE_MAX_HEAP_USED_PERCENT) / 100,
    })
  },
  // After the metrics, which would otherwise not count refused requests.
  { name: 'pressure', dependencies: ['errors', 'metrics'] },
)
