import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { boxPaths } from '../state-directory.ts'
import { cachePasswordPath, databasePasswordPath, ensureCredentials, readConnections } from './credentials.ts'

function box(t: Test) {
  // readBoxConfig would refuse a state directory inside the test's own as too long.
  return { ...readBoxConfig({}), stateDir: join(t.testdir(), 'box') }
}

t.test('the connection URLs contain the passwords that the servers expect', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  const { DATABASE_URL, REDIS_URL } = await readConnections(config)
  const database = new URL(DATABASE_URL)
  t.match(database, {
    protocol: 'postgres:',
    username: 'fastify_app',
    port: '5432',
    pathname: '/fastify_app',
  })
  t.match(database.hostname, /\.eu-central-1\.rds\.amazonaws\.com$/)
  t.equal(readFileSync(databasePasswordPath(config), 'utf8'), database.password)
  const cache = new URL(REDIS_URL)
  t.match(cache, { protocol: 'redis:', username: 'box', port: '6380' })
  t.match(cache.hostname, /\.cache\.amazonaws\.com$/)
  t.equal(readFileSync(cachePasswordPath(config), 'utf8'), cache.password)
  t.not(database.password, cache.password)
})

t.test('only the owner can read the passwords', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  t.equal(statSync(boxPaths(config).credentials).mode & 0o777, 0o700)
  for (const path of [databasePasswordPath(config), cachePasswordPath(config)]) {
    t.equal(statSync(path).mode & 0o777, 0o600)
  }
})

t.test('a box keeps its passwords, and a new box gets new ones', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  const first = await readConnections(config)
  await ensureCredentials(config)
  t.strictSame(await readConnections(config), first)
  rmSync(boxPaths(config).credentials, { recursive: true })
  await ensureCredentials(config)
  t.notSame(await readConnections(config), first)
})

t.test('a box of an older checkout is refused', async (t) => {
  const config = box(t)
  await ensureCredentials(config)
  rmSync(cachePasswordPath(config))
  await t.rejects(ensureCredentials(config), {
    message: /created by an older checkout/,
    nextStep: /`make down`, then `make up`/,
  })
})
