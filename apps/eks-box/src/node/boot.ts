/**
 * The first program of a node, a child of the `nodes` component. Inside the node's own namespaces, it mounts the node's
 * directories, connects it to the router, and supervises its components.
 */
import { readBoxConfig } from 'shared/box'
import { tolerateLostOutput } from 'shared/errors'
import { nodeComponents } from '../components/index.ts'
import { runProbe } from '../lifecycle/probe.ts'
import type { ComponentStatus } from '../lifecycle/status.ts'
import { Supervisor } from '../lifecycle/supervisor.ts'
import { timeLimits } from '../lifecycle/time-limits.ts'
import { nodePaths } from '../state-directory.ts'
import { prepareNode } from './machine.ts'
import { connectToRouter } from './router.ts'
import type { NodeSpec } from './spec.ts'

/** Messages from a node to the `nodes` component. */
export type NodeEvent =
  /** The namespaces exist, so the node can be attached to the router. */
  | { kind: 'created' }
  | { kind: 'components'; components: ComponentStatus[] }
  | { kind: 'failed'; message: string }

/** Messages from the `nodes` component to a node. */
export type NodeCommand = { kind: 'boot'; node: NodeSpec } | { kind: 'stop' }

function report(event: NodeEvent): void {
  process.send?.(event)
}

tolerateLostOutput()
process.umask(0o022)
const config = readBoxConfig(process.env)
let supervisor: Supervisor | undefined

async function boot(node: NodeSpec): Promise<void> {
  const paths = nodePaths(config, node)
  await prepareNode(paths)
  await connectToRouter(node)
  const limits = timeLimits(config)
  supervisor = new Supervisor(nodeComponents(config, node), {
    logDirectory: paths.logs,
    runProbe,
    onChange: (components) => report({ kind: 'components', components }),
    startTimeout: limits.componentStart,
    stopTimeout: limits.componentStop,
    hangTimeout: limits.componentHang,
    watchInterval: 2000,
    restartDelay: 500,
  })
  await supervisor.start()
}

process.on('message', (command: NodeCommand) => {
  if (command.kind === 'stop') {
    Promise.resolve(supervisor?.stop()).then(() => process.exit(0))
    return
  }
  boot(command.node).catch((error: unknown) => {
    console.error(error)
    report({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
    process.exit(1)
  })
})
// A node ends with the `nodes` component, as an instance does with its host.
process.on('disconnect', () => process.exit(1))
if (!process.connected) process.exit(1)
process.on('SIGINT', () => {})
report({ kind: 'created' })
