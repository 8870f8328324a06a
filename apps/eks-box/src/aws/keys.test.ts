import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { AccountKeys, readAccountKeys } from './keys.ts'

t.test('each box has its own secrets and keeps them', async (t) => {
  const directory = t.testdir()
  const [one, other] = [join(directory, 'one', 'keys'), join(directory, 'other', 'keys')]
  const secret = (await readAccountKeys(one)).secretOf('AKIAOPERATOR')
  t.match(secret, /^[A-Za-z0-9+/]{40}$/)
  t.not((await readAccountKeys(other)).secretOf('AKIAOPERATOR'), secret, 'another box')
  t.equal((await readAccountKeys(one)).secretOf('AKIAOPERATOR'), secret, 'the same box after a restart')
  t.not((await readAccountKeys(one)).secretOf('AKIAANOTHER'), secret, 'another key')
  t.equal(statSync(one).mode & 0o777, 0o600)
  t.notOk(secret.includes(readFileSync(one).toString('hex')))
})

t.test('a damaged key file is an error', async (t) => {
  const directory = t.testdir({ keys: 'short' })
  await t.rejects(readAccountKeys(join(directory, 'keys')), { name: 'RangeError' })
  await t.rejects(readAccountKeys(directory), { code: 'EISDIR' })
})

t.test('a session token can be read back, but not forged or changed', (t) => {
  const keys = new AccountKeys(Buffer.alloc(32, 'a'))
  const session = { accessKeyId: 'ASIA', expiresAt: 5, of: 'AKIA' }
  const token = keys.sessionToken(session)
  t.strictSame(keys.session(token), session)
  t.equal(new AccountKeys(Buffer.alloc(32, 'b')).session(token), undefined)
  const [, mac] = token.split('.')
  const longer = Buffer.from(JSON.stringify({ ...session, expiresAt: 6 })).toString('base64url')
  t.equal(keys.session(`${longer}.${mac}`), undefined)
  t.equal(keys.session(''), undefined)
  t.end()
})
