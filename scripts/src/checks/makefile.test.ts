import { chmodSync, cpSync, readFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'

/** Replaces Node, and records when a step begins and ends. */
const node = `#!/bin/sh
echo "begin $*" >> steps
sleep 0.2
echo "end $*" >> steps
`

t.test('`make up` runs its steps one after the other, even with -j', async (t) => {
  const directory = t.testdir({ 'package-lock.json': '{}', node_modules: { '.bin': { node } } })
  cpSync(join(REPOSITORY_ROOT, 'Makefile'), join(directory, 'Makefile'))
  chmodSync(join(directory, 'node_modules/.bin/node'), 0o755)
  // Older than node_modules, so that nothing is installed.
  utimesSync(join(directory, 'package-lock.json'), 0, 0)
  const { MAKEFLAGS: _, MAKELEVEL: __, ...env } = process.env
  await execa('make', ['-j8', 'up'], { cwd: directory, env, extendEnv: false })
  const steps = readFileSync(join(directory, 'steps'), 'utf8').trimEnd().split('\n')
  const begun = steps.filter((step) => step.startsWith('begin '))
  t.match(
    begun,
    [/cli\.ts up/, /stack\.ts apply/, /image\.ts build/, /image\.ts push/, /deploy\.ts/, /run\.ts scaling/],
    'in this order',
  )
  t.strictSame(
    steps,
    begun.flatMap((step) => [step, step.replace('begin', 'end')]),
  )
})
