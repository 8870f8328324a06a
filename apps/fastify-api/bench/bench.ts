/** `make bench`: measures throughput, start and memory of the service on one core, next to a bare route and a Go service. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import autocannon from 'autocannon'
import {
  type Figure,
  figureTable,
  median,
  replaceMeasured,
  type Throughput,
  throughputTable,
} from './report.ts'
import { allowedCores, type Contestant, Server, stayOn } from './server.ts'

const run = promisify(execFile)

const CONNECTIONS = 32
const ROUNDS = 5
const SECONDS = 5
/** Time for V8 to compile the hot path, in seconds. */
const WARM_UP_SECONDS = 1.5
const STARTS = 20

/** Targets: see docs/performance.md. The start to listening is a multiple of the time of `node -e 0`. */
const MOST_START_OF_NODE = 8
const MOST_IMAGE_MB = 60

const service = join(import.meta.dirname, '..')
const repository = join(service, '..', '..')

const usage = `Usage: node apps/fastify-api/bench/bench.ts [--write PAGE]

  --write PAGE  put the tables between the markers of this Markdown page as well
`

/** The pod's memory limit, in MiB. */
function podMemoryMiB(): number {
  const values = readFileSync(join(repository, 'helm', 'fastify-app', 'values.yaml'), 'utf8')
  const limit = /^ {2}limits:\n(?: {4}.*\n)*? {4}memory: (\d+)Mi$/m.exec(values)?.[1]
  if (limit === undefined) throw new Error('helm/fastify-app/values.yaml has no memory limit in Mi')
  return Number(limit)
}

/** Node's flags in the image, with the heap as a share of the pod's memory limit. */
function imageNodeOptions(memoryMiB: number): string {
  const dockerfile = readFileSync(join(service, 'Dockerfile'), 'utf8')
  const options = /NODE_OPTIONS="([^"]*)"/.exec(dockerfile)?.[1]
  if (options === undefined) throw new Error('apps/fastify-api/Dockerfile sets no NODE_OPTIONS')
  return options.replace(
    /--max-old-space-size-percentage=(\d+)/,
    (_, percent) => `--max-old-space-size=${Math.floor((memoryMiB * Number(percent)) / 100)}`,
  )
}

/** Builds the pinned podinfo, unless it is in Go's cache, and returns its path. */
async function buildPodinfo(): Promise<string> {
  const { stdout } = await run('go', ['tool', '-n', 'podinfo'], {
    cwd: join(repository, 'apps', 'eks-box', 'tools', 'podinfo'),
    env: { ...process.env, CGO_ENABLED: '0' },
  })
  return stdout.trim()
}

function contestants(podinfo: string, nodeOptions: string) {
  const onNode = (name: string, script: string, readyRoute = '/'): Contestant => ({
    name,
    command: () => [process.execPath, join(service, script)],
    env: { NODE_ENV: 'production', NODE_OPTIONS: nodeOptions, HOST: '127.0.0.1', METRICS_PORT: '0' },
    route: '/',
    readyRoute,
  })
  return {
    http: onNode('bare `node:http`', 'bench/bare-http.ts'),
    bare: onNode('bare Fastify', 'bench/bare-fastify.ts'),
    service: onNode('the service', 'dist/server.js', '/readyz'),
    podinfo: {
      name: 'podinfo',
      command: (port) => [podinfo, '--host', '127.0.0.1', '--port', String(port)],
      env: { GOMAXPROCS: '1' },
      // The smallest JSON answer of podinfo.
      route: '/version',
      readyRoute: '/readyz',
    } satisfies Contestant,
  }
}

type Name = keyof ReturnType<typeof contestants>

interface Round {
  requestsPerSecond: number
  p99Ms: number
  cpuMicros: number
  busy: number
  memoryMiB: { start: number; most: number }
}

