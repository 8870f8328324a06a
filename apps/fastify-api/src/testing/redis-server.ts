import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@redis/client'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'

const PROGRAMS = ['redis-server', 'valkey-server']

/** A Redis or Valkey server for one test, on its own port. It writes nothing to disk. */
export class RedisServer {
  readonly port: number
  readonly #program: string
  readonly #settings: string[]
  #process: ChildProcess | undefined

  private constructor(program: string, port: number, settings: string[]) {
    this.#program = program
    this.port = port
    this.#settings = settings
  }

  /**
   * Starts a server; resolves once it answers.
   *
   * @param settings - command-line options, such as `--requirepass`, `secret`
   * @throws Error when neither program is installed, with the command that installs one, or when the server refuses
   *   the settings
   */
  static async start(...settings: string[]): Promise<RedisServer> {
    const server = new RedisServer(findProgram(), await freePort(), settings)
    await server.start()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts the server again after {@link kill}, on the same port and without data. */
  async start(): Promise<void> {
    const listen = ['--bind', '127.0.0.1', '--port', String(this.port)]
    const keepNothing = ['--save', '', '--appendonly', 'no']
    // Ends with the test's process, even if that is killed.
    const server = spawn(
      'setpriv',
      ['--pdeathsig=KILL', '--', this.#program, ...listen, ...keepNothing, ...this.#settings],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.#process = server
    const output = text(server.stderr)
    while (!(await answers(this.port))) {
      if (server.exitCode !== null) throw new Error(`${this.#program}: ${await output}`)
      await sleep(20)
    }
  }

  /** Kills the server, as a crash does. */
  async kill(): Promise<void> {
    const server = this.#process
    this.#process = undefined
    if (server?.kill('SIGKILL')) await once(server, 'exit')
  }

  /** Suspends the server: connections stay open and the kernel accepts new ones, but nothing answers. */
  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }
}

/** Finds the server's program. Debian has Redis; some distributions have Valkey instead. */
export function findProgram(path = `${process.env['PATH']}:/usr/bin`): string {
  const candidates = PROGRAMS.flatMap((program) => path.split(':').map((folder) => join(folder, program)))
  const found = candidates.find(isExecutable)
  if (found === undefined) {
    throw new Error(`no ${PROGRAMS.join(' or ')} found: apt-get install --no-install-recommends redis-server`)
  }
  return found
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Whether a server on the port speaks the protocol. A demand for a password counts. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.on('data', (data) => {
      socket.destroy()
      resolve(/^[+-]/.test(String(data)))
    })
    socket.on('error', () => resolve(false))
  })
}

/** A node of a cluster: a {@link RedisServer} that keeps the cluster's configuration across {@link RedisServer.kill}. */
export interface Cluster {
  nodes: RedisServer[]
  /** One client for each node; they do not follow redirections. */
  clients: Awaited<ReturnType<typeof connectTo>>[]
  /** Node ids, in the order of the nodes. */
  ids: string[]
}

const connectTo = (node: RedisServer) =>
  createClient({ url: node.url, socket: { reconnectStrategy: false } })
    .on('error', () => {})
    .connect()

/** Slots of a cluster. */
const SLOTS = 16_384

/**
 * Starts a cluster with this many primaries, which share all slots, and replicas of the first one. It ends with the
 * test.
 *
 * @param settings - command-line options for each node
 */
export async function startCluster(
  t: Pick<Test, 'teardown'>,
  {
    masters = 3,
    replicas = 0,
    settings = [],
  }: { masters?: number; replicas?: number; settings?: string[] } = {},
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const start = async () => {
    const busPort = await freePort()
    const node = await RedisServer.start(
      ...['--dir', folder, '--cluster-enabled', 'yes', '--cluster-config-file', `${busPort}.conf`],
      ...['--cluster-port', String(busPort), '--cluster-announce-ip', '127.0.0.1'],
      ...[
        '--cluster-node-timeout',
        '1000',
        '--cluster-replica-validity-factor',
        '0',
        '--cluster-allow-replica-migration',
        'no',
        ...settings,
      ],
    )
    t.teardown(() => node.kill())
    const client = await connectTo(node)
    t.teardown(() => client.destroy())
    const id = await client.clusterMyId()
    return { node, client, id, busPort }
  }
  const started: Awaited<ReturnType<typeof start>>[] = []
  while (started.length < masters + replicas) started.push(await start())
  for (const [index, { client }] of started.entries()) {
    const share = SLOTS / masters
    const range = { start: Math.ceil(index * share), end: Math.ceil((index + 1) * share) - 1 }
    if (index < masters) await client.clusterAddSlotsRange(range)
    await client.sendCommand(['CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1)])
  }
  for (const { client, node } of started) {
    for (const other of started) {
      const meet = ['CLUSTER', 'MEET', '127.0.0.1', String(other.node.port), String(other.busPort)]
      if (other.node !== node) await client.sendCommand(meet)
    }
  }
  for (const { client } of started.slice(masters))
    await untilDone(() => client.clusterReplicate(`${started[0]?.id}`))
  for (const { client } of started) {
    await untilDone(async () => {
      const nodes = await client.clusterNodes()
      const known = nodes.match(/ connected/g)?.length === started.length
      const replicated = nodes.match(/slave /g)?.length ?? 0
      const state = await client.clusterInfo()
      if (!known || replicated !== replicas || !state.includes('cluster_state:ok')) throw new Error(nodes)
    })
  }
  const column = <Key extends keyof (typeof started)[number]>(key: Key) => started.map((one) => one[key])
  return { nodes: column('node'), clients: column('client'), ids: column('id') }
}

/** Retries until it succeeds, because the nodes need time to exchange their state. */
async function untilDone(attempt: () => Promise<unknown>): Promise<void> {
  for (let done = false; !done; await sleep(50)) {
    done = await attempt().then(
      () => true,
      () => false,
    )
  }
}
