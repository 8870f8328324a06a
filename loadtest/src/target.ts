import type { Environment } from 'shared/environment'
import { ActionableError, rootCause } from 'shared/errors'

/**
 * The URL of the service without a trailing slash: BASE_URL, which has a default only for the box.
 *
 * @throws ActionableError when BASE_URL is missing or invalid.
 */
export function readBaseUrl({ usesBox, box }: Environment, env: NodeJS.ProcessEnv): string {
  const text = env['BASE_URL'] || (usesBox ? `http://127.0.0.1:${box.ports.service}` : '')
  if (text === '') {
    throw new ActionableError('BASE_URL is not set', 'set it to the URL of the service in this cluster')
  }
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new ActionableError(
      `BASE_URL is "${text}", which is not an HTTP URL`,
      'use something like http://127.0.0.1:8080',
    )
  }
  return url.href.replace(/\/+$/, '')
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
    status = (await fetch(`${baseUrl}/readyz`, { signal: AbortSignal.timeout(5_000) })).status
  } catch (error) {
    throw new ActionableError(`${baseUrl} does not answer: ${rootCause(error)}`, nextStep, { cause: error })
  }
  if (status !== 200) {
    throw new ActionableError(`${baseUrl}/readyz answers ${status}: the service is not ready`, nextStep)
  }
}

/**
 * Checks that the routes for the scenario `scaling` are enabled. They are off by default.
 *
 * @throws ActionableError when they are not.
 */
export async function checkLoadRoutes(baseUrl: string): Promise<void> {
  const { status } = await fetch(`${baseUrl}${LOAD_ROUTE_PROBE}`, { signal: AbortSignal.timeout(5_000) })
  if (status !== 404) return
  throw new ActionableError(
    `${baseUrl} has no routes for load tests: ${LOAD_ROUTE_PROBE} answers 404`,
    'enable config.loadEndpointsEnabled in the deployment (docs/load-test.md explains how to do so safely), or run the scenario steady',
  )
}

/** A request to a load route that causes no work. */
export const LOAD_ROUTE_PROBE = '/api/v1/work?ms=0'
