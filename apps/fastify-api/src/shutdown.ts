import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Config } from './config.ts'

/**
 * Makes the process unready and waits for the drain delay, so that no proxy or load balancer sends new requests when
 * the listener closes.
 */
export async function drain(app: FastifyInstance, config: Config, signal: string): Promise<void> {
  app.log.info(
    { signal, drainDelayMs: config.DRAIN_DELAY_MS, shutdownTimeoutMs: config.SHUTDOWN_TIMEOUT_MS },
    'draining: not ready any more, still serving; a second signal exits at once',
  )
  app.startDraining()
  await sleep(config.DRAIN_DELAY_MS)
  app.log.info('closing: no new connections, requests in flight finish')
}

/** Closes the app; requests in flight finish. Exits with 1 when they take longer than the shutdown timeout. */
export async function close(app: FastifyInstance, config: Config): Promise<void> {
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
