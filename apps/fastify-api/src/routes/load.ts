import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Config } from '../config.ts'
import { HttpProblem } from '../problems/http-problem.ts'
import { problems } from '../problems/problem.ts'

/** Largest payload, in bytes: a web page with images. */
const MAX_PAYLOAD_BYTES = 1024 * 1024

/** Statuses of answers without a body (RFC 9110). */
const WITHOUT_BODY = [204, 205, 304]

/**
 * Keeps this thread busy for `ms` milliseconds of CPU time; returns the milliseconds used.
 *
 * It measures CPU time instead of wall time, so that a throttled pod does the same work but takes longer, as with real
 * work, and the autoscaler sees the load. It measures the thread instead of the process, because other threads collect
 * garbage and compile for other requests. It is synchronous, so that nothing else on the thread is counted.
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

/** Serialises a body, which may be nested too deeply: V8 parses JSON iteratively, but serialises it recursively. */
function toJson(body: unknown): string {
  try {
    return JSON.stringify(body)
  } catch (cause) {
    throw new HttpProblem(422, 'The body is nested too deeply', { cause })
  }
}

/** Load on demand: CPU time, waiting, size, status. Each has a limit. */
const load: FastifyPluginAsyncTypebox<{ config: Config }> = async (app, { config }) => {
  if (!config.LOAD_ENDPOINTS_ENABLED) return
  const responses = problems(400, 429, 503)
  const maxWorkMs = Math.floor(config.LOAD_MAX_MS / 10)
  const closed = { additionalProperties: false }

  // Requests are processed in order of arrival, one in each turn of the event loop. Otherwise all waiting work would
  // share one turn, and Node accepts only one connection in a turn: in a pod at its CPU limit with forty clients, probes
  // waited for more than 15 s. Now a turn is one request.
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
            wallMs: Type.Number({
              description: 'Wall time. If it is well above cpuMs, the pod was throttled.',
            }),
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
                'Most additional milliseconds, chosen at random. The sum is limited to the maximum of ms.',
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
        summary: 'Answer with a number of bytes',
        params: Type.Object({ bytes: Type.Integer({ minimum: 0, maximum: MAX_PAYLOAD_BYTES }) }),
        response: {
          200: {
            description: 'The requested number of bytes.',
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
        summary: 'Answer with a status',
        params: Type.Object({ code: Type.Integer({ minimum: 200, maximum: 599 }) }),
        response: {
          ...Object.fromEntries(
            WITHOUT_BODY.map((status) => [status, { description: 'The requested status.', type: 'null' }]),
          ),
          default: {
            description: 'The requested status, or a problem if the request was refused.',
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
        summary: 'Answer with the JSON of the request',
        body: Type.Unknown(),
        response: { 200: Type.Unknown(), ...problems(400, 413, 415, 422, 429, 503) },
      },
    },
    async ({ body }, reply) => {
      if (body === undefined) throw new HttpProblem(400, 'The request has no body: send JSON')
      // Serialised here, because Fastify would send a JSON string without its quotes.
      return reply.type('application/json; charset=utf-8').send(toJson(body))
    },
  )
}

export default load
