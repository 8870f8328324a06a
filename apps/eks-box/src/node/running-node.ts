import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BoxConfig } from 'shared/box'
import { nodeCgroup } from '../components/kubelet.ts'
import { timeLimits } from '../lifecycle/time-limits.ts'
import { writeNodeKubeconfig } from '../preparation/certificates.ts'
import { nodePaths } from '../state-directory.ts'
import type { NodeCommand, NodeEvent } from './boot.ts'
import { createCgroups, removeCgroups } from './cgroups.ts'
import { attachNode, detachNode } from './router.ts'
import type { NodeSpec } from './spec.ts'
import type { NodeStatus } from './status.ts'

/** Pause before a node that ended unexpectedly boots again, in milliseconds. */
const rebootDelay = 2000

/** A node in namespaces of its own. It boots again when it ends unexpectedly, as EC2 recovers an instance. */
export class RunningNode {
  readonly spec: NodeSpec
  readonly #config: BoxConfig
  readonly #onChange: () => void
  readonly #stopping = new AbortController()
  readonly #ended: Promise<void>
  #status: NodeStatus
  #process?: ChildProcess

  /** @param onChange called when the node's status changes. */
  constructor(config: BoxConfig, spec: NodeSpec, onChange: () => void) {
    this.spec = spec
    this.#config = config
    this.#onChange = onChange
    const { name, instanceId, instanceType, zone, address, podSubnet } = spec
    const identity = { name, instanceId, instanceType, zone, address, podSubnet }
    this.#status = { ...identity, state: 'starting', components: [] }
    this.#ended = this.#keepRunning()
  }

  get status(): NodeStatus {
    return this.#status
  }

  /** Shuts the node down and keeps its disk; resolves when its last process has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#update({ state: 'stopping' })
    const process = this.#process
    if (process?.connected) process.send({ kind: 'stop' } satisfies NodeCommand, () => {})
    const killTimer = setTimeout(() => process?.kill('SIGKILL'), timeLimits(this.#config).componentStop)
    await this.#ended
    clearTimeout(killTimer)
  }

  /** Shuts the node down and removes its disk. */
  async terminate(): Promise<void> {
    await this.stop()
    await rm(nodePaths(this.#config, this.spec).data, { recursive: true, force: true })
  }

  async #keepRunning(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const reason = await this.#run().catch((error: unknown) => describe(error))
      await this.#sweep()
      if (this.#stopping.signal.aborted) return
      console.error(`${this.spec.name} ${reason}; it boots again`)
      this.#update({ state: 'starting', message: reason })
      await sleep(rebootDelay, undefined, { signal: this.#stopping.signal }).catch(() => {})
    }
  }

  /** Boots the node; resolves, with the reason, when it has ended. */
  async #run(): Promise<string> {
    const { spec } = this
    const paths = nodePaths(this.#config, spec)
    await createCgroups(nodeCgroup(this.#config, spec))
    await writeNodeKubeconfig(this.#config, spec.name, paths.kubeconfig)
    await mkdir(paths.logs, { recursive: true })
    // `stop` can only end a process that it knows.
    this.#stopping.signal.throwIfAborted()
    const log = openSync(join(paths.logs, 'node.log'), 'a')
    const child = spawn(
      'unshare',
      [
        ...['--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--mount-proc', '--kill-child=SIGKILL'],
        ...['--', 'tini', '-s', '--', process.execPath, join(import.meta.dirname, 'boot.ts')],
      ],
      { stdio: ['ignore', log, log, 'ipc'] },
    )
    closeSync(log)
    this.#process = child
    const { promise: ended, resolve } = Promise.withResolvers<string>()
    child.on('error', (error) => resolve(`could not be started: ${error.message}`))
    child.on('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}`))
    let failure: string | undefined
    child.on('message', (event: NodeEvent) => {
      if (event.kind === 'components') this.#report(event.components)
      else if (event.kind === 'failed') failure = `failed to boot: ${event.message}`
      else {
        attachNode(spec, Number(child.pid)).then(
          () => child.send({ kind: 'boot', node: spec } satisfies NodeCommand, () => {}),
          (error: unknown) => {
            failure = `has no network: ${describe(error)}`
            child.kill('SIGKILL')
          },
        )
      }
    })
    const reason = await ended
    return failure ?? reason
  }

  #report(components: NodeStatus['components']): void {
    if (this.#stopping.signal.aborted) return
    const isReady = components.every(({ state }) => state === 'ready')
    const wasReady = this.#status.state === 'ready' || this.#status.state === 'degraded'
    this.#update({ components, state: isReady ? 'ready' : wasReady ? 'degraded' : 'starting' })
  }

  /** Removes what the kernel keeps when the node's processes are gone. */
  async #sweep(): Promise<void> {
    await detachNode(this.spec)
    await removeCgroups(nodeCgroup(this.#config, this.spec)).catch((error: unknown) => console.error(error))
  }

  /** Changes the status; without a new message, the old one is removed. */
  #update(change: Partial<NodeStatus>): void {
    const { message: _message, ...kept } = this.#status
    this.#status = { ...kept, ...change }
    this.#onChange()
  }
}

function describe(error: unknown): string {
  if (error instanceof Error && 'shortMessage' in error) return String(error.shortMessage)
  return error instanceof Error ? error.message : String(error)
}
