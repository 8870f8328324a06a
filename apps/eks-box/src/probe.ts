import http from 'node:http'
import https from 'node:https'
import { execa } from 'execa'
import type { Probe } from './component.ts'

/** Longest time a component may take to answer one probe, in milliseconds: kubelet's own default is 1 s. */
const timeout = 2000
/** A command has a process to start and work to do. In milliseconds. */
const commandTimeout = 30_000

/** Asks once. Resolves to undefined when the component serves, else to what it said instead. */
export async function ask(probe: Probe): Promise<string | undefined> {
  if (probe.kind === 'command') {
    const [program, ...args] = probe.command
    const result = await execa(program, args, { reject: false, timeout: commandTimeout, all: true })
    return result.failed ? lastLine(result.all ?? result.shortMessage ?? 'no answer') : undefined
  }
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const client = probe.url.startsWith('https:') ? https : http
  const options = { timeout, agent: false, rejectUnauthorized: probe.insecure !== true }
  const request = client.get(probe.url, options, (response) => {
    response.resume()
    resolve(response.statusCode === 200 ? undefined : `${probe.url} answers ${response.statusCode}`)
  })
  request.on('timeout', () => request.destroy(new Error(`no answer within ${timeout / 1000} s`)))
  request.on('error', (error) => resolve(`${probe.url}: ${error.message}`))
  return promise
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}
