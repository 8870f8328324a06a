import t from 'tap'
import { buildCapacityWebhook } from './capacity-webhook.ts'

t.test('a node reports the capacity of its instance type', async (t) => {
  const app = await buildCapacityWebhook({
    // Without a certificate, the server can be called in this process but not connected to.
    tls: { cert: '', key: '' },
    capacityOf: (name) => (name === 'instance' ? { milliCpu: 2000, memoryMiB: 1894 } : undefined),
  })
  t.teardown(() => app.close())
  const review = async (name: string, status?: object) => {
    const payload = { request: { uid: '1', object: { metadata: { name }, status } } }
    return (await app.inject({ method: 'POST', url: '/capacity', payload })).json()
  }
  const status = { capacity: { cpu: '8', memory: '16Gi', pods: '20' } }
  const changed = await review('instance', status)
  t.match(changed, {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: '1', allowed: true, patchType: 'JSONPatch' },
  })
  t.strictSame(JSON.parse(Buffer.from(changed.response.patch, 'base64').toString()), [
    { op: 'add', path: '/status/capacity/cpu', value: '2000m' },
    { op: 'add', path: '/status/capacity/memory', value: '1894Mi' },
  ])
  t.strictSame((await review('other', status)).response, { uid: '1', allowed: true })
  t.strictSame((await review('instance', {})).response, { uid: '1', allowed: true }, 'no capacity yet')
})
