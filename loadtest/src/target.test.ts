import { readEnvironment } from 'shared/environment'
import t from 'tap'
import { checkLoadRoutes, checkReady, readBaseUrl } from './target.ts'
import { startService } from './test-servers.ts'

const read = (env: NodeJS.ProcessEnv) => {
  const variables = { BOX_SERVICE_PORT: '8123', ...env }
  return readBaseUrl(readEnvironment(variables), variables)
}

t.test('BASE_URL has a default for the box, and is required otherwise', async (t) => {
  t.equal(read({}), 'http://127.0.0.1:8123')
  t.equal(read({ ENV: 'local', BASE_URL: '' }), 'http://127.0.0.1:8123')
  t.equal(read({ BASE_URL: 'https://shop.example/app//' }), 'https://shop.example/app')
  for (const environment of [{ ENV: 'prod' }, { KUBE_CONTEXT: 'kind' }]) {
    t.throws(() => read(environment), { message: 'BASE_URL is not set' })
  }
  for (const BASE_URL of ['shop.example', 'ftp://shop.example']) {
    t.throws(() => read({ BASE_URL }), { message: `BASE_URL is "${BASE_URL}"` })
  }
})

t.test('a target that is not ready is reported before the load', async (t) => {
  const service = await startService()
  await checkReady(service.url)
  await service.close()
  const draining = await startService(() => 503)
  t.teardown(draining.close)
  await t.rejects(checkReady(`${draining.url}/draining`), { message: /draining.readyz answers 503/ })
  await t.rejects(checkReady(service.url), { message: /does not answer: connect ECONNREFUSED/ })
})

t.test('a service without routes for load tests is reported before the load', async (t) => {
  const service = await startService(() => 404)
  t.teardown(service.close)
  await checkLoadRoutes(service.url)
  await t.rejects(checkLoadRoutes(`${service.url}/other`), {
    message: /has no routes for load tests: .* answers 404/,
    nextStep: /config.loadEndpointsEnabled/,
  })
})
