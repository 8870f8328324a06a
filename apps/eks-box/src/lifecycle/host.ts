/**
 * The box's host process: owns the loopback ports, the cgroups and the namespaces. Everything else runs inside those
 * namespaces. When this process ends, for whatever reason, the kernel kills every process of the box and removes its
 * mounts, interfaces and packet rules.
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
import { createMountPoints } from '../node/machine.ts'
import { boxPaths } from '../state-directory.ts'
import type { HostCommand, InnerEvent } from './inside.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, identify, type ProcessIdentity, settledPhase, writeStatus } from './status.ts'
import { sweep } from './sweep.ts'
import { timeLimits } from './time-limits.ts'

type PortName = keyof BoxConfig['ports']

tolerateLostOutput()
const config = readBoxConfig(process.env)

// Installed first, so that an interrupted start is cleaned up too.
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort())

async function run(): Promise<void> {
  // The ports come first: they also prevent a second box of the same name from starting.
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

/** @throws ActionableError when the box's cgroups or mount points cannot be created. */
async function prepareMachine(): Promise<void> {
  try {
    await createCgroups(cgroupRoot(config))
  } catch (cause) {
    if (cause instanceof ActionableError) throw cause
    throw new ActionableError(
      `the box's cgroups cannot be created: ${cause instanceof Error ? cause.message : cause}`,
      'check that /sys/fs/cgroup is mounted and writable for root; a container needs --privileged',
      { cause },
    )
  }
  await createMountPoints()
}

/** Runs the box until it ends; resolves to this process's exit code. */
async function runInside(listeners: ReadonlyMap<PortName, Server>): Promise<number> {
  const inner = spawn(
    'unshare',
    [
      ...['--mount', '--net', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child=SIGKILL'],
      // tini, as the first process of the box, reaps orphaned processes of containers.
      ...['--', 'tini', '-s', '--', process.execPath, join(import.meta.dirname, 'inside.ts')],
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  const exited = exitOf(inner)
  const namespaces = inner.pid === undefined ? undefined : identify(inner.pid)
  const status: BoxStatus = {
    phase: 'starting',
    host: identifyThis(),
    fingerprint: fingerprint(config),
    ports: config.ports,
    components: COMPONENT_NAMES.map((name) => ({ name, state: 'waiting', restarts: 0 })),
    ...(namespaces === undefined ? {} : { namespaces }),
  }
  // One write at a time; each writes the newest status.
  let writing: Promise<void> = Promise.resolve()
  const publish = () => {
    writing = writing
      .then(() => writeStatus(config, status))
      // On a full disk the status becomes outdated, but the box keeps running.
      .catch((error: unknown) => console.error('the status cannot be written:', error))
  }
  publish()

  let hasReported = false
  inner.on('message', (event: InnerEvent) => {
    hasReported = true
    if (event.kind === 'components') {
      status.components = event.components
      if (status.phase === 'ready' || status.phase === 'degraded') {
        status.phase = settledPhase(status.components)
      }
    } else if (status.phase !== 'failed') {
      status.phase = event.phase
      if (event.failure !== undefined) status.failure = event.failure
    }
    publish()
  })
  for (const [port, listener] of listeners) {
    // The inner process gets its own copy of the socket. A failure to send needs no handling: its exit is reported.
    inner.send({ kind: 'port', port } satisfies HostCommand, listener, () => listener.close())
  }
  const stopInner = () => {
    // Until its first message, it runs no component that needs an orderly shutdown.
    if (!hasReported) inner.kill('SIGKILL')
    if (inner.connected) inner.send({ kind: 'stop' } satisfies HostCommand, () => {})
    setTimeout(() => inner.kill('SIGKILL'), timeLimits(config).allStop).unref()
  }
  if (stop.signal.aborted) stopInner()
  else stop.signal.addEventListener('abort', stopInner)

  const { code, reason } = await exited
  if (code !== 0 && status.failure === undefined) {
    const lastLine = await lastLogLine()
    status.failure = hasReported
      ? {
          message: `the box ended unexpectedly (${reason})`,
          nextStep: 'see `make logs C=box`, then run `make up` again',
        }
      : {
          message: `the box's namespaces cannot be created: ${reason}${lastLine === '' ? '' : `: ${lastLine}`}`,
          nextStep: 'run `make doctor`; a container needs --privileged',
        }
  }
  status.phase = status.failure === undefined ? 'stopped' : 'failed'
  publish()
  await writing
  return code
}

async function exitOf(child: ChildProcess): Promise<{ code: number; reason: string }> {
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return { code: code ?? 1, reason: signal ?? `exit code ${code}` }
  } catch (error) {
    return { code: 1, reason: error instanceof Error ? error.message : String(error) }
  }
}

/** The last line of the box's log, to which this process and its children write. */
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
