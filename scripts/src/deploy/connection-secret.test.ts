import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node'
import { readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { copySecret, provideConnectionSecret } from './connection-secret.ts'

const target = { namespace: 'shop', name: 'shop-secret' }
async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A Secrets Manager that answers every question alike. */
async function secretsManager(t: Test, answer: object, status = 200): Promise<SecretsManagerClient> {
  const endpoint = await serve(t, (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(answer))
  })
  return new SecretsManagerClient({
    endpoint,
    region: 'eu-central-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    maxAttempts: 1,
  })
}

/** An API server that answers with `status` and tells what it was asked. */
async function cluster(t: Test, status = 200) {
  const asked: {
    method: string | undefined
    url: string | undefined
    type: string | undefined
    body: string
  }[] = []
  const server = await serve(t, async (request, response) => {
    const body = (await (request as IncomingMessage).toArray()).join('')
    const { method, url, headers } = request
    asked.push({ method, url, type: headers['content-type'], body })
    response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
  })
  const kubeConfig = new KubeConfig()
  kubeConfig.loadFromClusterAndUser({ name: 'c', skipTLSVerify: true, server }, { name: 'u' })
  return { core: kubeConfig.makeApiClient(CoreV1Api), asked }
}

t.test('each text of the secret becomes a key of the Secret', async (t) => {
  const { core, asked } = await cluster(t)
  const secret = { SecretString: '{"DATABASE_URL":"postgres://a","REDIS_URL":"redis://b"}' }
  await copySecret(await secretsManager(t, secret), 'shop/local', core, target)
  t.match(asked, [
    {
      method: 'PATCH',
      url: /^\/api\/v1\/namespaces\/shop\/secrets\/shop-secret\?/,
      type: 'application/apply-patch+yaml',
    },
  ])
  t.match(
    new URL(asked[0]?.url ?? '', 'http://x').searchParams.get('force'),
    'true',
    'whoever wrote it before',
  )
  const { metadata, data } = JSON.parse(asked[0]?.body ?? '')
  t.strictSame(metadata, target)
  t.strictSame(data, {
    DATABASE_URL: Buffer.from('postgres://a').toString('base64'),
    REDIS_URL: Buffer.from('redis://b').toString('base64'),
  })
})

t.test('a secret that is not there is told with the way to get it', async (t) => {
  const { core, asked } = await cluster(t)
  const manager = await secretsManager(
    t,
    { __type: 'ResourceNotFoundException', message: "Secrets Manager can't find the specified secret." },
    400,
  )
  await t.rejects(copySecret(manager, 'shop/local', core, target), {
    message: /^the secret shop\/local cannot be read from Secrets Manager: .*can't find/,
    nextStep: /make down/,
  })
  t.strictSame(asked, [], 'and the cluster keeps what it has')
})

t.test('a secret of another shape is refused without showing it', async (t) => {
  const { core } = await cluster(t)
  for (const SecretString of [
    'hunter2',
    '"hunter2"',
    '["hunter2"]',
    '{"password":{"is":"hunter2"}}',
    'null',
  ]) {
    const copy = copySecret(await secretsManager(t, { SecretString }), 'shop/local', core, target)
    const failure: unknown = await copy.catch((error: unknown) => error)
    t.match(failure, { message: 'the secret shop/local in Secrets Manager is no JSON object of texts' })
    t.notMatch(String(failure), 'hunter2')
  }
})

t.test('on AWS the External Secrets operator provides it, and nothing is asked', async (t) => {
  const { core, asked } = await cluster(t)
  t.equal(await provideConnectionSecret(readEnvironment({ ENV: 'dev' }), core, target), true)
  t.strictSame(asked, [])
})

t.test('in a cluster of the user’s own, it is the user’s: there or not', async (t) => {
  const own = readEnvironment({ KUBE_CONTEXT: 'kind' })
  const having = await cluster(t)
  t.equal(await provideConnectionSecret(own, having.core, target), true)
  const lacking = await cluster(t, 404)
  t.equal(await provideConnectionSecret(own, lacking.core, target), false)
  t.match(lacking.asked, [{ method: 'GET' }], 'and nothing is written')
})

t.test('a cluster that does not let it be read is not taken for one without', async (t) => {
  const { core } = await cluster(t, 403)
  const own = readEnvironment({ KUBE_CONTEXT: 'kind' })
  await t.rejects(provideConnectionSecret(own, core, target), { code: 403 })
})

t.test('a box that is not up is told', async (t) => {
  const { core } = await cluster(t)
  await t.rejects(provideConnectionSecret(readEnvironment({ BOX_STATE_DIR: '/nowhere' }), core, target), {
    message: 'the box is not up',
  })
})