/** Puts a new process under load, because V8's optimisations differ between processes. */
async function measure(contestant: Contestant, core: number, signal: AbortSignal): Promise<Round> {
  const { server } = await Server.start(contestant, core, signal)
  try {
    const start = server.memoryMiB().now
    await load(contestant, server.url, WARM_UP_SECONDS, signal)
    const cpuBefore = server.cpuMs()
    const since = performance.now()
    const { requests, duration, latency } = await load(contestant, server.url, SECONDS, signal)
    const cpuMs = server.cpuMs() - cpuBefore
    return {
      requestsPerSecond: requests.total / duration,
      p99Ms: latency.p99,
      cpuMicros: (cpuMs * 1000) / requests.total,
      busy: cpuMs / (performance.now() - since),
      memoryMiB: { start, most: server.memoryMiB().most },
    }
  } finally {
    await server.stop()
  }
}

async function load(
  { name }: Contestant,
  url: string,
  seconds: number,
  signal: AbortSignal,
): Promise<autocannon.Result> {
  const result = await autocannon({ url, connections: CONNECTIONS, duration: seconds })
  signal.throwIfAborted()
  const { requests, non2xx, errors, timeouts } = result
  if (non2xx + errors + timeouts > 0 || requests.total === 0) {
    throw new Error(
      `${name}: of ${requests.total} requests ${non2xx} were not answered with 2xx, ${errors} failed, ` +
        `${timeouts} timed out`,
    )
  }
  return result
}

async function measureThroughput(
  servers: Record<Name, Contestant>,
  core: number,
  signal: AbortSignal,
): Promise<Record<Name, Round[]>> {
  const rounds: Record<Name, Round[]> = { http: [], bare: [], service: [], podinfo: [] }
  for (let round = 1; round <= ROUNDS; round++) {
    process.stderr.write(`round ${round} of ${ROUNDS}\n`)
    // In turns, so that other work on the machine affects all servers.
    for (const name of Object.keys(rounds) as Name[]) {
      rounds[name].push(await measure(servers[name], core, signal))
    }
  }
  return rounds
}

function throughput({ name }: Contestant, rounds: readonly Round[]): Throughput {
  return {
    name,
    requestsPerSecond: rounds.map((round) => round.requestsPerSecond),
    p99Ms: rounds.map((round) => round.p99Ms),
    cpuMicros: rounds.map((round) => round.cpuMicros),
    busy: rounds.map((round) => round.busy),
  }
}

/**
 * Median times in milliseconds: from the start until `/readyz` answers, until the process listens by its own clock, and
 * the time of `node -e 0`.
 */
async function measureStart(
  contestant: Contestant,
  core: number,
  signal: AbortSignal,
): Promise<{ readyMs: number; listeningMs: number; nodeMs: number }> {
  process.stderr.write(`${STARTS} starts\n`)
  const [ready, listening, node]: [number[], number[], number[]] = [[], [], []]
  for (let start = 0; start < STARTS; start++) {
    // In turns, so that other work on the machine affects both.
    node.push(await measureNode(core, signal))
    const { server, readyMs } = await Server.start(contestant, core, signal)
    try {
      listening.push(await server.logged('startMs', signal))
    } finally {
      await server.stop()
    }
    ready.push(readyMs)
  }
  return { readyMs: median(ready), listeningMs: median(listening), nodeMs: median(node) }
}

/** Milliseconds from before the start of `node -e 0` to its end. */
async function measureNode(core: number, signal: AbortSignal): Promise<number> {
  const since = performance.now()
  await run('taskset', ['--cpu-list', String(core), process.execPath, '-e', '0'], { signal })
  return performance.now() - since
}

/** Manifest types of buildah and of Docker. */
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

