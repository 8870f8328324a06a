import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * A free TCP port of the loopback address, outside the range from which the kernel takes ports for outgoing
 * connections (32768 and up): a server that is started again finds it still free, and a client that retries
 * meanwhile cannot reach itself.
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
