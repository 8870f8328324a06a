import { ApiException, type CustomObjectsApi } from '@kubernetes/client-node'
import t from 'tap'
import {
  type ExternalSecret,
  findExternalSecret,
  readExternalSecret,
  synchronize,
} from './external-secret.ts'

const SECRET: ExternalSecret = {
  apiVersion: 'external-secrets.io/v1',
  kind: 'ExternalSecret',
  metadata: { name: 'fastify-app' },
  spec: { target: { name: 'fastify-app' } },
}

/** The cluster's API with an operator, which gives each applied ExternalSecret a status. */
function cluster(status: ExternalSecret['status'] | 'no kind') {
  const applied: ExternalSecret[] = []
  const missing = () => new ApiException(404, 'not found', '', {})
  const api = {
    patchNamespacedCustomObject: async ({ body }: { body: ExternalSecret }) => {
      if (status === 'no kind') throw missing()
      applied.push(body)
    },
    getNamespacedCustomObject: async () => {
      if (status === 'no kind' || applied.length === 0) throw missing()
      return { ...applied.at(-1), status }
    },
  } as unknown as CustomObjectsApi
  return { api, applied }
}

t.test('the ExternalSecret is found among rendered manifests by its name', async (t) => {
  const manifests = `---
kind: ExternalSecret
metadata: { name: fastify-app-migration }
---
kind: ExternalSecret
metadata: { name: fastify-app }
spec: { target: { name: fastify-app } }
`
  t.match(findExternalSecret(manifests, 'fastify-app'), { spec: { target: { name: 'fastify-app' } } })
  t.equal(findExternalSecret('', 'fastify-app'), undefined)
})

t.test('it returns once the operator has read the store after the request', async (t) => {
  const { api, applied } = cluster({
    refreshTime: new Date().toISOString(),
    conditions: [{ type: 'Ready', status: 'True' }],
  })
  await synchronize(api, 'namespace', SECRET, 0)
  t.match(applied, [{ spec: SECRET.spec, metadata: { annotations: { 'fastify-eks/requested': /^20/ } } }])
})

t.test('a result from before the request does not count', async (t) => {
  const { api } = cluster({
    refreshTime: '2026-01-01T00:00:00Z',
    conditions: [{ type: 'Ready', status: 'True' }],
  })
  await t.rejects(synchronize(api, 'namespace', SECRET, 0), {
    message: 'the secret fastify-app was not read from Secrets Manager: no operator has processed it',
  })
})

t.test('the operator’s error is reported', async (t) => {
  const { api } = cluster({
    conditions: [
      { type: 'Ready', status: 'False', reason: 'SecretSyncedError', message: 'could not get secret data' },
    ],
  })
  await t.rejects(synchronize(api, 'namespace', SECRET, 0), {
    message:
      'the secret fastify-app was not read from Secrets Manager: SecretSyncedError: could not get secret data',
  })
})

t.test('without the kind, there is no operator', async (t) => {
  const { api } = cluster('no kind')
  await t.rejects(synchronize(api, 'namespace', SECRET, 0), {
    message: 'the cluster has no External Secrets operator',
  })
  t.equal(await readExternalSecret(api, 'namespace', 'fastify-app'), undefined)
})
