import { Writable } from 'node:stream'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import { buildApp } from '../app.ts'
import { type Config, loadConfig } from '../config.ts'

export interface LogLine {
  level: string
  msg: string
  reqId?: string
  path?: string
  route?: string
  statusCode?: number
  leftOut?: number
  traceId?: string
  reason?: string
  err?: { message: string }
}

/** Builds the service without a port, and records its log. The load routes are enabled, because most tests use one. */
export async function build(t: Test, settings: Partial<Record<keyof Config, string>> = {}) {
  const lines: LogLine[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  // On a busy machine, the event loop is often delayed, and most tests are not about that.
  const defaults = { LOAD_ENDPOINTS_ENABLED: 'true', PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '0' }
  const app = await buildApp(loadConfig({ ...defaults, ...settings }), sink)
  t.teardown(() => app.close())
  return { app, lines }
}

/** The body of an error response; checks its media type. */
export function problem(t: Test, response: LightMyRequestResponse) {
  t.match(response.headers['content-type'], /^application\/problem\+json\b/)
  return response.json()
}

/** The value of a metric, as Prometheus reads it. */
export async function metric(app: FastifyInstance, sample: string): Promise<unknown> {
  const text = await app.metricsRegistry.metrics()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${sample} `))
  return line && Number(line.slice(sample.length + 1))
}
