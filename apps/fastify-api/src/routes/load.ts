import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Config } from '../config.ts'
import { HttpProblem } from '../problems/http-problem.ts'
import { problems } from '../problems/problem.ts'

/** Largest payload to order, in bytes: a page with its pictures. */
const MAX_PAYLOAD_BYTES = 1024 * 1024

/** Statuses whose answers have no body (RFC 9110). */
const WITHOUT_BODY = [204, 205, 304]

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

/** What could be read can be nested too deeply to be written: V8 reads JSON without recursion, and writes it with. */
function toJson(body: unknown): string {
  try {
    return JSON.stringify(body)
  } catch (cause) {
    throw new HttpProblem(422, 'The body is nested too deeply', { cause })
  }
}

/** Load to order: CPU time, waiting, size, status; each bounded. */
const load: FastifyPluginAsyncTypebox<{ config: Config }> = async (app, { config }) => {
  if (!config.LOAD_ENDPOINTS_ENABLED) return
  const responses = problems(400, 429, 503)
  const maxWorkMs = Math.floor(config.LOAD_MAX_MS / 10)
  const closed = { additionalProperties: false }

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
    '/api/v1/work',
    {
      schema: {
        tags: ['load'],
        operationId: 'work',
        summary: 'Burn CPU time',
        querystring: Type.Object(
          { ms: Type.Integer({ default: Math.min(10, maxWorkMs), minimum: 0, maximum: maxWorkMs }) },
          closed,
        ),
        response: {
          200: Type.Object({
            cpuMs: Type.Number({ description: 'CPU time used.' }),
            wallMs: Type.Number({ description: 'Time passed; well above cpuMs, the pod was throttled.' }),
          }),
          ...responses,
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
    '/api/v1/delay/:ms',
    {
      schema: {
        tags: ['load'],
        operationId: 'delay',
        summary: 'Wait',
        params: Type.Object({ ms: Type.Integer({ minimum: 0, maximum: config.LOAD_MAX_MS }) }),
        querystring: Type.Object(
          {
            jitter: Type.Integer({
              default: 0,
              minimum: 0,
              maximum: config.LOAD_MAX_MS,
              description:
                'Wait up to so many milliseconds longer, at random; never longer in all than ms may be.',
            }),
          },
          closed,
        ),
        response: { 200: Type.Object({ waitedMs: Type.Number() }), ...responses },
      },
    },
    async ({ params, query }) => {
      const start = performance.now()
      await setTimeout(Math.min(params.ms + Math.random() * query.jitter, config.LOAD_MAX_MS))
      return { waitedMs: performance.now() - start }
    },
  )

  const filler = Buffer.alloc(MAX_PAYLOAD_BYTES, 'x')
  app.get(
    '/api/v1/payload/:bytes',
    {
      schema: {
        tags: ['load'],
        operationId: 'payload',
        summary: 'Answer with so many bytes',
        params: Type.Object({ bytes: Type.Integer({ minimum: 0, maximum: MAX_PAYLOAD_BYTES }) }),
        response: {
          200: {
            description: 'So many bytes.',
            content: {
              'application/octet-stream': {
                schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }),
              },
            },
          },
          ...responses,
        },
      },
    },
    async ({ params }, reply) =>
      reply.type('application/octet-stream').send(filler.subarray(0, params.bytes)),
  )

  app.get(
    '/api/v1/status/:code',
    {
      schema: {
        tags: ['load'],
        operationId: 'status',
        summary: 'Answer with this status',
        params: Type.Object({ code: Type.Integer({ minimum: 200, maximum: 599 }) }),
        response: {
          ...Object.fromEntries(
            WITHOUT_BODY.map((status) => [status, { description: 'As asked for.', type: 'null' }]),
          ),
          default: {
            description:
              'The status that was asked for; as a problem where it was not understood or not granted.',
            content: {
              'application/json': {
                schema: Type.Unsafe<{ status: number } | undefined>(Type.Object({ status: Type.Integer() })),
              },
              ...responses[400].content,
            },
          },
        },
      },
    },
    async ({ params: { code } }, reply) => {
      reply.code(code)
      return WITHOUT_BODY.includes(code) ? reply.send(undefined) : reply.send({ status: code })
    },
  )

  app.post(
    '/api/v1/echo',
    {
      schema: {
        tags: ['load'],
        operationId: 'echo',
        summary: 'Answer with the JSON that was sent',
        body: Type.Unknown(),
        response: { 200: Type.Unknown(), ...problems(400, 413, 415, 422, 429, 503) },
      },
    },
    async ({ body }, reply) => {
      if (body === undefined) throw new HttpProblem(400, 'There is no body to answer with')
      // As text: a JSON string would otherwise be sent without its quotes.
      return reply.type('application/json; charset=utf-8').send(toJson(body))
    },
  )
}

export default load
