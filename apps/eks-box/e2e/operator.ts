/** Operates a separate box as a user does: with the make targets of the README, kubectl and the AWS CLI. */
import { resolve } from 'node:path'
import { execa } from 'execa'
import { awsEnvironment, kubeconfigPath, portVariables, readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { openPort } from '../src/lifecycle/ports.ts'

export const repository = resolve(import.meta.dirname, '../../..')

/** Finds `count` free ports among the hundred from `first` on. */
async function freePorts(first: number, count: number): Promise<string[]> {
  const free: string[] = []
  for (let port = first; free.length < count; port++) {
    if (port === first + 100) throw new Error(`127.0.0.1 has fewer than ${count} free ports from ${first} on`)
    const listener = await openPort(port, 'port').catch(() => undefined)
    if (listener === undefined) continue
    listener.close()
    free.push(String(port))
  }
  return free
}

/**
 * Selects a box for the tests of one file.
 *
 * @param firstPort - where to start looking for free ports; below 32768, the kernel's range for outgoing connections
 */
export async function operate(name: string, firstPort: number) {
  const variables = Object.values(portVariables)
  const ports = await freePorts(firstPort, variables.length)
  const environment: Record<string, string> = {
    BOX_NAME: name,
    ENV: 'local',
    // Do not use the cluster of the caller's shell.
    KUBECONFIG: '',
    ...Object.fromEntries(variables.map((variable, index) => [variable, ports[index] ?? ''])),
  }
  const config = readBoxConfig({ ...process.env, ...environment })

  /** Runs a make target and returns its output. `failing` says whether it has to fail. */
  async function make(target: string, extra: Record<string, string> = {}, failing = false) {
    const result = await execa('make', ['--no-print-directory', target], {
      cwd: repository,
      env: { ...environment, ...extra },
      all: true,
      reject: false,
    })
    if (result.failed !== failing)
      throw new Error(`make ${target} ended with ${result.exitCode}:\n${result.all}`)
    return result.all
  }

  /** Runs the AWS CLI against the box and returns its output, parsed if it is JSON. */
  async function aws(...args: string[]) {
    const { stdout } = await execa(programPath(config, 'aws'), args, { env: awsEnvironment(config) })
    return stdout.startsWith('{') || stdout.startsWith('[') ? JSON.parse(stdout) : stdout
  }

  async function kubectl(...args: string[]): Promise<string> {
    const kubeconfig = ['--kubeconfig', kubeconfigPath(config)]
    const { stdout } = await execa(programPath(config, 'kubectl'), [...kubeconfig, ...args])
    return stdout
  }

  return { environment, config, make, aws, kubectl }
}
