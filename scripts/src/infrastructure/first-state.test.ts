import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { moveFirstState, useFirstState } from './first-state.ts'
import type { FirstState, Stack } from './terraform.ts'

const BACKEND = ['-backend-config=bucket=states']

/** A stack, and a Terraform that says whether the override exists, what it is called with, and ends with a status. */
function newStack(t: Test, status = 0) {
  const directory = t.testdir({})
  const at = (name: string) => join(directory, name)
  const script = `#!/bin/sh\ntest ! -e backend_override.tf || echo overridden >> log\necho "$*" >> log\nexit ${status}\n`
  writeFileSync(at('terraform'), script, { mode: 0o755 })
  const first: FirstState = {
    file: at('dev.tfstate'),
    override: at('backend_override.tf'),
    backend: BACKEND,
  }
  const stack: Stack = {
    name: 'bootstrap',
    environment: readEnvironment({ ENV: 'dev' }),
    directory,
    dataDirectory: directory,
    variables: { PATH: `${directory}:${process.env['PATH']}` },
    options: [],
    firstState: first,
  }
  return { stack, first, commands: () => readFileSync(at('log'), 'utf8').trim().split('\n') }
}

t.test('without a bucket, the state is in a file', async (t) => {
  const { first } = newStack(t)
  t.equal(await useFirstState(first, async () => false), true)
  t.match(readFileSync(first.override, 'utf8'), `path = "${first.file}"`)
})

t.test('with a bucket, Terraform does not use a file any more', async (t) => {
  const { first } = newStack(t)
  writeFileSync(first.override, '')
  t.equal(await useFirstState(first, async () => true), false)
  t.notOk(existsSync(first.override))
})

t.test('after an interruption, the file has the state although the bucket exists', async (t) => {
  const { first } = newStack(t)
  writeFileSync(first.file, '{}')
  t.equal(await useFirstState(first, async () => true), true)
  t.ok(existsSync(first.override))
})

t.test('the state moves into the bucket, and the file goes', async (t) => {
  const { stack, first, commands } = newStack(t)
  await useFirstState(first, async () => false)
  writeFileSync(first.file, '{}')
  await moveFirstState(stack, first)
  t.strictSame(commands(), ['init -no-color -migrate-state -force-copy -backend-config=bucket=states'])
  t.notOk(existsSync(first.file))
})

t.test('the file stays if the state cannot be moved', async (t) => {
  const { stack, first } = newStack(t, 1)
  writeFileSync(first.file, '{}')
  await t.rejects(moveFirstState(stack, first))
  t.ok(existsSync(first.file))
})
