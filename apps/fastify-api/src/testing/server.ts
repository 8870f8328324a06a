import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** The service as a pod runs it: a process of its own, real sockets, real signals. */
export interface Server {
  process: ChildProcess
  /** Everything it wrote to standard output so far. */
  output: () => string
  /** Exit code and all that it wrote to standard error. */
  ended: Promise<{ code: number | null; stderr: string }>
}

/** Starts the service on ports that are free; it ends with the test `t`. */
export function run(t: Pick<Test, 'teardown'>, environment: Record<string, string> = {}): Server {
  const process_ = spawn(process.execPath, [join(import.meta.dirname, '..', 'server.ts')], {
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      METRICS_PORT: '0',
      // What a busy machine makes of the event loop is not what these tests are about.
      PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '0',
      LOAD_ENDPOINTS_ENABLED: 'true',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => process_.kill('SIGKILL'))
  let output = ''
  process_.stdout.on('data', (chunk) => {
    output += chunk
  })
  const stderr = text(process_.stderr)
  const ended = once(process_, 'exit').then(async ([code]) => ({ code, stderr: await stderr }))
  return { process: process_, output: () => output, ended }
}

/** Starts it and waits until it listens. */
export async function start(t: Pick<Test, 'teardown'>, environment: Record<string, string> = {}) {
  const server = run(t, environment)
  const started = /"ports":\{"http":(\d+),"metrics":(\d+)\}/
  while (!started.test(server.output())) {
    /* c8 ignore next - says why a test cannot begin; none has a server that does not start */
    if (server.process.exitCode !== null) throw new Error(`the server ended: ${(await server.ended).stderr}`)
    await sleep(10)
  }
  const ports = server.output().match(started)
  return { ...server, port: Number(ports?.[1]), metricsPort: Number(ports?.[2]) }
}
