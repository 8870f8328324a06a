import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Counter } from '@prometheus-io/client'
import type { FastifyInstance } from 'fastify'
import { destination } from 'pino'
import { buildApp } from './app.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { buildManagement } from './management.ts'

/** What the process has been asked for; the reason of each is the signal's name. */
export interface Requests {
  /** In order: requests in flight finish. */
  stop: AbortSignal
  /** At once. */
  exit: AbortSignal
}

/**
 * Most characters of the log that wait for a slow reader. More lines are dropped and counted: without a bound, a
 * reader that stalls would use up the pod's memory.
 */
const MOST_WAITING_LOG = 4 * 1024 * 1024

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
  // Asynchronous writes: a slow reader of the log does not hold up requests. Pino flushes on exit.
  const output = destination({ dest: 1, sync: false, maxLength: MOST_WAITING_LOG })
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

/** Calls back when the signal is aborted, or now where it has been. */
async function whenAborted<Result>(signal: AbortSignal, then: () => Result): Promise<Awaited<Result>> {
  if (!signal.aborted) await once(signal, 'abort')
  return await then()
}

function countDropped(app: FastifyInstance, output: ReturnType<typeof destination>): void {
  const dropped = new Counter({
    name: 'log_lines_dropped_total',
    help: 'Log lines that were dropped because their reader was too slow.',
    registers: [app.metricsRegistry],
  })
  output.on('drop', () => dropped.inc())
}

async function start(app: FastifyInstance, config: Config): Promise<void> {
  // First, so that a service that answers can be looked into.
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
        `set another HOST or ${variable}, or stop what holds this one`,
      { cause: error },
    )
  })
}

async function drain(app: FastifyInstance, config: Config, signal: string): Promise<void> {
  app.log.info(
    { signal, drainDelayMs: config.DRAIN_DELAY_MS, shutdownTimeoutMs: config.SHUTDOWN_TIMEOUT_MS },
    'draining: not ready any more, still serving; a second signal exits at once',
  )
  app.startDraining()
  await sleep(config.DRAIN_DELAY_MS)
  app.log.info('closing: no new connections, requests in flight finish')
}

async function close(app: FastifyInstance, config: Config): Promise<void> {
  setTimeout(() => {
    app.log.fatal(
      { shutdownTimeoutMs: config.SHUTDOWN_TIMEOUT_MS },
      'requests were still in flight when the shutdown timeout ended; SHUTDOWN_TIMEOUT_MS sets it',
    )
    process.exit(1)
  }, config.SHUTDOWN_TIMEOUT_MS)
  await app.close()
  app.log.info('closed')
}
