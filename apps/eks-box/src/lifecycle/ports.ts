import { createServer, type Server } from 'node:net'
import { execa } from 'execa'
import { ActionableError } from 'shared/errors'

/**
 * Listens on `port` of the machine's loopback.
 *
 * @throws ActionableError naming the process that holds the port.
 */
export async function openPort(port: number, variable: string): Promise<Server> {
  // Half-open sockets: a client that has sent everything can still receive.
  const server = createServer({ allowHalfOpen: true })
  const { promise, resolve, reject } = Promise.withResolvers<Server>()
  server.once('error', reject)
  server.listen(port, '127.0.0.1', () => resolve(server))
  try {
    return await promise
  } catch (error) {
    const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
    throw new ActionableError(
      taken
        ? `port ${port} of 127.0.0.1 is in use${await holder(port)}`
        : `port ${port} of 127.0.0.1 cannot be opened: ${error instanceof Error ? error.message : error}`,
      `end that process, or choose another port with ${variable}`,
    )
  }
}

async function holder(port: number): Promise<string> {
  const sockets = await execa('ss', ['-Hltnp', `sport = :${port}`], { reject: false })
  const match = /users:\(\("([^"]+)",pid=(\d+)/.exec(sockets.stdout ?? '')
  return match === null ? '' : ` by ${match[1]} (pid ${match[2]})`
}
