import http from 'node:http'
import https from 'node:https'
import { connect } from 'node:net'
import { execa } from 'execa'
import type { Probe } from '../components/component.ts'

/** Timeout of an HTTP or TCP probe, in milliseconds. The kubelet's default is 1 s. */
const timeout = 2000
/** Timeout of a command, in milliseconds: it has to start a process first. */
const commandTimeout = 30_000

type ProbeOf<Kind extends Probe['kind']> = Extract<Probe, { kind: Kind }>

/** Runs a probe once. Resolves to undefined when it succeeds, otherwise to the reason why it failed. */
export async function runProbe(probe: Probe): Promise<string | undefined> {
  switch (probe.kind) {
    case 'http':
      return probeHttp(probe)
    case 'tcp':
      return probeTcp(probe)
    case 'command':
      return probeCommand(probe)
  }
}

async function probeCommand({
  command: [program, ...args],
}: ProbeOf<'command'>): Promise<string | undefined> {
  const result = await execa(program, args, { reject: false, timeout: commandTimeout, all: true })
  if (!result.failed) return undefined
  return lastLine(result.all ?? '') || (result.shortMessage ?? 'no response')
}

async function probeHttp({ url, insecure }: ProbeOf<'http'>): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const client = url.startsWith('https:') ? https : http
  const options = { timeout, agent: false, rejectUnauthorized: insecure !== true }
  const request = client.get(url, options, (response) => {
    response.resume()
    resolve(response.statusCode === 200 ? undefined : `${url} responded with ${response.statusCode}`)
  })
  request.on('timeout', () => request.destroy(noResponse()))
  request.on('error', (error) => resolve(`${url}: ${error.message}`))
  return promise
}

async function probeTcp({ host, port, send, expect }: ProbeOf<'tcp'>): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ host, port, timeout }, () => socket.write(send))
  let received = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    received += text
    if (received.length < expect.length) return
    resolve(received.startsWith(expect) ? undefined : `${host}:${port} responded with ${lastLine(received)}`)
    socket.destroy()
  })
  socket.on('timeout', () => socket.destroy(noResponse()))
  socket.on('error', (error) => resolve(`${host}:${port}: ${error.message}`))
  socket.on('close', () => resolve(`${host}:${port} closed the connection`))
  return promise
}

function noResponse(): Error {
  return new Error(`no response within ${timeout / 1000} s`)
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}
