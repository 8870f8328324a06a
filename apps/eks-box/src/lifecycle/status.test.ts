import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readBoxConfig } from 'shared/box'
import t from 'tap'
import { type BoxStatus, identify, isRunning, readStatus, writeStatus } from './status.ts'

t.test('a process is identified by its pid and its start time', async (t) => {
  const self = identify(process.pid)
  if (self === undefined) throw new Error('this process has no entry in /proc')
  t.ok(isRunning(self))
  t.notOk(isRunning({ ...self, startTicks: self.startTicks - 1 }), 'an earlier process with the same pid')
  t.equal(identify(2 ** 30), undefined)
})

t.test('a zombie does not count as running', async (t) => {
  // The shell becomes `sleep`, which never reaps its child.
  const parent = spawn('sh', ['-c', 'sleep 1 & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.teardown(() => parent.kill())
  const pid = Number(String((await once(parent.stdout, 'data'))[0]))
  while (!/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) await sleep(10)
  t.equal(identify(pid), undefined)
})

t.test('a status can be read back, and a truncated one is ignored', async (t) => {
  const config = readBoxConfig({ BOX_STATE_DIR: t.testdir().slice(0, 50), BOX_NAME: 'x' })
  t.equal(await readStatus(config), undefined, 'no box')
  const status: BoxStatus = {
    phase: 'ready',
    host: { pid: 1, startTicks: 2 },
    fingerprint: 'abc',
    ports: config.ports,
    components: [{ name: 'etcd', state: 'ready', pid: 3, restarts: 0 }],
  }
  await writeStatus(config, status)
  t.strictSame(await readStatus(config), status)
  writeFileSync(join(config.stateDir, 'status.json'), '{"pha')
  t.equal(await readStatus(config), undefined, 'truncated by a power failure')
})
