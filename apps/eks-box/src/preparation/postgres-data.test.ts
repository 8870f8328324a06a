import { join } from 'node:path'
import t from 'tap'
import { findPrograms } from './postgres-data.ts'

const server = () => ({ bin: { postgres: '' } })

t.test('the newest installed version creates a new database', async (t) => {
  const root = t.testdir({ 9: server(), 15: server(), 17: { bin: { psql: '' } } })
  t.equal(
    findPrograms(undefined, root),
    join(root, '15', 'bin'),
    'compares numerically, and skips versions without a server',
  )
})

t.test('a database is served by the version that created it', async (t) => {
  const root = t.testdir({ 15: server(), 17: server() })
  t.equal(findPrograms('15', root), join(root, '15', 'bin'))
})

t.test('a missing version is an error that offers both ways to continue', async (t) => {
  t.throws(() => findPrograms('15', t.testdir({ 17: server() })), {
    message: /created by PostgreSQL 15, which is no longer installed/,
    nextStep: /install postgresql-15, or .* an empty one/,
  })
})

t.test('a machine without PostgreSQL is an error', async (t) => {
  t.throws(() => findPrograms(undefined, t.testdir()), { message: 'PostgreSQL is not installed' })
})
