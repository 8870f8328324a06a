import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** Connections that the kernel completes and queues for one listener: Node's default for `backlog`. */
const ACCEPT_QUEUE_LENGTH = 511

/**
 * How long a request that has begun to arrive, or a connection accepted just before the listener closed, has until
 * the request is complete, in milliseconds: many round trips inside a region, little of the shutdown budget.
 */
const ARRIVAL_GRACE_MS = 1_000

/** The answer that a socket is waiting for or receiving, of a request whose headers have arrived. */
function answerOn(socket: Socket): ServerResponse<IncomingMessage> | undefined {
  // Node has no public way from a socket to its answer, and a listener for every request would cost each of them.
  return '_httpMessage' in socket && socket._httpMessage instanceof ServerResponse
    ? socket._httpMessage
    : undefined
}

/** The connections of a server: bounded while it serves, ended in order when it closes. */
export class Connections {
  readonly #app: FastifyInstance
  readonly #sockets = new Set<Socket>()
  readonly #most: number
  #accepted = 0

  /**
   * @param app - a server that does not listen yet; its closing waits for what arrived in time, and for nothing else
   * @param most - connections that are open at a time; for one more, the oldest that awaits no answer is closed
   */
  constructor(app: FastifyInstance, most: number) {
    this.#app = app
    this.#most = most
    app.server.on('connection', (socket) => this.#add(socket))
    app.addHook('preClose', () => this.#close())
  }

  /** Asks the clients whose requests are being answered to connect elsewhere for the next one. */
  announceClose(): void {
    for (const socket of this.#sockets) {
      const answer = answerOn(socket)
      if (answer?.headersSent === false) answer.setHeader('connection', 'close')
    }
  }

  #add(socket: Socket): void {
    this.#accepted++
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    if (this.#sockets.size <= this.#most) return
    for (const candidate of this.#sockets) {
      if (answerOn(candidate) !== undefined) continue
      candidate.destroy()
      this.#sockets.delete(candidate)
      break
    }
    this.#app.log.warn(
      { most: this.#most },
      'too many connections: the oldest that awaits no answer is closed',
    )
  }

  async #close(): Promise<void> {
    // Closing a listener resets the connections that nobody has accepted yet, and Node accepts one in a turn
    // of the event loop. So turns are taken until one brings no connection; under constant arrival, until
    // all that were waiting have had theirs.
    for (let before = -1, turns = 0; this.#accepted !== before && turns < ACCEPT_QUEUE_LENGTH; turns++) {
      before = this.#accepted
      await setImmediate()
    }
    // Node ends connections that are idle between requests, but waits for ever for one that was never used, and for
    // a request that never arrives in full.
    setTimeout(() => {
      for (const socket of this.#sockets) if (answerOn(socket)?.req.complete !== true) socket.destroy()
    }, ARRIVAL_GRACE_MS).unref()
  }
}
