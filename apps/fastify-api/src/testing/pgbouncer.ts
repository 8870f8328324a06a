import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { spawnUnprivileged } from './postgres-server.ts'

/**
 * Starts PgBouncer in transaction mode in front of the PostgreSQL on `port`, with two server connections and otherwise
 * default settings. It ends with the test.
 *
 * @returns a function that changes a database's URL so that it leads through PgBouncer
 * @throws Error with PgBouncer's output if it does not start; "apt-get install pgbouncer" installs it
 */
export async function startPgBouncer(t: Test, port: number): Promise<(url: string) => string> {
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true }))
  const listenPort = await freePort()
  const settings = `
    [databases]
    * = host=127.0.0.1 port=${port} user=postgres
    [pgbouncer]
    pool_mode = transaction
    default_pool_size = 2
    listen_addr = 127.0.0.1
    listen_port = ${listenPort}
    unix_socket_dir =
    auth_type = any
  `
  const file = join(folder, 'pgbouncer.ini')
  writeFileSync(file, settings.replaceAll(/^ +/gm, ''))
  const program = spawnUnprivileged('pgbouncer', ['--quiet', file])
  const output = text(program.stderr)
  t.teardown(async () => {
    if (program.kill('SIGKILL')) await once(program, 'close')
  })
  while (!(await accepts(listenPort))) {
    /* c8 ignore next - says why a test cannot begin; none has a PgBouncer that does not start */
    if (program.exitCode !== null) throw new Error(`pgbouncer: ${await output}`)
    await sleep(20)
  }
  return (url) => {
    const through = new URL(url)
    through.port = String(listenPort)
    return through.href
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const connected = once(socket, 'connect').then(
    () => true,
    () => false,
  )
  const answer = await connected
  socket.destroy()
  return answer
}
