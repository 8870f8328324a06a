import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ApiException, type V1Ingress } from '@kubernetes/client-node'
import t, { type Test } from 'tap'
import { awaitLoadBalancer, loadBalancerName } from './load-balancer.ts'

const DNS_NAME = 'k8s-fastifya-fastifya-0123456789.eu-central-1.elb.amazonaws.com'

/** A cluster whose Ingress has these states in turn, and the last one from then on. */
function cluster(states: readonly (V1Ingress | undefined)[], hasController = true) {
  const missing = () => {
    throw new ApiException(404, 'not found', '', {})
  }
  const remaining = [...states]
  return {
    readNamespacedIngress: async () => (remaining.length > 1 ? remaining.shift() : remaining[0]) ?? missing(),
    readIngressClass: async () => (hasController ? {} : missing()),
  }
}

const without: V1Ingress = { spec: { ingressClassName: 'alb' } }
const withName: V1Ingress = {
  ...without,
  status: { loadBalancer: { ingress: [{ hostname: DNS_NAME }] } },
}

/** A load balancer that responds with these status codes in turn. */
async function loadBalancer(t: Test, codes: number[]): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(request.url ?? '')
    response.writeHead(codes.length > 1 ? Number(codes.shift()) : Number(codes[0])).end()
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

t.test('a deployment ends when the load balancer sends requests to the service', async (t) => {
  const { url, requests } = await loadBalancer(t, [503, 200])
  await awaitLoadBalancer(cluster([without, without, withName]), 'apps', url, 60)
  t.strictSame(requests, ['/readyz', '/readyz'], 'no request before the Ingress has an address')
})

t.test('a load balancer that does not become ready is reported with its last response', async (t) => {
  const { url } = await loadBalancer(t, [503])
  await t.rejects(awaitLoadBalancer(cluster([withName]), 'apps', url, 1), {
    message: 'the service is deployed, but its load balancer is not ready: it responds with 503',
  })
  await t.rejects(awaitLoadBalancer(cluster([without]), 'apps', url, 1), {
    message: 'the service is deployed, but its load balancer is not ready: its Ingress has no address',
  })
})

t.test('without an Ingress or a load balancer controller, there is nothing to wait for', async () => {
  await awaitLoadBalancer(cluster([undefined]), 'apps', 'http://127.0.0.1:1', 60)
  await awaitLoadBalancer(cluster([without], false), 'apps', 'http://127.0.0.1:1', 60)
})

t.test('the name of the load balancer is that of the Ingress', async (t) => {
  t.equal(await loadBalancerName(cluster([withName]), 'apps'), DNS_NAME)
  t.equal(await loadBalancerName(cluster([without]), 'apps'), undefined)
  t.equal(await loadBalancerName(cluster([undefined]), 'apps'), undefined)
})
