/**
 * The box's inner process, a child of the host process. Inside the box's namespaces, it sets up the node, supervises
 * the components, and forwards connections from the machine's loopback ports.
 */
import { connect, type Server, type Socket } from 'node:net'
import { type BoxConfig, readBoxConfig } from 'shared/box'
import { SERVICE } from 'shared/environment'
import { ActionableError, tolerateLostOutput } from 'shared/errors'
import { PORTS, PROMETHEUS_NODE_PORT, SERVICE_NODE_PORT } from '../cluster.ts'
import { components } from '../components/index.ts'
import { ingressAddress } from '../load-balancer/addresses.ts'
import { writeCapacityWebhookManifest } from '../node/capacity-webhook.ts'
import { prepareBox } from '../node/machine.ts'
import { readNodes } from '../node/status.ts'
import { writeWebhookManifest } from '../pod-identity/webhook.ts'
import { ensureCertificates } from '../preparation/certificates.ts'
import { ensureCredentials } from '../preparation/credentials.ts'
import { prepareDatabases } from '../preparation/databases.ts'
import { preparePostgres } from '../preparation/postgres-data.ts'
import { boxPaths } from '../state-directory.ts'
import { runProbe } from './probe.ts'
import type { BoxPhase, BoxStatus, ComponentStatus } from './status.ts'
import { Supervisor } from './supervisor.ts'
import { timeLimits } from './time-limits.ts'

/** Messages from the inner process to the host process. */
export type InnerEvent =
  | { kind: 'phase'; phase: BoxPhase; failure?: NonNullable<BoxStatus['failure']> }
  | { kind: 'components'; components: ComponentStatus[] }

/** Messages from the host process to the inner process. The listening socket is sent along with `port`. */
export type HostCommand = { kind: 'port'; port: keyof BoxConfig['ports'] } | { kind: 'stop' }

interface Destination {
  host: string
  port: number
}

/** Where each port of the machine's loopback leads inside the box. */
const destinations: Record<keyof BoxConfig['ports'], () => Promise<Destination | undefined>> = {
  api: async () => ({ host: '127.0.0.1', port: PORTS.apiserver }),
  registry: async () => ({ host: '127.0.0.1', port: PORTS.registry }),
  aws: async () => ({ host: '127.0.0.1', port: PORTS.aws }),
  service: async () => ingressListener() ?? (await nextNode(SERVICE_NODE_PORT)),
  prometheus: () => nextNode(PROMETHEUS_NODE_PORT),
}

/** The load balancer of the service's Ingress; undefined before the controller has created it. */
function ingressListener(): Destination | undefined {
  const host = ingressAddress(config, SERVICE, SERVICE)
  return host === undefined ? undefined : { host, port: 80 }
}

let connections = 0

/** A NodePort on each ready node in turn; undefined when there is no node. */
async function nextNode(port: number): Promise<Destination | undefined> {
  const ready = (await readNodes(config)).filter(
    ({ state, components }) =>
      state !== 'stopping' &&
      components.some((component) => component.name === 'kube-proxy' && component.state === 'ready'),
  )
  const node = ready[connections++ % Math.max(ready.length, 1)]
  return node === undefined ? undefined : { host: node.address, port }
}

function report(event: InnerEvent): void {
  process.send?.(event)
}

/**
 * Forwards connections of `listener`, which the host process opened outside the box, to a port inside it. A socket
 * stays in the network namespace in which it was created, so the machine needs no bridge, route or packet rule.
 */
function forward(listener: Server, find: () => Promise<Destination | undefined>): void {
  listener.on('connection', async (outer: Socket) => {
    outer.on('error', () => outer.destroy())
    const destination = await find().catch(() => undefined)
    if (destination === undefined || outer.destroyed) {
      outer.resetAndDestroy()
      return
    }
    const inner = connect({ ...destination, allowHalfOpen: true })
    outer.allowHalfOpen = true
    outer.pipe(inner).pipe(outer)
    outer.on('error', () => inner.destroy())
    // If the port inside refuses the connection, the client must see a reset, not an orderly close.
    inner.on('error', () => outer.resetAndDestroy())
    outer.on('close', () => inner.destroy())
    inner.on('close', () => outer.destroy())
  })
}

// The usual umask of system services: components that do not run as root have to read files made by others.
process.umask(0o022)

tolerateLostOutput()
const config = readBoxConfig(process.env)
const supervisor = new Supervisor(components(config), {
  logDirectory: boxPaths(config).logs,
  runProbe,
  onChange: (components) => report({ kind: 'components', components }),
  startTimeout: timeLimits(config).componentStart,
  stopTimeout: timeLimits(config).componentStop,
  hangTimeout: timeLimits(config).componentHang,
  watchInterval: 2000,
  restartDelay: 500,
})

process.on('message', (command: HostCommand, listener: Server) => {
  if (command.kind === 'port') forward(listener, destinations[command.port])
  else {
    report({ kind: 'phase', phase: 'stopping' })
    supervisor.stop().then(() => process.exit(0))
  }
})
// If the host process ends, the box must end too: nothing could reach or stop it any more.
process.on('disconnect', () => process.exit(1))
if (!process.connected) process.exit(1)
// Ctrl-C reaches the whole process group; only the host process handles it.
process.on('SIGINT', () => {})

try {
  await prepareBox(config)
  await ensureCertificates(config)
  await writeWebhookManifest(config)
  await writeCapacityWebhookManifest(config)
  await ensureCredentials(config)
  await preparePostgres(config)
  await prepareDatabases(config)
  await supervisor.start()
  report({ kind: 'phase', phase: 'ready' })
} catch (error) {
  const failure =
    error instanceof ActionableError
      ? { message: error.message, nextStep: error.nextStep }
      : { message: `the node could not be set up: ${describe(error)}`, nextStep: 'see `make logs C=box`' }
  report({ kind: 'phase', phase: 'failed', failure })
  console.error(error)
  await supervisor.stop()
  process.exit(1)
}

function describe(error: unknown): string {
  if (error instanceof Error && 'shortMessage' in error) return String(error.shortMessage)
  return error instanceof Error ? error.message : String(error)
}
