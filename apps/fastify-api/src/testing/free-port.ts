import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * A free TCP port on the loopback address, outside the kernel's range for outgoing connections (32768 and up). So it is
 * still free when a server restarts, and a client that retries meanwhile cannot connect to itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_768)
    const server = createServer().listen(port, '127.0.0.1')
    const taken = await once(server, 'listening').then(
      () => false,
      () => true,
    )
    server.close()
    if (!taken) return port
  }
}
