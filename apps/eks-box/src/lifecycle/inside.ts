/**
 * The box's inner process: runs inside the box's namespaces as the child of the host process, makes
 * them into a node, supervises the components, and serves the host's loopback ports.
 */
import { connect, type Server, type Socket } from 'node:net'
import { type BoxConfig, readBoxConfig } from 'shared/box'
import { ActionableError, tolerateLostOutput } from 'shared/errors'
import { PORTS, SERVICE_NODE_PORT } from '../cluster.ts'
import { ensureCertificates } from '../components/certificates.ts'
import { ensureCredentials } from '../components/credentials.ts'
import { components } from '../components/index.ts'
import { preparePostgres } from '../components/postgres-data.ts'
import { prepareNode } from '../node/node.ts'
import { boxPaths } from '../state-directory.ts'
import { ask } from './probe.ts'
import type { BoxPhase, BoxStatus, ComponentStatus } from './status.ts'
import { Supervisor } from './supervisor.ts'
import { timeLimits } from './time-limits.ts'

/** What the inner process tells the host process. */
export type Report =
  | { kind: 'phase'; phase: BoxPhase; failure?: NonNullable<BoxStatus['failure']> }
  | { kind: 'components'; components: ComponentStatus[] }

/** What the host process tells the inner process; with `port` comes the listening socket itself. */
export type Order = { kind: 'port'; port: keyof BoxConfig['ports'] } | { kind: 'stop' }

/** Where each port of the machine's loopback leads inside the box. */
const destinations: Record<keyof BoxConfig['ports'], number> = {
  api: PORTS.apiserver,
  registry: PORTS.registry,
  service: SERVICE_NODE_PORT,
  aws: PORTS.aws,
}

function report(message: Report): void {
  process.send?.(message)
}

/**
 * Leads the connections of `listener`, which was opened outside the box, to a port inside it. A
 * socket keeps the network namespace it was made in, so no bridge, route or rule is needed outside.
 */
function forward(listener: Server, port: number): void {
  listener.on('connection', (outer: Socket) => {
    const inner = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    outer.allowHalfOpen = true
    outer.pipe(inner).pipe(outer)
    outer.on('error', () => inner.destroy())
    // A refusal inside must look like one outside: reset, not a clean end.
    inner.on('error', () => outer.resetAndDestroy())
    outer.on('close', () => inner.destroy())
    inner.on('close', () => outer.destroy())
  })
}

// What a service manager gives a node's services, some of which run as other users than root.
process.umask(0o022)

tolerateLostOutput()
const config = readBoxConfig(process.env)
const supervisor = new Supervisor(components(config), {
  logDirectory: boxPaths(config).logs,
  ask,
  onChange: (components) => report({ kind: 'components', components }),
  startTimeout: timeLimits(config).componentStart,
  stopTimeout: timeLimits(config).componentStop,
  hangTimeout: timeLimits(config).componentHang,
  watchInterval: 2000,
  restartDelay: 500,
})

process.on('message', (order: Order, listener: Server) => {
  if (order.kind === 'port') forward(listener, destinations[order.port])
  else {
    report({ kind: 'phase', phase: 'stopping' })
    supervisor.stop().then(() => process.exit(0))
  }
})
// Without its host process the box has no ports and nobody to stop it: it ends, and all in it with it.
process.on('disconnect', () => process.exit(1))
if (!process.connected) process.exit(1)
// Ctrl-C reaches the whole process group; the host process decides what it means.
process.on('SIGINT', () => {})

try {
  await prepareNode(config)
  await ensureCertificates(config)
  await ensureCredentials(config)
  await preparePostgres(config)
  await supervisor.start()
  report({ kind: 'phase', phase: 'ready' })
} catch (error) {
  const failure =
    error instanceof ActionableError
      ? { message: error.message, nextStep: error.nextStep }
      : { message: `the node could not be prepared: ${describe(error)}`, nextStep: 'see `make logs C=box`' }
  report({ kind: 'phase', phase: 'failed', failure })
  console.error(error)
  await supervisor.stop()
  process.exit(1)
}

function describe(error: unknown): string {
  if (error instanceof Error && 'shortMessage' in error) return String(error.shortMessage)
  return error instanceof Error ? error.message : String(error)
}
