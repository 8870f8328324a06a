import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'
import { Connections } from '../../http/connections.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the process should receive requests: it listens, its dependencies work, and it is not draining. */
    isReady(): boolean
    /** Names of the readiness conditions that do not hold; empty if the process is ready. */
    unready(): string[]
    /** Adds a readiness condition, by the name of the dependency. */
    addReadiness(dependency: string, condition: () => boolean): void
    /** Makes the process unready and asks clients to reconnect elsewhere; all requests are still served. */
    startDraining(): void
    /** Whether {@link FastifyInstance.startDraining} has been called. */
    isDraining(): boolean
  }
}

/** Ends connections without losing requests. shutdown.ts decides when to drain and when to close. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    const connections = new Connections(app, config.MAX_CONNECTIONS)
    let draining = false

    const conditions = new Map<string, () => boolean>([
      ['listener', () => app.server.listening],
      ['draining', () => !draining],
    ])
    app.decorate('addReadiness', (dependency, condition) => {
      conditions.set(dependency, condition)
    })
    app.decorate('unready', () => [...conditions].filter(([, holds]) => !holds()).map(([name]) => name))
    app.decorate('isReady', () => app.unready().length === 0)
    app.decorate('isDraining', () => draining)
    app.decorate('startDraining', () => {
      draining = true
      connections.announceClose()
    })
  },
  { name: 'draining' },
)
