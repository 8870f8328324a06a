import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import t from 'tap'
import { findPostgres, PostgresServer, startPostgres } from './postgres-server.ts'

// On a busy machine, the tests take longer than tap's default timeout.
t.setTimeout(300_000)

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url })
  const connected = await client.connect().then(
    () => true,
    () => false,
  )
  await client.end()
  return connected
}

t.test('the newest installed version is used', async (t) => {
  const programs = (version: string) => ({ [version]: { bin: { postgres: '' } } })
  const folder = t.testdir({ ...programs('9.6'), ...programs('15'), ...programs('17') })
  t.equal(findPostgres(join(folder, '*/bin/postgres')), join(folder, '17/bin'))
})

t.test('if none is installed, the error says how to install it', async (t) => {
  t.throws(() => findPostgres(join(t.testdir(), '*/bin/postgres')), { message: /apt-get install postgresql/ })
})

t.test('the error of a server that cannot start has the cause', async (t) => {
  const server = new PostgresServer('/nowhere', 1)
  await t.rejects(server.initialize(), { message: /initdb: .*No such file/ })
  await t.rejects(server.start(), { message: /postgres: .*No such file/ })
  await server.remove()
})

t.test('the data survives a kill, and databases are separate', async (t) => {
  const server = await startPostgres(t)
  const urls = [await server.createDatabase(), await server.createDatabase()]
  t.equal(new Set(urls).size, 2)
  await server.kill()
  t.equal(await answers(String(urls[0])), false)
  await server.start()
  t.equal(await answers(String(urls[0])), true)
})

t.test('the server ends when the test is killed', async (t) => {
  // Not a directory of tap's, because the server's user may not be able to enter the home directory.
  const folder = mkdtempSync(join(tmpdir(), 'killed-test-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 10 }))
  const module = JSON.stringify(join(import.meta.dirname, 'postgres-server.ts'))
  const test = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import { startPostgres } from ${module}
       const server = await startPostgres({ teardown() {} })
       console.log(await server.createDatabase())
       setInterval(() => {}, 1000)`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TMPDIR: folder } },
  )
  t.teardown(() => test.kill('SIGKILL'))
  const [url] = await once(test.stdout, 'data')
  t.equal(await answers(String(url).trim()), true)
  test.kill('SIGKILL')
  while (await answers(String(url).trim())) await sleep(20)
})
