import { chmodSync, cpSync, readFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'

/**
 * Replaces Node. Records when a step begins and ends, or is terminated. The step that FAIL names fails, and the build of
 * tools then never ends.
 */
const node = `#!/bin/sh
trap 'echo "stopped $*" >> steps; kill $!; exit 1' TERM
echo "begin $*" >> steps
case "$*" in
  *" $FAIL "*) exit 1 ;;
  *" tools "*) test -z "$FAIL" || { sleep 600 & wait $!; } ;;
esac
sleep 0.2
echo "end $*" >> steps
`

/** Runs \`make up\` with the replaced Node; resolves to what it recorded. */
async function makeUp(t: Test, options: string[], failing = '') {
  const directory = t.testdir({ 'package-lock.json': '{}', node_modules: { '.bin': { node } } })
  cpSync(join(REPOSITORY_ROOT, 'Makefile'), join(directory, 'Makefile'))
  chmodSync(join(directory, 'node_modules/.bin/node'), 0o755)
  // Older than node_modules, so that nothing is installed.
  utimesSync(join(directory, 'package-lock.json'), 0, 0)
  const { MAKEFLAGS: _, MAKELEVEL: __, ...env } = process.env
  const { failed } = await execa('make', [...options, 'up'], {
    cwd: directory,
    env: { ...env, FAIL: failing },
    extendEnv: false,
    reject: false,
  })
  t.equal(failed, failing !== '')
  return readFileSync(join(directory, 'steps'), 'utf8').trimEnd().split('\n')
}

t.test('`make up` runs its steps one after the other, even with -j', async (t) => {
  const lines = await makeUp(t, ['-j8'])
  const steps = lines.filter((line) => !/cli\.ts tools/.test(line))
  const begun = steps.filter((step) => step.startsWith('begin '))
  t.match(
    begun,
    [
      ...[/cli\.ts up/, /stack\.ts apply/, /image\.ts build/, /image\.ts push/],
      ...[/stack\.ts apply/, /stack\.ts apply/, /deploy\.ts/, /run\.ts scaling/],
    ],
    'in this order',
  )
  t.strictSame(
    steps,
    begun.flatMap((step) => [step, step.replace('begin', 'end')]),
  )
})

t.test('meanwhile, `make up` builds the tools of the later steps', async (t) => {
  const lines = await makeUp(t, [])
  const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line))
  t.ok(at(/^begin .*tools .*karpenter/) < at(/^end .*stack\.ts apply/), 'beside the apply')
  const platform = lines.findLastIndex((line) => /^begin .*stack\.ts apply/.test(line))
  t.ok(at(/^end .*tools .*karpenter/) < platform, 'and before the platform, which needs them')
  t.ok(at(/^begin .*tools .*k6/) < at(/^begin .*deploy\.ts/), 'k6 beside the platform and the deployment')
  t.ok(at(/^end .*tools .*k6/) < at(/^begin .*run\.ts/), 'and before the load')
})

t.test('a failed step ends `make up` and the build of tools', async (t) => {
  const lines = await makeUp(t, [], 'apply')
  t.match(lines.at(-1), /^stopped .*cli\.ts tools/)
})
