import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { problemResponses } from '../plugins/errors.ts'

/**
 * Keeps this thread busy until it has used `ms` milliseconds of CPU time; returns the milliseconds it used.
 *
 * CPU time, not the clock's: a pod that the kernel throttles does the whole work and takes longer, as real
 * work would, so that load in the test is load for the autoscaler. The thread's, not the process's: garbage
 * collection and compilation on other threads are not this request's work.
 *
 * It is synchronous, so that no other request is charged to this one; the price is that all others, probes
 * among them, wait until it returns, in wall time up to five times `ms` under a CPU limit of 200m.
 */
function burnCpu(ms: number): number {
  const start = process.threadCpuUsage()
  let usedMs: number
  do {
    const { user, system } = process.threadCpuUsage(start)
    usedMs = (user + system) / 1000
  } while (usedMs < ms)
  return usedMs
}

/** Load to order: CPU time and waiting, each bounded. */
const load: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/work',
    {
      schema: {
        querystring: Type.Object(
          { ms: Type.Integer({ default: 10, minimum: 0, maximum: 1000 }) },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            cpuMs: Type.Number({ description: 'CPU time used.' }),
            wallMs: Type.Number({ description: 'Time passed; well above cpuMs, the pod was throttled.' }),
          }),
          ...problemResponses,
        },
      },
    },
    ({ query }) => {
      const start = performance.now()
      return { cpuMs: burnCpu(query.ms), wallMs: performance.now() - start }
    },
  )

  app.get(
    '/delay/:ms',
    {
      schema: {
        params: Type.Object({ ms: Type.Integer({ minimum: 0, maximum: 10_000 }) }),
        response: { 200: Type.Object({ waitedMs: Type.Number() }), ...problemResponses },
      },
    },
    async ({ params }) => {
      const start = performance.now()
      await setTimeout(params.ms)
      return { waitedMs: performance.now() - start }
    },
  )
}

export default load
