import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether new requests are welcome: the server listens, has what it needs and is not about to stop. */
    isReady(): boolean
    /** One more condition of readiness. */
    addReadiness(condition: () => boolean): void
    /** Turns readiness off and asks every client to reconnect elsewhere; all requests are still served. */
    startDraining(): void
  }
}

/** Connections that the kernel completes and queues for one listener: Node's default for `backlog`. */
const ACCEPT_QUEUE_LENGTH = 511

/**
 * How long a connection that was accepted just before the listener closed has to send its first bytes, in
 * milliseconds: many round trips inside a region, little of the shutdown budget.
 */
const FIRST_BYTE_GRACE_MS = 1_000

/** Lets connections end without losing a request; when to drain and when to close is the server's decision. */
export default fp(
  async (app) => {
    const sockets = new Set<Socket>()
    let accepted = 0
    let draining = false

    const conditions: (() => boolean)[] = []
    app.decorate('addReadiness', (condition) => {
      conditions.push(condition)
    })
    app.decorate('isReady', () => app.server.listening && !draining && conditions.every((holds) => holds()))
    app.decorate('startDraining', () => {
      draining = true
    })

    app.server.on('connection', (socket) => {
      accepted++
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })

    // On sending, not on arrival: requests that were in flight when draining began are told as well.
    app.addHook('onSend', (_request, reply, _payload, done) => {
      if (draining) reply.header('connection', 'close')
      done()
    })

    app.addHook('preClose', async () => {
      // Closing a listener resets the connections that nobody has accepted yet, and Node accepts one in a turn
      // of the event loop. So turns are taken until one brings no connection; under constant arrival, until
      // all that were waiting have had theirs.
      for (let before = -1, turns = 0; accepted !== before && turns < ACCEPT_QUEUE_LENGTH; turns++) {
        before = accepted
        await setImmediate()
      }
      // Node ends connections that are idle between requests, but waits for ever for one that was opened in
      // advance and never used.
      setTimeout(() => {
        for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
      }, FIRST_BYTE_GRACE_MS).unref()
    })
  },
  { name: 'draining' },
)
