import { basename } from 'node:path'
import t from 'tap'
import { variableFiles } from './prepare-stack.ts'

const names = (...args: Parameters<typeof variableFiles>) =>
  variableFiles(...args).map((file) => basename(file))

t.test("the box's variables also depend on the machine's architecture", async (t) => {
  const files = ['cluster.network.tfvars', 'cluster.tfvars']
  t.strictSame(names('cluster', 'local', 'local', 'x64'), [...files, 'cluster.amd64.tfvars'])
  t.strictSame(names('cluster', 'local', 'local', 'arm64'), files)
  t.strictSame(names('platform', 'local', 'local', 'x64'), ['platform.tfvars', 'platform.amd64.tfvars'])
})

t.test('the variables of other environments do not', async (t) => {
  t.strictSame(names('cluster', 'local', 'dev', 'x64'), ['cluster.network.tfvars', 'cluster.tfvars'])
  t.strictSame(names('platform', 'prod', 'prod', 'x64'), ['platform.tfvars'])
})

t.test("a plan of another environment can use the box's domain", async (t) => {
  t.match(variableFiles('edge', 'local', 'prod'), [/local\/domain\.tfvars$/, /prod\/edge\.tfvars$/])
})
