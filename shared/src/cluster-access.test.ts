import { join } from 'node:path'
import t from 'tap'
import { loadKubeConfig } from './cluster-access.ts'

const kubeconfig = (server: string) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'shop', cluster: { server } }],
    users: [{ name: 'me', user: {} }],
    contexts: [{ name: 'fastify-eks-dev', context: { cluster: 'shop', user: 'me' } }],
    'current-context': 'fastify-eks-dev',
  })

t.test('the box is reached with its own kubeconfig', async (t) => {
  const directory = t.testdir({ kubeconfig: kubeconfig('http://127.0.0.1:1') })
  const box = loadKubeConfig({ from: 'box', kubeconfig: join(directory, 'kubeconfig') })
  t.equal(box.getCurrentCluster()?.server, 'http://127.0.0.1:1')
  t.throws(() => loadKubeConfig({ from: 'box', kubeconfig: join(directory, 'none') }), {
    message: 'the box is not up',
    nextStep: /make up/,
  })
})

t.test("any other cluster is reached with a context of the user's kubeconfig", async (t) => {
  const directory = t.testdir({ mine: kubeconfig('http://127.0.0.1:2') })
  t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: join(directory, 'mine') } })
  const dev = loadKubeConfig({ from: 'make kubeconfig', context: 'fastify-eks-dev' })
  t.equal(dev.getCurrentCluster()?.server, 'http://127.0.0.1:2')
  t.throws(() => loadKubeConfig({ from: 'KUBE_CONTEXT', context: 'kind' }), {
    message: 'your kubeconfig has no context kind',
    nextStep: /make kubeconfig/,
  })
})

t.test('a kubeconfig that cannot be read is reported', async (t) => {
  t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: '/nowhere/kubeconfig' } })
  t.throws(() => loadKubeConfig({ from: 'KUBE_CONTEXT', context: 'kind' }), {
    message: /kubeconfig cannot be read: .*\/nowhere\/kubeconfig/,
    nextStep: /KUBECONFIG/,
  })
})
