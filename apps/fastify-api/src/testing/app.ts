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
  statusCode?: number
  leftOut?: number
  traceId?: string
  reason?: string
  err?: { message: string }
}

/** The service without a port, and what it logs; the load routes are on, as most tests need one. */
export async function build(t: Test, settings: Partial<Record<keyof Config, string>> = {}) {
  const lines: LogLine[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  const defaults = {
    LOAD_ENDPOINTS_ENABLED: 'true',
    // What a busy machine makes of the event loop is not what most tests are about.
    PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '0',
  }
  const app = await buildApp(loadConfig({ ...defaults, ...settings }), sink)
  t.teardown(() => app.close())
  return { app, lines }
}

/** The body of an error answer, which always has the same media type. */
export function problem(t: Test, response: LightMyRequestResponse) {
  t.match(response.headers['content-type'], /^application\/problem\+json\b/)
  return response.json()
}

/** The value of a metric as Prometheus would read it. */
export async function metric(app: FastifyInstance, sample: string): Promise<unknown> {
  const text = await app.metricsRegistry.metrics()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${sample} `))
  return line && Number(line.slice(sample.length + 1))
}
