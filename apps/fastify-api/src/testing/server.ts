import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** The service as a pod runs it: a separate process, real sockets and signals. */
export interface Server {
  process: ChildProcess
  /** Its standard output so far. */
  output: () => string
  /** Its exit code and its standard error. */
  ended: Promise<{ code: number | null; stderr: string }>
}

/** Starts the service on free ports; it ends with the test `t`. */
export function run(t: Pick<Test, 'teardown'>, environment: Record<string, string> = {}): Server {
  const process_ = spawn(process.execPath, [join(import.meta.dirname, '..', 'server.ts')], {
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      METRICS_PORT: '0',
      // On a busy machine, the event loop is often delayed, and these tests are not about that.
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

/** Starts the service and waits until it listens. */
export async function start(t: Pick<Test, 'teardown'>, environment: Record<string, string> = {}) {
  const server = run(t, environment)
  const started = /"ports":\{"http":(\d+),"metrics":(\d+)\}/
  while (!started.test(server.output())) {
    /* c8 ignore next - only reached when a test cannot begin */
    if (server.process.exitCode !== null) throw new Error(`the server ended: ${(await server.ended).stderr}`)
    await sleep(10)
  }
  const ports = server.output().match(started)
  return { ...server, port: Number(ports?.[1]), metricsPort: Number(ports?.[2]) }
}
