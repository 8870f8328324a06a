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

/** A Secrets Manager that gives the same answer to every request. */
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

/** An API server that answers with `status` and records its requests. */
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

t.test('each string of the secret becomes a key of the Secret', async (t) => {
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
    'even if somebody else wrote it before',
  )
  const { metadata, data } = JSON.parse(asked[0]?.body ?? '')
  t.strictSame(metadata, target)
  t.strictSame(data, {
    DATABASE_URL: Buffer.from('postgres://a').toString('base64'),
    REDIS_URL: Buffer.from('redis://b').toString('base64'),
  })
})

t.test('a missing secret is reported with the next step', async (t) => {
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
  t.strictSame(asked, [], 'the Secret in the cluster is not changed')
})

t.test('a secret of another format is refused without printing it', async (t) => {
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
    t.match(failure, { message: 'the secret shop/local in Secrets Manager is not a JSON object of strings' })
    t.notMatch(String(failure), 'hunter2')
  }
})

t.test('on AWS, where the External Secrets operator provides it, nothing is requested', async (t) => {
  const { core, asked } = await cluster(t)
  t.equal(await provideConnectionSecret(readEnvironment({ ENV: 'dev' }), core, target), true)
  t.strictSame(asked, [])
})

t.test('in a user’s own cluster, the Secret may exist or not', async (t) => {
  const own = readEnvironment({ KUBE_CONTEXT: 'kind' })
  const withSecret = await cluster(t)
  t.equal(await provideConnectionSecret(own, withSecret.core, target), true)
  const withoutSecret = await cluster(t, 404)
  t.equal(await provideConnectionSecret(own, withoutSecret.core, target), false)
  t.match(withoutSecret.asked, [{ method: 'GET' }], 'nothing is written')
})

t.test('a refusal to read the Secret is an error', async (t) => {
  const { core } = await cluster(t, 403)
  const own = readEnvironment({ KUBE_CONTEXT: 'kind' })
  await t.rejects(provideConnectionSecret(own, core, target), { code: 403 })
})

t.test('it needs a running box', async (t) => {
  const { core } = await cluster(t)
  await t.rejects(provideConnectionSecret(readEnvironment({ BOX_STATE_DIR: '/nowhere' }), core, target), {
    message: 'the box is not up',
  })
})
