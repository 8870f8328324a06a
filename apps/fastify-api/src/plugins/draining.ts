import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { Connections } from '../connections.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether new requests are welcome: the server listens, has what it needs and is not about to stop. */
    isReady(): boolean
    /** One more condition of readiness. */
    addReadiness(condition: () => boolean): void
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

    const conditions: (() => boolean)[] = []
    app.decorate('addReadiness', (condition) => {
      conditions.push(condition)
    })
    app.decorate('isReady', () => app.server.listening && !draining && conditions.every((holds) => holds()))
    app.decorate('isDraining', () => draining)
    app.decorate('startDraining', () => {
      draining = true
      connections.announceClose()
    })
  },
  { name: 'draining' },
)
