import { rename, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import {
  type ConfigurationContext,
  renderConfiguration,
  type Server,
  serverName,
  targetsBackend,
} from './configuration.ts'
import { type LoadBalancingState, targetGroupsOf } from './state.ts'

export interface HaproxyFiles {
  /** The part of its configuration that does not change. */
  base: string
  /** The configuration of the load balancers. */
  configuration: string
  /** Socket of the master process. */
  socket: string
}

/** How long a reload may take, in milliseconds. */
const reloadTimeout = 30_000

/**
 * Controls a running HAProxy. Targets come, go and change their state without a reload, because even a reload that loses
 * no connection starts another process. Every state is also written to the configuration, for a restart of HAProxy.
 */
export class Haproxy {
  readonly #files: HaproxyFiles
  /** The configuration without the targets, which only a reload can change. */
  #structure: string | undefined
  #servers = new Map<string, Server | undefined>()

  constructor(files: HaproxyFiles) {
    this.#files = files
  }

  /**
   * Applies a configuration.
   *
   * @throws Error when HAProxy rejects it; the previous configuration remains in use.
   */
  async apply(state: LoadBalancingState, context: ConfigurationContext): Promise<void> {
    const free = { ...context, serversOf: (arn: string) => context.serversOf(arn).map(() => undefined) }
    const structure = renderConfiguration(state, free)
    const servers = serversByName(state, context)
    const configuration = renderConfiguration(state, context)
    if (structure === this.#structure) {
      const commands = [...servers].flatMap(([name, server]) =>
        difference(name, this.#servers.get(name), server),
      )
      if (commands.length === 0) return
      await this.#write(configuration)
      // Unknown until all commands have succeeded. If one fails, the next call reloads.
      this.#structure = undefined
      for (const command of commands) await this.#setServer(command)
    } else {
      this.#structure = undefined
      await this.#write(configuration)
      await this.#reload()
    }
    this.#structure = structure
    this.#servers = servers
  }

  /** Replaces the configuration if it is valid. */
  async #write(configuration: string): Promise<void> {
    const { base, configuration: file } = this.#files
    // HAProxy does not load files without the extension `.cfg`.
    const candidate = `${file}.new`
    await writeFile(candidate, configuration, { mode: 0o600 })
    const check = await execa('haproxy', ['-c', '-f', base, '-f', candidate], { reject: false, all: true })
    if (check.failed) throw new Error(`HAProxy rejects ${candidate}: ${check.all}`)
    await rename(candidate, file)
  }

  async #reload(): Promise<void> {
    const before = await this.#worker()
    await this.#command('reload')
    const deadline = Date.now() + reloadTimeout
    while (true) {
      const now = await this.#worker().catch(() => undefined)
      if (now !== undefined && now !== before) return
      if (Date.now() > deadline) throw new Error('HAProxy did not reload its configuration')
      await sleep(20)
    }
  }

  /** The process id of the current worker. */
  async #worker(): Promise<string> {
    const processes = await this.#command('show proc')
    const pid = /^(\d+)\s+worker\s/m.exec(processes)?.[1]
    if (pid === undefined) throw new Error(`HAProxy has no worker: ${processes}`)
    return pid
  }

  async #setServer(command: string): Promise<void> {
    // The master passes commands with this prefix to its current worker.
    const response = await this.#command(`@1 ${command}`)
    const isDone = /^(|(IP|port) changed .*|no need to change .*)$/s.test(response.trim())
    if (!isDone) throw new Error(`HAProxy responded to "${command}": ${response.trim()}`)
  }

  #command(command: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    let response = ''
    connect(this.#files.socket)
      .setEncoding('utf8')
      .on('data', (text: string) => {
        response += text
      })
      .on('error', reject)
      .on('close', () => resolve(response))
      .end(`${command}\n`)
    return promise
  }
}

/** The servers of all backends, by `<backend>/<server>`. */
function serversByName(
  { loadBalancers, targetGroups }: LoadBalancingState,
  { serversOf }: ConfigurationContext,
): Map<string, Server | undefined> {
  return new Map(
    loadBalancers.flatMap((loadBalancer) =>
      targetGroupsOf(loadBalancer).flatMap((arn) => {
        const group = targetGroups.find((candidate) => candidate.arn === arn)
        if (group === undefined) return []
        const backend = targetsBackend(loadBalancer, group)
        return serversOf(arn).map((server, place) => [`${backend}/${serverName(place)}`, server] as const)
      }),
    ),
  )
}

/** The runtime commands that turn one state of a server into another. */
function difference(name: string, before: Server | undefined, now: Server | undefined): string[] {
  if (now === undefined) {
    // The deregistration delay is over: an ALB closes the connections that are left.
    return before === undefined ? [] : [`set server ${name} state maint`, `shutdown sessions server ${name}`]
  }
  const hasMoved = before?.address !== now.address || before.port !== now.port
  if (hasMoved) {
    return [
      `set server ${name} state maint`,
      ...(before === undefined ? [] : [`shutdown sessions server ${name}`]),
      `set server ${name} addr ${now.address} port ${now.port}`,
      `set server ${name} state ${now.state}`,
    ]
  }
  if (before.state === now.state) return []
  // HAProxy starts slowly only after maintenance, an ALB whenever a target becomes healthy.
  const pause = now.state === 'ready' ? [`set server ${name} state maint`] : []
  return [...pause, `set server ${name} state ${now.state}`]
}
