import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** Connections that the kernel queues for a listener: Node's default `backlog`. */
const ACCEPT_QUEUE_LENGTH = 511

/**
 * Milliseconds after the listener has closed in which a partial request, or the first request of a new connection, must
 * arrive completely: many round trips within a region, but a small part of the shutdown timeout.
 */
const ARRIVAL_GRACE_MS = 1_000

/** The response in progress on a socket, once the request's headers have arrived. */
function answerOn(socket: Socket): ServerResponse<IncomingMessage> | undefined {
  // Node has no public way from a socket to its response, and a listener would make every request slower.
  return '_httpMessage' in socket && socket._httpMessage instanceof ServerResponse
    ? socket._httpMessage
    : undefined
}

/** Limits the connections of a server while it serves, and ends them gracefully when it closes. */
export class Connections {
  readonly #app: FastifyInstance
  readonly #sockets = new Set<Socket>()
  readonly #most: number
  #accepted = 0

  /**
   * @param app - a server that does not listen yet; closing it waits only for requests that arrived in time
   * @param most - most open connections; one more closes the oldest idle connection
   */
  constructor(app: FastifyInstance, most: number) {
    this.#app = app
    this.#most = most
    app.server.on('connection', (socket) => this.#add(socket))
    app.addHook('preClose', () => this.#close())
  }

  /** Sends `Connection: close` with all responses in progress, so that clients reconnect elsewhere. */
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
    this.#app.log.warn({ most: this.#most }, 'too many connections: the oldest idle connection is closed')
  }

  async #close(): Promise<void> {
    // Closing a listener resets connections that have not been accepted yet, and Node accepts one in each turn of the
    // event loop. So wait until a turn brings no connection, or until all connections in the queue had their turn.
    for (let before = -1, turns = 0; this.#accepted !== before && turns < ACCEPT_QUEUE_LENGTH; turns++) {
      before = this.#accepted
      await setImmediate()
    }
    // Node closes connections that are idle between requests, but waits forever for an unused connection and for an
    // incomplete request.
    setTimeout(() => {
      for (const socket of this.#sockets) if (answerOn(socket)?.req.complete !== true) socket.destroy()
    }, ARRIVAL_GRACE_MS).unref()
  }
}
