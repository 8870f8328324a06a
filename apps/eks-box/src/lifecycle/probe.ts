import http from 'node:http'
import https from 'node:https'
import { connect } from 'node:net'
import { execa } from 'execa'
import type { Probe } from '../components/component.ts'

/** Longest time a component may take to answer one probe, in milliseconds: kubelet's own default is 1 s. */
const timeout = 2000
/** A command has a process to start and work to do. In milliseconds. */
const commandTimeout = 30_000

type ProbeOf<Kind extends Probe['kind']> = Extract<Probe, { kind: Kind }>

/** Asks once. Resolves to undefined when the component serves, else to what it said instead. */
export async function ask(probe: Probe): Promise<string | undefined> {
  switch (probe.kind) {
    case 'http':
      return askHttp(probe)
    case 'tcp':
      return askTcp(probe)
    case 'command':
      return askCommand(probe)
  }
}

async function askCommand({ command: [program, ...args] }: ProbeOf<'command'>): Promise<string | undefined> {
  const result = await execa(program, args, { reject: false, timeout: commandTimeout, all: true })
  if (!result.failed) return undefined
  return lastLine(result.all ?? '') || (result.shortMessage ?? 'no answer')
}

async function askHttp({ url, insecure }: ProbeOf<'http'>): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const client = url.startsWith('https:') ? https : http
  const options = { timeout, agent: false, rejectUnauthorized: insecure !== true }
  const request = client.get(url, options, (response) => {
    response.resume()
    resolve(response.statusCode === 200 ? undefined : `${url} answers ${response.statusCode}`)
  })
  request.on('timeout', () => request.destroy(noAnswer()))
  request.on('error', (error) => resolve(`${url}: ${error.message}`))
  return promise
}

async function askTcp({ host, port, say, hear }: ProbeOf<'tcp'>): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ host, port, timeout }, () => socket.write(say))
  let heard = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    heard += text
    if (heard.length < hear.length) return
    resolve(heard.startsWith(hear) ? undefined : `${host}:${port} answers ${lastLine(heard)}`)
    socket.destroy()
  })
  socket.on('timeout', () => socket.destroy(noAnswer()))
  socket.on('error', (error) => resolve(`${host}:${port}: ${error.message}`))
  socket.on('close', () => resolve(`${host}:${port} hung up`))
  return promise
}

function noAnswer(): Error {
  return new Error(`no answer within ${timeout / 1000} s`)
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}