/** Size of the compressed layers of this checkout's image in the box's registry, in MB; undefined if it is not there. */
async function imageMegabytes(): Promise<number | undefined> {
  try {
    const script = join(repository, 'scripts', 'src', 'image', 'image.ts')
    const { stdout } = await run(process.execPath, [script, 'reference'], {
      env: { ...process.env, IMAGE_REPOSITORY: 'fastify-app' },
    })
    const tag = stdout.trim().split(':').at(-1)
    const registry = `http://127.0.0.1:${process.env['BOX_REGISTRY_PORT'] ?? 5000}`
    const answer = await fetch(`${registry}/v2/fastify-app/manifests/${tag}`, {
      headers: { accept: MANIFEST_TYPES },
    })
    if (!answer.ok) return undefined
    const { layers } = (await answer.json()) as { layers: { size: number }[] }
    return layers.reduce((sum, { size }) => sum + size, 0) / 1e6
  } catch {
    // There is no box or no image: the table says how to get it.
    return undefined
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { write: { type: 'string' }, help: { type: 'boolean' } } })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const interrupted = new AbortController()
  process.once('SIGINT', () => interrupted.abort(new Error('interrupted')))
  process.once('SIGTERM', () => interrupted.abort(new Error('interrupted')))

  process.stderr.write('building the service and podinfo\n')
  await run(process.execPath, ['build.ts'], { cwd: service })
  const podinfo = await buildPodinfo()
  const memoryMiB = podMemoryMiB()
  const servers = contestants(podinfo, imageNodeOptions(memoryMiB))

  const [serverCore = 0, clientCore = serverCore] = allowedCores()
  await stayOn(clientCore)
  const cores =
    clientCore === serverCore
      ? 'server and client share the one core'
      : 'one core for the server, one for the client'
  const lines = [
    `${new Date().toISOString().slice(0, 10)}, Node ${process.version.slice(1)}, ${cpus()[0]?.model ?? 'unknown processor'}; ` +
      `${cores}; ${CONNECTIONS} connections; medians of ${ROUNDS} rounds of ${SECONDS} s, of ${STARTS} starts.`,
  ]
  // Print each table immediately, so that a later failure does not lose it.
  const show = (table: readonly string[]) => {
    lines.push('', ...table)
    process.stdout.write(`\n${table.join('\n')}\n`)
  }
  process.stdout.write(`${lines.join('\n')}\n`)

  const rounds = await measureThroughput(servers, serverCore, interrupted.signal)
  show(
    throughputTable({
      http: throughput(servers.http, rounds.http),
      bare: throughput(servers.bare, rounds.bare),
      service: throughput(servers.service, rounds.service),
      podinfo: throughput(servers.podinfo, rounds.podinfo),
    }),
  )
  const start = await measureStart(servers.service, serverCore, interrupted.signal)
  const megabytes = await imageMegabytes()
  const figures: Figure[] = [
    { name: '`node -e 0`, from before the process to its end', value: start.nodeMs, unit: 'ms' },
    {
      name: 'from process start to listening, by its own clock',
      value: start.listeningMs,
      unit: 'ms',
    },
    {
      name: 'start to listening against `node -e 0`',
      value: start.listeningMs / start.nodeMs,
      unit: 'times',
      limit: { most: MOST_START_OF_NODE, inclusive: true },
    },
    { name: 'from before the process to ready', value: start.readyMs, unit: 'ms' },
    {
      name: 'memory when ready',
      value: median(rounds.service.map((round) => round.memoryMiB.start)),
      unit: 'MiB',
      limit: { most: memoryMiB, inclusive: false },
    },
    {
      name: 'most memory under this load',
      value: Math.max(...rounds.service.map((round) => round.memoryMiB.most)),
      unit: 'MiB',
      limit: { most: memoryMiB, inclusive: false },
    },
    {
      name: 'image, compressed',
      ...(megabytes === undefined ? { note: '`make up` or `make push` first' } : { value: megabytes }),
      unit: 'MB',
      limit: { most: MOST_IMAGE_MB, inclusive: true },
    },
  ]
  show(figureTable(figures))
  if (values.write !== undefined) {
    writeFileSync(values.write, replaceMeasured(readFileSync(values.write, 'utf8'), lines))
  }
}

await main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
