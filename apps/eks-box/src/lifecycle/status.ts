import { readFileSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import type { ComponentName } from '../components/component.ts'

/** `unready`: it was ready, its process runs, and its probe fails. */
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
  /** Process id inside the box. */
  pid?: number
  /** How often it was started again after it ended by itself. */
  restarts: number
  /** Why it is not ready, in one line. */
  message?: string
  nextStep?: string
}

/** `degraded`: the box has started, and at least one component is not ready now. */
export type BoxPhase = 'starting' | 'ready' | 'degraded' | 'stopping' | 'stopped' | 'failed'

/** What the box says of itself; the host process writes it to `status.json` at every change. */
export interface BoxStatus {
  phase: BoxPhase
  /** The process that owns the box, and when it started, so that a reused pid is not mistaken for it. */
  host: ProcessIdentity
  /** The process whose namespaces are the box's. */
  namespaces?: ProcessIdentity
  /** Fingerprint of what the box was started with. */
  fingerprint: string
  /** Ports of the machine's loopback that the box holds. */
  ports: BoxConfig['ports']
  components: ComponentStatus[]
  /** Present when `phase` is `failed`. */
  failure?: { message: string; nextStep: string }
}

/** The phase of a box that has started: `ready` while every component is. */
export function settledPhase(components: readonly ComponentStatus[]): 'ready' | 'degraded' {
  return components.every(({ state }) => state === 'ready') ? 'ready' : 'degraded'
}

export interface ProcessIdentity {
  pid: number
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  startTicks: number
}

/** Identifies a running process; undefined when there is none with this pid. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name in parentheses may hold spaces; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A process that has ended and that nobody has asked about yet keeps its entry.
    if (fields[0] === 'Z') return undefined
    return { pid, startTicks: Number(fields[19]) }
  } catch {
    return undefined
  }
}

/** Whether the very process that was identified still runs. */
export function isRunning(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTicks === process.startTicks
}

function statusPath(config: BoxConfig): string {
  return join(config.stateDir, 'status.json')
}

/** The last status the box wrote; undefined when there is no box. It may be out of date: see `isRunning`. */
export async function readStatus(config: BoxConfig): Promise<BoxStatus | undefined> {
  try {
    return JSON.parse(await readFile(statusPath(config), 'utf8')) as BoxStatus
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

export async function writeStatus(config: BoxConfig, status: BoxStatus): Promise<void> {
  const path = statusPath(config)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.new`, `${JSON.stringify(status, null, 2)}\n`)
  await rename(`${path}.new`, path)
}
