import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { boxEnvironment, runningBox } from './box.ts'
import { requireRoot } from './preconditions.ts'
import { readStatus } from './status.ts'

/** A command that runs in the namespaces of a box. */
export interface InsideCommand {
  command: readonly [string, ...string[]]
  /** The complete environment of the command. */
  environment: Record<string, string>
  /** The process, on this machine, whose descendants are the processes of the box. */
  boxPid: number
}

/**
 * Prepares a command that runs in the mount, network and PID namespaces of the running box.
 *
 * @param target the make target that needs it, for the error message.
 * @throws ActionableError when the box does not run, or belongs to root and the caller is not root.
 */
export async function insideBox(
  config: BoxConfig,
  command: readonly string[],
  target: string,
): Promise<InsideCommand> {
  const pid = (await runningBox(config))?.namespaces?.pid
  if (pid === undefined) throw await notRunning(config)
  requireRoot(`box ${config.name} belongs to root`, target)
  const inside = (name: string) => `/proc/${pid}/ns/${name}`
  return {
    command: [
      'nsenter',
      `--mount=${inside('mnt')}`,
      `--net=${inside('net')}`,
      `--pid=${inside('pid_for_children')}`,
      '--',
      ...command,
    ],
    environment: boxEnvironment(config, process.env),
    boxPid: pid,
  }
}

/** The error for a command that needs a running box; says why the box ended, if it failed. */
export async function notRunning(config: BoxConfig): Promise<ActionableError> {
  const last = await readStatus(config)
  if (last?.failure !== undefined) {
    return new ActionableError(
      `box ${config.name} is not running, because it failed: ${last.failure.message}`,
      last.failure.nextStep,
    )
  }
  const kept = last === undefined ? '' : '; its data is kept'
  return new ActionableError(`box ${config.name} is not running${kept}`, 'start it with `make up`')
}
