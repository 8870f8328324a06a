import type { Environment } from 'shared/environment'
import { ActionableError, rootCause } from 'shared/errors'

/**
 * URL of the service without a trailing slash: BASE_URL, which only the box has a default for.
 *
 * @throws ActionableError when BASE_URL is missing or no URL.
 */
export function readBaseUrl({ usesBox, box }: Environment, env: NodeJS.ProcessEnv): string {
  const text = env['BASE_URL'] || (usesBox ? `http://127.0.0.1:${box.ports.service}` : '')
  if (text === '') {
    throw new ActionableError(
      'BASE_URL is not set',
      'set it to the URL under which this cluster serves the service',
    )
  }
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new ActionableError(
      `BASE_URL is "${text}", which is not the URL of a web service`,
      'use something like http://127.0.0.1:8080',
    )
  }
  return url.href.replace(/\/+$/, '')
}

/**
 * Makes sure that the service takes requests before any load is sent.
 *
 * @throws ActionableError when it does not.
 */
export async function checkReady(baseUrl: string): Promise<void> {
  const nextStep =
    'start the box (`make up`) and deploy to it (`make deploy`), or set BASE_URL to where the service is'
  let status: number
  try {
    status = (await fetch(`${baseUrl}/readyz`, { signal: AbortSignal.timeout(5_000) })).status
  } catch (error) {
    throw new ActionableError(`${baseUrl} does not answer: ${rootCause(error)}`, nextStep, { cause: error })
  }
  if (status !== 200) {
    throw new ActionableError(`${baseUrl}/readyz answers ${status}: the service takes no requests`, nextStep)
  }
}

/**
 * Makes sure that the service has the routes that the scenario `scaling` loads. They are off by default.
 *
 * @throws ActionableError when it has not.
 */
export async function checkLoadRoutes(baseUrl: string): Promise<void> {
  const { status } = await fetch(`${baseUrl}${LOAD_ROUTE_PROBE}`, { signal: AbortSignal.timeout(5_000) })
  if (status !== 404) return
  throw new ActionableError(
    `${baseUrl} has no routes for load tests: ${LOAD_ROUTE_PROBE} answers 404`,
    'deploy with config.loadEndpointsEnabled (docs/load-test.md says how to do so safely), or run the scenario steady',
  )
}

/** A request to a load route that asks for no work. */
export const LOAD_ROUTE_PROBE = '/api/v1/work?ms=0'
