import { join } from 'node:path'
import t from 'tap'
import { findPrograms } from './postgres-data.ts'

const server = () => ({ bin: { postgres: '' } })

t.test('a new database is made by the newest version there is', async (t) => {
  const root = t.testdir({ 9: server(), 15: server(), 17: { bin: { psql: '' } } })
  t.equal(findPrograms(undefined, root), join(root, '15', 'bin'), 'as numbers, and only one with a server')
})

t.test('a database is served by the version that made it', async (t) => {
  const root = t.testdir({ 15: server(), 17: server() })
  t.equal(findPrograms('15', root), join(root, '15', 'bin'))
})

t.test('a version that is gone is named, with the two ways on', async (t) => {
  t.throws(() => findPrograms('15', t.testdir({ 17: server() })), {
    message: /made by PostgreSQL 15, which is no longer installed/,
    nextStep: /install postgresql-15, or begin anew/,
  })
})

t.test('no version at all is told', async (t) => {
  t.throws(() => findPrograms(undefined, t.testdir()), { message: 'this machine has no PostgreSQL' })
})
