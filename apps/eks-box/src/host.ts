/**
 * The box's host process: owns the loopback ports, the cgroups and the namespaces. Everything else of
 * the box lives inside those namespaces, so when this process ends, by whatever means, the kernel ends
 * every process of the box and removes its mounts, interfaces and packet rules with it.
 */
import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createCgroups } from './cgroups.ts'
import { COMPONENT_NAMES } from './component.ts'
import { fingerprint } from './components/index.ts'
import { cgroupRoot } from './components/kubelet.ts'
import { type BoxConfig, portVariables, readConfig, timeLimits } from './config.ts'
import { reportFailure } from './errors.ts'
import type { Order, Report } from './inside.ts'
import { CNI_STATE } from './node.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, identify, type ProcessIdentity, writeStatus } from './status.ts'
import { sweep } from './sweep.ts'

type PortName = keyof BoxConfig['ports']

const config = readConfig(process.env)

// Heard from the first moment: a box whose start is interrupted must end in order as well.
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort())

async function run(): Promise<void> {
  // The ports come first: they are also what keeps a second box of the same name from starting.
  const listeners = new Map(
    await Promise.all(
      (Object.keys(config.ports) as PortName[]).map(
        async (name) => [name, await openPort(config.ports[name], portVariables[name])] as const,
      ),
    ),
  )
  await sweep(config)
  await createCgroups(cgroupRoot(config))
  await mkdir(CNI_STATE, { recursive: true })
  if (stop.signal.aborted) {
    await sweep(config)
    process.exit(1)
  }

  const inner = spawn(
    'unshare',
    [
      ...['--mount', '--net', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child=SIGKILL'],
      // The first process of the box reaps what its containers orphan.
      ...['--', 'tini', '-s', '--', process.execPath, join(import.meta.dirname, 'inside.ts')],
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  const status: BoxStatus = {
    phase: 'starting',
    host: identifyRunning(process.pid),
    fingerprint: fingerprint(config),
    components: COMPONENT_NAMES.map((name) => ({ name, state: 'waiting', restarts: 0 })),
    ...(inner.pid === undefined ? {} : { namespaces: identifyRunning(inner.pid) }),
  }
  // One write at a time, and always of the newest status.
  let writing: Promise<void> = Promise.resolve()
  const publish = () => {
    writing = writing
      .then(() => writeStatus(config, status))
      // A full disk makes the status old; it need not end the box.
      .catch((error: unknown) => console.error('the status cannot be written:', error))
  }
  publish()

  inner.on('message', (report: Report) => {
    if (report.kind === 'components') status.components = report.components
    else if (status.phase !== 'failed') {
      status.phase = report.phase
      if (report.failure !== undefined) status.failure = report.failure
    }
    publish()
  })
  for (const [port, listener] of listeners) {
    inner.send({ kind: 'port', port } satisfies Order, listener, () => listener.close())
  }
  const endInner = () => {
    if (inner.connected) inner.send({ kind: 'stop' } satisfies Order)
    setTimeout(() => inner.kill('SIGKILL'), timeLimits(config).allStop).unref()
  }
  if (stop.signal.aborted) endInner()
  else stop.signal.addEventListener('abort', endInner)

  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    inner.on('error', (error) => {
      status.failure = {
        message: `the box's namespaces cannot be made: ${error.message}`,
        nextStep: '`make doctor` tells what this machine lacks',
      }
      resolve([1, null])
    })
    inner.on('exit', (...how) => resolve(how))
  })
  if (code !== 0 && status.failure === undefined) {
    status.failure = {
      message: `the box ended unexpectedly (${signal ?? `code ${code}`})`,
      nextStep: 'see `make logs C=box`, then run `make up` again',
    }
  }
  status.phase = status.failure === undefined ? 'stopped' : 'failed'
  await sweep(config)
  publish()
  await writing
  process.exitCode = code ?? 1
}

function identifyRunning(pid: number): ProcessIdentity {
  const identity = identify(pid)
  if (identity === undefined) throw new Error(`process ${pid} ended while the box was starting`)
  return identity
}

await run().catch(reportFailure)
