/**
 * The box's host process: owns the loopback ports, the cgroups and the namespaces. Everything else of
 * the box lives inside those namespaces, so when this process ends, by whatever means, the kernel ends
 * every process of the box and removes its mounts, interfaces and packet rules with it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { type BoxConfig, portVariables, readBoxConfig } from 'shared/box'
import { ActionableError, reportFailure, tolerateLostOutput } from 'shared/errors'
import { COMPONENT_NAMES } from '../components/component.ts'
import { fingerprint } from '../components/index.ts'
import { cgroupRoot } from '../components/kubelet.ts'
import { createCgroups } from '../node/cgroups.ts'
import { makeMountPoints } from '../node/node.ts'
import { boxPaths } from '../state-directory.ts'
import type { Order, Report } from './inside.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, identify, type ProcessIdentity, settledPhase, writeStatus } from './status.ts'
import { sweep } from './sweep.ts'
import { timeLimits } from './time-limits.ts'

type PortName = keyof BoxConfig['ports']

tolerateLostOutput()
const config = readBoxConfig(process.env)

// Heard from the first moment: a box whose start is interrupted must end in order as well.
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort())

async function run(): Promise<void> {
  // The ports come first: they are also what keeps a second box of the same name from starting.
  const listeners = new Map<PortName, Server>()
  try {
    for (const name of Object.keys(config.ports) as PortName[]) {
      listeners.set(name, await openPort(config.ports[name], portVariables[name]))
    }
    await sweep(config)
    await prepareMachine()
    process.exitCode = stop.signal.aborted ? 1 : await runInside(listeners)
  } finally {
    // An open listener would keep this process, and with it the box, alive after a failure.
    for (const listener of listeners.values()) listener.close()
    await sweep(config)
  }
}

/** @throws ActionableError when the machine does not allow the box its cgroups or directories. */
async function prepareMachine(): Promise<void> {
  try {
    await createCgroups(cgroupRoot(config))
  } catch (cause) {
    if (cause instanceof ActionableError) throw cause
    throw new ActionableError(
      `the box's cgroups cannot be made: ${cause instanceof Error ? cause.message : cause}`,
      'check that /sys/fs/cgroup is mounted and writable for root; in a container, run it with --privileged',
      { cause },
    )
  }
  await makeMountPoints()
}

/** Runs the box until it ends; resolves to the exit code of this process. */
async function runInside(listeners: ReadonlyMap<PortName, Server>): Promise<number> {
  const inner = spawn(
    'unshare',
    [
      ...['--mount', '--net', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child=SIGKILL'],
      // The first process of the box reaps what its containers orphan.
      ...['--', 'tini', '-s', '--', process.execPath, join(import.meta.dirname, 'inside.ts')],
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  const ended = endOf(inner)
  const namespaces = inner.pid === undefined ? undefined : identify(inner.pid)
  const status: BoxStatus = {
    phase: 'starting',
    host: identifyThis(),
    fingerprint: fingerprint(config),
    ports: config.ports,
    components: COMPONENT_NAMES.map((name) => ({ name, state: 'waiting', restarts: 0 })),
    ...(namespaces === undefined ? {} : { namespaces }),
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

  let entered = false
  inner.on('message', (report: Report) => {
    entered = true
    if (report.kind === 'components') {
      status.components = report.components
      if (status.phase === 'ready' || status.phase === 'degraded') {
        status.phase = settledPhase(status.components)
      }
    } else if (status.phase !== 'failed') {
      status.phase = report.phase
      if (report.failure !== undefined) status.failure = report.failure
    }
    publish()
  })
  for (const [port, listener] of listeners) {
    // The inner process has its own copy once it is sent. If it has ended, its end says why.
    inner.send({ kind: 'port', port } satisfies Order, listener, () => listener.close())
  }
  const endInner = () => {
    // Before it reports anything, no component runs that would have to end in order.
    if (!entered) inner.kill('SIGKILL')
    if (inner.connected) inner.send({ kind: 'stop' } satisfies Order, () => {})
    setTimeout(() => inner.kill('SIGKILL'), timeLimits(config).allStop).unref()
  }
  if (stop.signal.aborted) endInner()
  else stop.signal.addEventListener('abort', endInner)

  const { code, how } = await ended
  if (code !== 0 && status.failure === undefined) {
    const said = await lastLogLine()
    status.failure = entered
      ? {
          message: `the box ended unexpectedly (${how})`,
          nextStep: 'see `make logs C=box`, then run `make up` again',
        }
      : {
          message: `the box's namespaces cannot be made: ${how}${said === '' ? '' : `: ${said}`}`,
          nextStep: 'see `make doctor`; in a container, run it with --privileged',
        }
  }
  status.phase = status.failure === undefined ? 'stopped' : 'failed'
  publish()
  await writing
  return code
}

async function endOf(child: ChildProcess): Promise<{ code: number; how: string }> {
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return { code: code ?? 1, how: signal ?? `exit code ${code}` }
  } catch (error) {
    return { code: 1, how: error instanceof Error ? error.message : String(error) }
  }
}

/** This process's output is the box's log. */
async function lastLogLine(): Promise<string> {
  const log = await readFile(join(boxPaths(config).logs, 'box.log'), 'utf8').catch(() => '')
  return log.trimEnd().split('\n').at(-1) ?? ''
}

function identifyThis(): ProcessIdentity {
  const identity = identify(process.pid)
  if (identity === undefined) throw new Error('/proc is not mounted')
  return identity
}

await run().catch(reportFailure)
