import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { statePath } from './prepare-stack.ts'
import { clusterOutputs, stackOutputs } from './state.ts'

const BUCKET = 'fastify-eks-state-123456789012-eu-central-1'
const AWS = { ENV: 'dev', KUBE_CONTEXT: 'some-context' }

const state = (outputs: Record<string, unknown>) =>
  JSON.stringify({
    version: 4,
    outputs: Object.fromEntries(
      Object.entries(outputs).map(([name, value]) => [name, { value, type: 'dynamic' }]),
    ),
    resources: [],
  })

/** STS, and S3 with the states of an environment. It answers what it does not have with an error of this code. */
async function startAws(
  t: Test,
  states: Record<string, string>,
  missing = { status: 404, code: 'NoSuchKey' },
) {
  const requests: string[] = []
  const server = createServer(async (request, response) => {
    await request.toArray()
    const path = request.url?.split('?')[0] ?? ''
    requests.push(path)
    response.setHeader('content-type', 'application/xml')
    if (path === '/') {
      const identity = '<GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult>'
      response.end(`<GetCallerIdentityResponse>${identity}</GetCallerIdentityResponse>`)
      return
    }
    const found = states[path]
    if (found === undefined) response.statusCode = missing.status
    response.end(found ?? `<Error><Code>${missing.code}</Code><Message>${missing.code}</Message></Error>`)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_ACCESS_KEY_ID: 'id',
    AWS_SECRET_ACCESS_KEY: 'secret',
  })
  return requests
}

t.test('on AWS, the outputs of stacks are read from the states in the bucket of the account', async (t) => {
  const requests = await startAws(t, {
    [`/${BUCKET}/dev/data.tfstate`]: state({ service_secret: 'a', cache: { port: 6379 } }),
    [`/${BUCKET}/dev/edge.tfstate`]: state({}),
  })
  t.strictSame(await stackOutputs(readEnvironment(AWS), 'data', 'edge'), {
    data: { service_secret: 'a', cache: { port: 6379 } },
    edge: {},
  })
  t.equal(requests.filter((path) => path === '/').length, 1, 'the bucket is looked up once')
})

t.test('a stack that was never applied has no outputs', async (t) => {
  await startAws(t, {})
  t.strictSame(await stackOutputs(readEnvironment(AWS), 'edge'), { edge: {} })
})

t.test('an account without a state bucket has no outputs', async (t) => {
  await startAws(t, {}, { status: 404, code: 'NoSuchBucket' })
  t.strictSame(await stackOutputs(readEnvironment(AWS), 'edge'), { edge: {} })
})

t.test('a state that the caller may not read is named', async (t) => {
  await startAws(t, {}, { status: 403, code: 'AccessDenied' })
  await t.rejects(stackOutputs(readEnvironment(AWS), 'data'), {
    message: `the state of the stack data, s3://${BUCKET}/dev/data.tfstate, cannot be read: AccessDenied`,
    nextStep: 'use a role that may read it, such as the one that applies the stacks',
  })
})

t.test("in the box, they are read from the box's directory", async (t) => {
  const local = readEnvironment({ ENV: 'local' })
  const environment = { ...local, box: { ...local.box, stateDir: t.testdir({}) } }
  t.strictSame(await stackOutputs(environment, 'cluster'), { cluster: {} }, 'not applied')
  const file = statePath(environment.box, 'cluster')
  mkdirSync(dirname(file))
  writeFileSync(file, '')
  t.strictSame(await stackOutputs(environment, 'cluster'), { cluster: {} }, 'locked by its first apply')
  writeFileSync(file, state({ cluster_name: 'name', zones: ['a'] }))
  t.strictSame(await stackOutputs(environment, 'cluster'), {
    cluster: { cluster_name: 'name', zones: ['a'] },
  })
  t.strictSame(await clusterOutputs(environment), { cluster_name: 'name', zones: undefined })
})
