import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { boxPaths } from '../state-directory.ts'
import { cachePasswordPath, ensureCredentials } from './credentials.ts'

function box(t: Test) {
  // readBoxConfig would refuse a state directory inside the test's own as too long.
  return { ...readBoxConfig({}), stateDir: join(t.testdir(), 'box') }
}

t.test('only the owner can read the password', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  t.equal(statSync(boxPaths(config).credentials).mode & 0o777, 0o700)
  t.equal(statSync(cachePasswordPath(config)).mode & 0o777, 0o600)
})

t.test('a box keeps its password, and a new box gets another', async (t) => {
  const config = box(t)
  const password = () => readFileSync(cachePasswordPath(config), 'utf8')
  await ensureCredentials(config)
  const first = password()
  t.ok(first.length >= 24)
  await ensureCredentials(config)
  t.equal(password(), first)
  rmSync(boxPaths(config).credentials, { recursive: true })
  await ensureCredentials(config)
  t.not(password(), first)
})

t.test('a box of an older checkout is refused', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  writeFileSync(join(boxPaths(config).credentials, 'connections.json'), '{}')
  await t.rejects(ensureCredentials(config), {
    message: /created by an older checkout/,
    nextStep: /`make down`, then `make up`/,
  })
})
