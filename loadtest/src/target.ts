import type { V1Ingress } from '@kubernetes/client-node'
import type { Environment } from 'shared/environment'
import { ActionableError, rootCause } from 'shared/errors'

/**
 * The URL of the service without a trailing slash: BASE_URL, or the environment's own. A load may only be sent to the
 * environment that ENV names: for `local` to this machine, for others to the host of the release's Ingress, and without a
 * cluster to this machine only.
 *
 * @param ingresses - reads the release's Ingresses; null when no cluster is watched
 * @throws ActionableError when the URL is missing or invalid, or belongs to something else.
 */
export async function resolveBaseUrl(
  { name, usesBox, box }: Environment,
  env: NodeJS.ProcessEnv,
  ingresses: (() => Promise<V1Ingress[]>) | null,
): Promise<string> {
  const given = parseUrl(env['BASE_URL'] || (usesBox ? `http://127.0.0.1:${box.ports.service}` : undefined))
  if (name === 'local' || ingresses === null) {
    if (given === undefined) {
      throw new ActionableError(
        'BASE_URL is not set',
        'set it to the URL of the service, such as http://127.0.0.1:8080',
      )
    }
    if (!isLoopback(given.hostname)) {
      const limit = name === 'local' ? 'ENV=local' : '--no-cluster'
      throw new ActionableError(
        `BASE_URL has the host ${given.hostname}, but ${limit} sends load to this machine only`,
        `use a URL on 127.0.0.1, or ENV=dev and the like${name === 'local' ? '' : ' without --no-cluster'} for a service elsewhere`,
      )
    }
    return format(given)
  }
  const urls = (await ingresses()).flatMap(urlsOf)
  const [first] = urls
  if (first === undefined) {
    throw new ActionableError(
      `the release in ENV=${name} has no Ingress with a host, so it has no URL`,
      'check `kubectl get ingress`: its load balancer may still be in creation; without an Ingress, use --no-cluster and a BASE_URL on 127.0.0.1',
    )
  }
  if (given !== undefined && !urls.some(({ hostname }) => hostname === given.hostname)) {
    throw new ActionableError(
      `BASE_URL has the host ${given.hostname}, but ENV=${name} has ${[...new Set(urls.map((url) => url.hostname))].join(', ')}`,
      `unset BASE_URL, use ${format(first)}, or select another environment with ENV`,
    )
  }
  return format(given ?? first)
}

/**
 * The URL at which the pods of a cluster reach the service as its clients do. It is `baseUrl`, unless that is on this
 * machine: then it is the release's Ingress.
 *
 * @throws ActionableError when the release has no Ingress with a host.
 */
export async function resolveUrlForPods(
  baseUrl: string,
  ingresses: () => Promise<V1Ingress[]>,
): Promise<string> {
  if (!isLoopback(new URL(baseUrl).hostname)) return baseUrl
  const [first] = (await ingresses()).flatMap(urlsOf)
  if (first !== undefined) return format(first)
  throw new ActionableError(
    'the release has no Ingress with a host, so generators in the cluster have no URL',
    'check `kubectl get ingress`: its load balancer may still be in creation; or leave out --generators',
  )
}

function parseUrl(text: string | undefined): URL | undefined {
  if (text === undefined) return undefined
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new ActionableError(
      `BASE_URL is "${text}", which is not an HTTP URL`,
      'use something like http://127.0.0.1:8080',
    )
  }
  return url
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

/** The URLs of an Ingress: the host names that it serves, or else those of its load balancer. */
function urlsOf({ metadata, spec, status }: V1Ingress): URL[] {
  const hasTls =
    (spec?.tls ?? []).length > 0 ||
    metadata?.annotations?.['alb.ingress.kubernetes.io/certificate-arn'] !== undefined
  const served = spec?.rules?.flatMap(({ host }) => host ?? []) ?? []
  const balancers = status?.loadBalancer?.ingress?.flatMap(({ hostname, ip }) => hostname ?? ip ?? []) ?? []
  // A certificate is for the served names. Without one, the load balancer serves any name by HTTP.
  const named = served.map((host) => new URL(`${hasTls ? 'https' : 'http'}://${host}`))
  return [...named, ...balancers.map((host) => new URL(`http://${host}`))]
}

function format({ href }: URL): string {
  return href.replace(/\/+$/, '')
}

/**
 * Checks, before any load is sent, that the service is ready.
 *
 * @throws ActionableError when it is not.
 */
export async function checkReady(baseUrl: string): Promise<void> {
  const nextStep =
    'start the box (`make up`) and deploy the service (`make deploy`), or set BASE_URL to the URL of the service'
  let status: number
  try {
    status = await statusOf(`${baseUrl}/readyz`)
  } catch (error) {
    throw new ActionableError(`${baseUrl} does not answer: ${rootCause(error)}`, nextStep, { cause: error })
  }
  if (status !== 200) {
    throw new ActionableError(`${baseUrl}/readyz answers ${status}: the service is not ready`, nextStep)
  }
}

/** Whether the routes for load tests are enabled. They are off by default. */
export async function hasLoadRoutes(baseUrl: string): Promise<boolean> {
  return (await statusOf(`${baseUrl}${LOAD_ROUTE_PROBE}`)) !== 404
}

/** The error for a profile that consists of requests to the load routes. */
export function noLoadRoutes(baseUrl: string): ActionableError {
  return new ActionableError(
    `${baseUrl} has no routes for load tests: ${LOAD_ROUTE_PROBE} answers 404`,
    'enable config.loadEndpointsEnabled in the deployment (docs/load-test.md explains how to do so safely), or run another profile',
  )
}

/** The load must not follow a redirect to another host, so neither do the checks before it. */
async function statusOf(url: string): Promise<number> {
  return (await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(5_000) })).status
}

/** A request to a load route that causes no work. */
export const LOAD_ROUTE_PROBE = '/api/v1/work?ms=0'
