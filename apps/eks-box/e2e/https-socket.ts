/**
 * Runs in the box's namespaces: leads the connections of a Unix socket to the HTTPS port of the service's load balancer.
 * A socket file can be reached from outside the box's network.
 */
import { connect, createServer } from 'node:net'
import { readBoxConfig } from 'shared/box'
import { ingressAddress } from '../src/load-balancer/addresses.ts'

const [socket] = process.argv.slice(2)
const config = readBoxConfig(process.env)
createServer((client) => {
  // The address changes when the load balancer is replaced.
  const address = ingressAddress(config, 'fastify-app', 'fastify-app')
  if (address === undefined) {
    client.destroy()
    return
  }
  const balancer = connect(443, address)
  for (const [from, to] of [
    [client, balancer],
    [balancer, client],
  ] as const) {
    from.on('error', () => to.destroy())
    from.pipe(to)
  }
}).listen(socket)
