import { readConfig } from 'eks-box/config'
import t from 'tap'
import { checkReady, loadKubeConfig, readBaseUrl, rootCause } from './environment.ts'
import { kubeconfig, startService } from './test-servers.ts'

const box = readConfig({ BOX_SERVICE_PORT: '8123' })

t.test('the box has a URL of its own, every other target needs BASE_URL', async (t) => {
  t.equal(readBaseUrl({}, box), 'http://127.0.0.1:8123')
  t.equal(readBaseUrl({ ENV: 'local', BASE_URL: '' }, box), 'http://127.0.0.1:8123')
  t.equal(readBaseUrl({ BASE_URL: 'https://shop.example/app//' }, box), 'https://shop.example/app')
  for (const environment of [{ ENV: 'prod' }, { KUBE_CONTEXT: 'kind' }]) {
    t.throws(() => readBaseUrl(environment, box), { message: 'BASE_URL is not set' })
  }
  for (const BASE_URL of ['shop.example', 'ftp://shop.example']) {
    t.throws(() => readBaseUrl({ BASE_URL }, box), { message: `BASE_URL is "${BASE_URL}"` })
  }
})

t.test("the box's own kubeconfig is taken unless a context is named", async (t) => {
  const stateDir = t.testdir({ kubeconfig: kubeconfig('http://127.0.0.1:1') })
  t.equal(loadKubeConfig({}, { ...box, stateDir }).getCurrentCluster()?.server, 'http://127.0.0.1:1')
  t.throws(() => loadKubeConfig({}, { ...box, stateDir: `${stateDir}/none` }), {
    message: /has not been started/,
    nextStep: /make up/,
  })
})

t.test('a context must be named and exist', async (t) => {
  const directory = t.testdir({ mine: kubeconfig('http://127.0.0.1:2') })
  t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: `${directory}/mine` } })
  const config = loadKubeConfig({ KUBE_CONTEXT: 'fake' }, box)
  t.equal(config.getCurrentCluster()?.server, 'http://127.0.0.1:2')
  t.throws(() => loadKubeConfig({ KUBE_CONTEXT: 'other' }, box), {
    message: /KUBE_CONTEXT is "other"/,
    nextStep: 'choose one of: fake',
  })
  t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: `${directory}/none` } })
  t.throws(() => loadKubeConfig({ KUBE_CONTEXT: 'fake' }, box), {
    message: /cannot read the kubeconfig: ENOENT/,
  })
  t.throws(() => loadKubeConfig({ ENV: 'dev' }, box), { message: 'KUBE_CONTEXT is not set for ENV=dev' })
})

t.test('a target that takes no requests is found before the load', async (t) => {
  const service = await startService()
  await checkReady(service.url)
  await service.close()
  const draining = await startService(() => 503)
  t.teardown(draining.close)
  await t.rejects(checkReady(`${draining.url}/draining`), { message: /draining.readyz answers 503/ })
  await t.rejects(checkReady(service.url), { message: /does not answer: connect ECONNREFUSED/ })
})

t.test('the cause at the bottom is told', async (t) => {
  t.equal(rootCause('text'), 'text')
  t.equal(rootCause(new TypeError('fetch failed', { cause: new Error('refused') })), 'refused')
  t.equal(rootCause(new AggregateError([new Error('no IPv6'), new Error('no IPv4')])), 'no IPv6')
})
