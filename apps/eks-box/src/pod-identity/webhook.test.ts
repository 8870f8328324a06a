import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { boxPaths } from '../state-directory.ts'
import type { ServiceAccount } from './mutation.ts'
import { buildPodIdentityWebhook, webhookManifest, writeWebhookManifest } from './webhook.ts'

const review = (spec: object) => ({
  apiVersion: 'admission.k8s.io/v1',
  kind: 'AdmissionReview',
  request: { uid: '1', namespace: 'apps', object: { metadata: {}, spec } },
})

async function start(t: Test, serviceAccount: (name: string) => ServiceAccount) {
  const app = await buildPodIdentityWebhook({
    // Without a certificate, the server can be called in this process but not connected to.
    tls: { cert: '', key: '' },
    serviceAccount: async (namespace, name) => serviceAccount(`${namespace}/${name}`),
  })
  t.teardown(() => app.close())
  return (payload: object) => app.inject({ method: 'POST', url: '/mutate', payload })
}

t.test('a review is answered with a patch, or without one', async (t) => {
  const call = await start(t, (name) => ({ annotations: {}, isAssociated: name === 'apps/one' }))
  const changed = (await call(review({ serviceAccountName: 'one', containers: [{ name: 'app' }] }))).json()
  t.match(changed, {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: '1', allowed: true, patchType: 'JSONPatch' },
  })
  t.match(JSON.parse(Buffer.from(changed.response.patch, 'base64').toString()), [
    { op: 'add', path: '/spec/volumes' },
    { op: 'add', path: '/spec/containers' },
  ])
  const same = (await call(review({ serviceAccountName: 'two', containers: [{ name: 'app' }] }))).json()
  t.strictSame(same.response, { uid: '1', allowed: true })
})

t.test('a failure is an error for the API server, which ignores it, and is logged', async (t) => {
  const logged = t.capture(console, 'error')
  const call = await start(t, () => {
    throw new Error('the API server did not respond')
  })
  t.equal((await call(review({ containers: [{ name: 'app' }] }))).statusCode, 500)
  t.match(logged()[0], { args: ['a pod gets no credentials: the API server did not respond'] })
})

t.test('the configuration has the values of EKS', async (t) => {
  const config = readBoxConfig({ BOX_STATE_DIR: t.testdir().slice(0, 40), BOX_NAME: 'a' })
  const { pki, config: directory } = boxPaths(config)
  for (const path of [pki, directory]) mkdirSync(path, { recursive: true })
  writeFileSync(`${pki}/ca.crt`, 'certificate')
  await writeWebhookManifest(config)
  t.match(parse(readFileSync(webhookManifest(config), 'utf8')), {
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'pod-identity-webhook' },
    webhooks: [
      {
        name: 'iam-for-pods.amazonaws.com',
        clientConfig: {
          url: 'https://127.0.0.1:23443/mutate',
          caBundle: Buffer.from('certificate').toString('base64'),
        },
        failurePolicy: 'Ignore',
        reinvocationPolicy: 'IfNeeded',
        timeoutSeconds: 10,
      },
    ],
  })
})
