import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { destination } from 'pino'
import { buildApp } from './app.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { buildManagement } from './management.ts'

/** Listens, and stops in order on SIGTERM and SIGINT. */
async function main(): Promise<void> {
  const config = loadConfig(process.env)
  // Asynchronous writes: a slow reader of the log does not hold up requests. Pino flushes on exit.
  const app = await buildApp(config, destination({ dest: 1, sync: false }))
  process.once('uncaughtException', (error) => {
    app.log.fatal(error, 'uncaught exception')
    process.exit(1)
  })
  stopOnSignal(app, config)
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

function stopOnSignal(app: FastifyInstance, config: Config): void {
  let stopping = false
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping) {
      app.log.fatal({ signal }, 'second signal: exit at once, requests in flight are lost')
      process.exit(1)
    }
    stopping = true
    app.log.info(
      { signal, drainDelayMs: config.DRAIN_DELAY_MS, shutdownTimeoutMs: config.SHUTDOWN_TIMEOUT_MS },
      'draining: not ready any more, still serving; a second signal exits at once',
    )
    void stop(app, config)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

async function stop(app: FastifyInstance, config: Config): Promise<never> {
  app.startDraining()
  await sleep(config.DRAIN_DELAY_MS)
  app.log.info('closing: no new connections, requests in flight finish')
  setTimeout(() => {
    app.log.fatal(
      { shutdownTimeoutMs: config.SHUTDOWN_TIMEOUT_MS },
      'requests were still in flight when the shutdown timeout ended; SHUTDOWN_TIMEOUT_MS sets it',
    )
    process.exit(1)
  }, config.SHUTDOWN_TIMEOUT_MS)
  await app.close()
  app.log.info('closed')
  process.exit(0)
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? `fastify-api: ${error.message}` : error)
  process.exit(1)
})
