import { readFileSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import type { ComponentName } from '../components/component.ts'

/** `unready`: the component was ready and its process still runs, but its probe fails. */
export type ComponentState =
  | 'waiting'
  | 'starting'
  | 'ready'
  | 'unready'
  | 'restarting'
  | 'failed'
  | 'stopped'

export interface ComponentStatus {
  name: ComponentName
  state: ComponentState
  /** Process id in the box's PID namespace. */
  pid?: number
  /** How often the supervisor restarted it after it exited or hung. */
  restarts: number
  /** Why it is not ready, in one line. */
  message?: string
  nextStep?: string
}

/** `degraded`: the box has started, but at least one component is not ready. */
export type BoxPhase = 'starting' | 'ready' | 'degraded' | 'stopping' | 'stopped' | 'failed'

/** The box's status; the host process writes it to `status.json` at every change. */
export interface BoxStatus {
  phase: BoxPhase
  /** The process that owns the box. */
  host: ProcessIdentity
  /** The process that created the box's namespaces. */
  namespaces?: ProcessIdentity
  /** Fingerprint of the code and settings that the box was started with. */
  fingerprint: string
  /** Ports that the box listens on, on the machine's loopback. */
  ports: BoxConfig['ports']
  components: ComponentStatus[]
  /** Present when `phase` is `failed`. */
  failure?: { message: string; nextStep: string }
}

/** The phase of a box that has started: `ready` while every component is ready. */
export function settledPhase(components: readonly ComponentStatus[]): 'ready' | 'degraded' {
  return components.every(({ state }) => state === 'ready') ? 'ready' : 'degraded'
}

/** A process, identified by pid and start time because the kernel reuses pids. */
export interface ProcessIdentity {
  pid: number
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  startTicks: number
}

/** Identifies a running process; undefined when no process has this pid. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name in parentheses may contain spaces; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended, but keeps its entry until its parent reaps it.
    if (fields[0] === 'Z') return undefined
    return { pid, startTicks: Number(fields[19]) }
  } catch {
    return undefined
  }
}

/** Whether this process still runs. */
export function isRunning(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTicks === process.startTicks
}

function statusPath(config: BoxConfig): string {
  return join(config.stateDir, 'status.json')
}

/** The last status that the box wrote; undefined when there is none. It may be out of date: see `isRunning`. */
export async function readStatus(config: BoxConfig): Promise<BoxStatus | undefined> {
  try {
    return JSON.parse(await readFile(statusPath(config), 'utf8')) as BoxStatus
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Replaces the status atomically, so that readers never see a part of it. */
export async function writeStatus(config: BoxConfig, status: BoxStatus): Promise<void> {
  const path = statusPath(config)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.new`, `${JSON.stringify(status, null, 2)}\n`)
  await rename(`${path}.new`, path)
}
