import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'

/** Runs the command as `make compare-signals` does. */
function compareSignals(args: readonly string[], env: Record<string, string>) {
  return execa(process.execPath, [join(import.meta.dirname, 'compare-signals.ts'), ...args], {
    env: { ENV: '', KUBE_CONTEXT: '', ...env },
    reject: false,
  })
}

t.test('a mistake in the options is reported with what is possible', async (t) => {
  const { exitCode, stderr } = await compareSignals(['--signals', 'cpu,memory'], {})
  t.equal(exitCode, 1)
  t.match(stderr, 'Use some of cpu,elu,requests,cpu+elu,cpu+requests.')
  t.match((await compareSignals(['--runs', '0'], {})).stderr, 'Use a whole number')
  t.match((await compareSignals(['--cpu-limit', 'half'], {})).stderr, 'Use a quantity')
})

t.test('releases on AWS are not changed', async (t) => {
  const { exitCode, stderr } = await compareSignals([], { ENV: 'prod' })
  t.equal(exitCode, 1)
  t.match(stderr, /^error: ENV is prod, but .*\n next: \S/)
})

t.test('an interruption during a deployment restores the release', async (t) => {
  const directory = t.testdir({
    asked: '',
    kubeconfig: JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:9', 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user: {} }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    }),
  })
  const helm = join(directory, 'helm')
  writeFileSync(
    helm,
    `#!/bin/sh
if test "$1" = history; then echo '[{"revision":4,"status":"deployed"}]'; exit; fi
echo "$1 $2 $3" >> ${directory}/asked
test "$1" != upgrade || exec sleep 600
`,
  )
  chmodSync(helm, 0o755)
  const asked = () => readFileSync(join(directory, 'asked'), 'utf8')
  const command = compareSignals(['--signals', 'cpu', '--runs', '1'], {
    HELM: helm,
    KUBECONFIG: join(directory, 'kubeconfig'),
    KUBE_CONTEXT: 'x',
  })
  while (asked() === '') await sleep(50)
  command.kill('SIGINT')
  const { exitCode, stdout, stderr } = await command
  t.equal(exitCode, 130)
  t.equal(stdout, '', 'there is no table without a round')
  t.match(stderr, /stopping\nrestoring the release$/)
  t.match(asked(), /^upgrade .*\nrollback fastify-app 4\n$/)
})
