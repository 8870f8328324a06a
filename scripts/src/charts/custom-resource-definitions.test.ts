import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { ActionableError } from 'shared/errors'
import t from 'tap'
import { definitionFiles } from './custom-resource-definitions.ts'

t.test('the pinned modules hold the definition of every custom kind in the charts', async (t) => {
  const files = await definitionFiles()
  t.strictSame(
    files.filter((file) => !existsSync(file)),
    [],
  )
  t.strictSame(files.map((file) => basename(file)).sort(), [
    'external-secrets.io_externalsecrets.yaml',
    'gateway.networking.k8s.io_httproutes.yaml',
    'karpenter.k8s.aws_ec2nodeclasses.yaml',
    'karpenter.sh_nodepools.yaml',
    'monitoring.coreos.com_prometheusrules.yaml',
    'monitoring.coreos.com_servicemonitors.yaml',
  ])
})

t.test('what is missing is named with what to do about it', async (t) => {
  t.intercept(process, 'env', { value: { ...process.env, PATH: '/nowhere' } })
  await t.rejects(
    definitionFiles(),
    new ActionableError(
      'the Go toolchain is not installed, so the definitions of custom kinds cannot be downloaded',
      'Install Go, `make doctor` says which version.',
    ),
  )
})

t.test('without a proxy, and with an empty cache, it says which variable to set', async (t) => {
  const env = { ...process.env, GOPROXY: 'off', GOMODCACHE: t.testdir() }
  t.intercept(process, 'env', { value: env })
  await t.rejects(definitionFiles(), {
    message: /cannot be downloaded: [\s\S]*GOPROXY=off/,
    nextStep: 'Set GOPROXY to a Go module proxy this machine can reach.',
  })
})
