import { setTimeout as sleep } from 'node:timers/promises'
import { ApiException, type NetworkingV1Api, type V1Ingress } from '@kubernetes/client-node'
import { SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'

const pollInterval = 500

type Ingresses = Pick<NetworkingV1Api, 'readNamespacedIngress' | 'readIngressClass'>

/** A missing object is not an error here. */
async function unlessMissing<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (failure) {
    if (failure instanceof ApiException && failure.code === 404) return undefined
    throw failure
  }
}

/** The DNS name of the load balancer that serves the service's Ingress; undefined as long as there is none. */
export async function loadBalancerName(
  networking: Ingresses,
  namespace: string,
): Promise<string | undefined> {
  const ingress = await unlessMissing(networking.readNamespacedIngress({ name: SERVICE, namespace }))
  return nameIn(ingress)
}

function nameIn(ingress: V1Ingress | undefined): string | undefined {
  return ingress?.status?.loadBalancer?.ingress?.[0]?.hostname
}

/**
 * Waits until the box's load balancer sends requests to the service. A cluster without a load balancer controller has
 * no such load balancer, and the box's port then leads to the NodePort.
 *
 * @param url - where the box's load balancer listens on this machine
 * @param timeout - in seconds
 * @throws ActionableError when the load balancer does not answer in time
 */
export async function awaitLoadBalancer(
  networking: Ingresses,
  namespace: string,
  url: string,
  timeout: number,
): Promise<void> {
  const ingress = await unlessMissing(networking.readNamespacedIngress({ name: SERVICE, namespace }))
  const className = ingress?.spec?.ingressClassName
  if (!className || !(await unlessMissing(networking.readIngressClass({ name: className })))) return
  const deadline = Date.now() + timeout * 1000
  let reason = 'its Ingress has no address'
  while (Date.now() < deadline) {
    if ((await loadBalancerName(networking, namespace)) !== undefined) {
      // A load balancer without a healthy target responds with 503.
      reason = await fetch(new URL('/readyz', url)).then(
        ({ ok, status }) => (ok ? '' : `it responds with ${status}`),
        (error: unknown) => `it does not respond: ${error instanceof Error ? error.message : error}`,
      )
      if (reason === '') return
    }
    await sleep(pollInterval)
  }
  throw new ActionableError(
    `the service is deployed, but its load balancer is not ready: ${reason}`,
    `see \`kubectl --namespace ${namespace} describe ingress ${SERVICE}\` and the log of the Deployment aws-load-balancer-controller in kube-system`,
  )
}
