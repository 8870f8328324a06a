import type { V1Ingress } from '@kubernetes/client-node'
import { readEnvironment } from 'shared/environment'
import t from 'tap'
import { checkReady, hasLoadRoutes, noLoadRoutes, resolveBaseUrl, resolveUrlForPods } from './target.ts'
import { startService } from './test-servers.ts'

const resolve = (env: NodeJS.ProcessEnv, ingresses: V1Ingress[] | null = []) => {
  const variables = { BOX_SERVICE_PORT: '8123', ...env }
  return resolveBaseUrl(readEnvironment(variables), variables, ingresses && (async () => ingresses))
}

const balancer: V1Ingress = {
  spec: { rules: [{}] },
  status: { loadBalancer: { ingress: [{ hostname: 'k8s-shop.elb.amazonaws.com' }] } },
}

t.test('the box has a default, and only loopback', async (t) => {
  t.equal(await resolve({}), 'http://127.0.0.1:8123')
  t.equal(await resolve({ ENV: 'local', BASE_URL: '' }), 'http://127.0.0.1:8123')
  for (const BASE_URL of ['http://localhost:3000/app//', 'http://127.1.2.3', 'http://[::1]:80']) {
    t.ok(await resolve({ BASE_URL }))
  }
  t.equal(await resolve({ BASE_URL: 'http://localhost:3000/app//' }), 'http://localhost:3000/app')
  for (const BASE_URL of ['http://shop.example', 'http://127.0.0.1.example', 'https://10.0.0.1']) {
    await t.rejects(resolve({ BASE_URL }), {
      name: 'ActionableError',
      message: /^BASE_URL has the host .*, but ENV=local sends load to this machine only$/,
      nextStep: /127\.0\.0\.1/,
    })
  }
  await t.rejects(resolve({ KUBE_CONTEXT: 'kind' }), { message: 'BASE_URL is not set' })
})

t.test('another environment has the host of its Ingress', async (t) => {
  const dev = { ENV: 'dev' }
  t.equal(await resolve(dev, [balancer]), 'http://k8s-shop.elb.amazonaws.com')
  t.equal(
    await resolve({ ...dev, BASE_URL: 'http://k8s-shop.elb.amazonaws.com:8080' }, [balancer]),
    'http://k8s-shop.elb.amazonaws.com:8080',
  )
  const certificate = { annotations: { 'alb.ingress.kubernetes.io/certificate-arn': 'arn' } }
  const named = { ...balancer, metadata: certificate, spec: { rules: [{ host: 'shop.example' }] } }
  t.equal(await resolve(dev, [named]), 'https://shop.example')
  t.equal(await resolve(dev, [{ spec: { rules: [{ host: 'shop.example' }] } }]), 'http://shop.example')
  t.equal(
    await resolve(dev, [{ spec: { tls: [{}], rules: [{ host: 'shop.example' }] } }]),
    'https://shop.example',
  )
  t.equal(
    await resolve(dev, [{ status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, {}] } } }]),
    'http://192.0.2.1',
  )
})

t.test('a URL that is not of the environment is refused', async (t) => {
  for (const BASE_URL of ['http://shop.example', 'http://127.0.0.1:8080']) {
    await t.rejects(resolve({ ENV: 'staging', BASE_URL }, [balancer]), {
      message: /^BASE_URL has the host .*, but ENV=staging has k8s-shop.elb.amazonaws.com$/,
      nextStep: /unset BASE_URL, use http:\/\/k8s-shop.elb.amazonaws.com/,
    })
  }
  await t.rejects(resolve({ ENV: 'dev', BASE_URL: 'http://shop.example' }, [{}]), {
    message: 'the release in ENV=dev has no Ingress with a host, so it has no URL',
    nextStep: /kubectl get ingress/,
  })
})

t.test('without a cluster, only this machine is allowed', async (t) => {
  t.equal(await resolve({ ENV: 'dev', BASE_URL: 'http://127.0.0.1:3000' }, null), 'http://127.0.0.1:3000')
  await t.rejects(resolve({ ENV: 'dev', BASE_URL: 'http://shop.example' }, null), {
    message: /but --no-cluster sends load to this machine only/,
    nextStep: /without --no-cluster/,
  })
  await t.rejects(resolve({ ENV: 'dev' }, null), { message: 'BASE_URL is not set' })
})

t.test('pods reach a service on this machine by its Ingress', async (t) => {
  const url = (baseUrl: string, ingresses: V1Ingress[]) => resolveUrlForPods(baseUrl, async () => ingresses)
  t.equal(await url('http://127.0.0.1:8080', [balancer]), 'http://k8s-shop.elb.amazonaws.com')
  t.equal(await url('https://shop.example', []), 'https://shop.example')
  await t.rejects(url('http://127.0.0.1:8080', [{}]), {
    message: 'the release has no Ingress with a host, so generators in the cluster have no URL',
    nextStep: /leave out --generators/,
  })
})

t.test('a URL must be an HTTP URL', async (t) => {
  for (const BASE_URL of ['shop.example', 'ftp://shop.example']) {
    await t.rejects(resolve({ BASE_URL }), { message: `BASE_URL is "${BASE_URL}", which is not an HTTP URL` })
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

t.test('a service without routes for load tests is found out before the load', async (t) => {
  const service = await startService(() => 404)
  t.teardown(service.close)
  t.equal(await hasLoadRoutes(service.url), true)
  t.equal(await hasLoadRoutes(`${service.url}/other`), false)
  t.match(noLoadRoutes(service.url), {
    message: /has no routes for load tests: .* answers 404/,
    nextStep: /config.loadEndpointsEnabled/,
  })
})
