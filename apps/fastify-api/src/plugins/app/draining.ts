import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'
import { Connections } from '../../http/connections.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether new requests are welcome: the server listens, has what it needs and is not about to stop. */
    isReady(): boolean
    /** What keeps new requests away; nothing where the process is ready. */
    unready(): string[]
    /** One more condition of readiness, by the name of what it depends on. */
    addReadiness(dependency: string, condition: () => boolean): void
    /** Turns readiness off and asks every client to reconnect elsewhere; all requests are still served. */
    startDraining(): void
    /** Whether {@link FastifyInstance.startDraining} has been called. */
    isDraining(): boolean
  }
}

/** Lets connections end without losing a request; when to drain and when to close is the server's decision. */
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
