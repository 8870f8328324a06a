import { readConfig } from 'eks-box/config'
import t from 'tap'
import { checkLoadRoutes, checkReady, readBaseUrl, readCluster, rootCause } from './environment.ts'
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

t.test('the cluster is the one that a deployment would use', async (t) => {
  const stateDir = t.testdir({ kubeconfig: kubeconfig('http://127.0.0.1:1') })
  t.equal(readCluster({}, { ...box, stateDir }).getCurrentCluster()?.server, 'http://127.0.0.1:1')
  t.throws(() => readCluster({}, { ...box, stateDir: `${stateDir}/none` }), {
    message: 'the box is not up',
    nextStep: /make up/,
  })
  const mine = kubeconfig('http://127.0.0.1:2').replaceAll('fake', 'fastify-eks-dev')
  const directory = t.testdir({ mine })
  t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: `${directory}/mine` } })
  for (const environment of [{ ENV: 'dev' }, { KUBE_CONTEXT: 'fastify-eks-dev' }]) {
    t.equal(readCluster(environment, box).getCurrentCluster()?.server, 'http://127.0.0.1:2')
  }
  t.throws(() => readCluster({ ENV: 'staging' }, box), {
    message: 'your kubeconfig has no context fastify-eks-staging',
  })
  t.throws(() => readCluster({ ENV: 'production' }, box), { message: /which is no environment/ })
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

t.test('a service without routes for load tests is found before the load', async (t) => {
  const service = await startService(() => 404)
  t.teardown(service.close)
  await checkLoadRoutes(service.url)
  await t.rejects(checkLoadRoutes(`${service.url}/other`), {
    message: /has no routes for load tests: .* answers 404/,
    nextStep: /config.loadEndpointsEnabled/,
  })
})

t.test('the cause at the bottom is told', async (t) => {
  t.equal(rootCause('text'), 'text')
  t.equal(rootCause(new TypeError('fetch failed', { cause: new Error('refused') })), 'refused')
  t.equal(rootCause(new AggregateError([new Error('no IPv6'), new Error('no IPv4')])), 'no IPv6')
})
