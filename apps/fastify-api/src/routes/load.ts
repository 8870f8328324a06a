import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { problemResponses } from '../plugins/errors.ts'

/**
 * Keeps this thread busy until it has used `ms` milliseconds of CPU time; returns the milliseconds it used.
 *
 * CPU time, not the clock's: a pod that the kernel throttles does the whole work and takes longer, as real
 * work would, so that load in the test is load for the autoscaler. The thread's, not the process's: garbage
 * collection and compilation on other threads are not this request's work. Synchronous: nothing else runs on
 * the thread meanwhile that could be charged to it.
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
  // Work is done in order of arrival, one piece in a turn of the event loop. Done on arrival, all work that
  // is waiting would share one turn; and as Node accepts one connection in a turn, a pod at its CPU limit with
  // forty busy clients left its probes waiting for more than 15 s. This way a turn is one piece, under a limit
  // of 200m up to five times its `ms`.
  let turn = Promise.resolve()
  const nextTurn = () => {
    turn = turn.then(() => setImmediate())
    return turn
  }

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
    async ({ query }) => {
      await nextTurn()
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
