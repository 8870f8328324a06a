import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Counter } from '@prometheus-io/client'
import type { FastifyInstance } from 'fastify'
import { destination } from 'pino'
import { buildApp } from './app.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { buildManagement } from './management.ts'
import { close, drain } from './shutdown.ts'

/** Requests to end the process. The abort reason is the name of the signal. */
export interface Requests {
  /** Stop gracefully: requests in flight finish. */
  stop: AbortSignal
  /** Exit immediately. */
  exit: AbortSignal
}

/**
 * Most characters of the log that are buffered for a slow reader. Further lines are dropped and counted, because an
 * unbounded buffer would use up the pod's memory when the reader stalls.
 */
const MAX_LOG_BUFFER = 4 * 1024 * 1024

/** Serves until asked to stop, then ends the process. */
export async function run(requests: Requests): Promise<never> {
  try {
    return await serve(loadConfig(process.env), requests)
  } catch (error) {
    console.error(error instanceof ConfigError ? `fastify-api: ${error.message}` : error)
    process.exit(1)
  }
}

async function serve(config: Config, { stop, exit }: Requests): Promise<never> {
  // Asynchronous, so that a slow reader of the log does not block requests. Pino flushes on exit.
  const output = destination({ dest: 1, sync: false, maxLength: MAX_LOG_BUFFER })
  const app = await buildApp(config, output)
  countDropped(app, output)
  process.once('uncaughtException', (error) => {
    app.log.fatal(error, 'uncaught exception')
    process.exit(1)
  })
  whenAborted(exit, () => {
    app.log.fatal({ signal: exit.reason }, 'second signal: exit at once, requests in flight are lost')
    process.exit(1)
  })
  if (stop.aborted) app.log.info({ signal: stop.reason }, 'stopped while starting')
  else {
    await start(app, config)
    await whenAborted(stop, () => drain(app, config, stop.reason))
  }
  await close(app, config)
  process.exit(0)
}

/** Calls `then` when the signal is aborted, or immediately if it already is. */
async function whenAborted<Result>(signal: AbortSignal, then: () => Result): Promise<Awaited<Result>> {
  if (!signal.aborted) await once(signal, 'abort')
  return await then()
}

function countDropped(app: FastifyInstance, output: ReturnType<typeof destination>): void {
  const dropped = new Counter({
    name: 'log_lines_dropped_total',
    help: 'Log lines dropped because the reader of the log was too slow.',
    registers: [app.metricsRegistry],
  })
  output.on('drop', () => dropped.inc())
}

async function start(app: FastifyInstance, config: Config): Promise<void> {
  // First, so that metrics are available as soon as the service answers.
  const management = buildManagement(app)
  await listen(management, config.HOST, config.METRICS_PORT, 'METRICS_PORT')
  await listen(app, config.HOST, config.PORT, 'PORT')
  const ports = { http: port(app), metrics: port(management) }
  app.log.info({ ports, startMs: Math.round(performance.now()) }, 'started')
}

const port = ({ server }: FastifyInstance) => (server.address() as AddressInfo).port

async function listen(server: FastifyInstance, host: string, at: number, variable: string): Promise<void> {
  await server.listen({ host, port: at }).catch((error: Error) => {
    throw new ConfigError(
      `cannot listen on HOST=${host} ${variable}=${at}: ${error.message}; ` +
        `set another HOST or ${variable}, or stop the process that uses this one`,
      { cause: error },
    )
  })
}
