import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { ActionableError } from 'shared/errors'
import t from 'tap'
import { definitionFiles } from './custom-resource-definitions.ts'

t.test('the pinned modules contain the definition of every custom kind in the charts', async (t) => {
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

t.test('a missing Go is reported with the next step', async (t) => {
  t.intercept(process, 'env', { value: { ...process.env, PATH: '/nowhere' } })
  await t.rejects(
    definitionFiles(),
    new ActionableError(
      'downloading the definitions of custom kinds needs Go, which is not installed',
      'install Go; `make doctor` prints the required version',
    ),
  )
})

t.test('an unreachable module proxy is reported with the variable to set', async (t) => {
  const env = { ...process.env, GOPROXY: 'off', GOMODCACHE: t.testdir() }
  t.intercept(process, 'env', { value: env })
  await t.rejects(definitionFiles(), {
    message: /cannot be downloaded: [\s\S]*GOPROXY=off/,
    nextStep: 'set GOPROXY to a Go module proxy that this machine can reach',
  })
})
