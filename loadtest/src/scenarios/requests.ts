// biome-ignore lint/correctness/noUndeclaredDependencies: part of the k6 program; @types/k6 has its types
import { check } from 'k6'
// biome-ignore lint/correctness/noUndeclaredDependencies: part of the k6 program; @types/k6 has its types
import http, { type RefinedParams, type RefinedResponse, type ResponseType } from 'k6/http'
import { REQUEST_TIMEOUT } from '../profiles.ts'

export const baseUrl = (__ENV['BASE_URL'] ?? '').replace(/\/+$/, '')

export type Response = RefinedResponse<ResponseType | undefined>

/** What a response must be, beside a status below 400. */
export interface Expectation {
  status?: number
  /** Whether headers and body are right. */
  isRight?: (response: Response) => boolean
}

/**
 * Sends a request. k6 counts a status from 400 on, or no answer, as a failure; any other response is checked under the
 * name of the operation, unless it has none.
 */
export function send(
  operation: string | undefined,
  method: string,
  path: string,
  params: RefinedParams<ResponseType | undefined> & { body?: object } = {},
  { status = 200, isRight }: Expectation = {},
): Response {
  const { body, ...rest } = params
  const headers = { ...rest.headers, ...(body !== undefined && { 'content-type': 'application/json' }) }
  const response = http.request(
    method,
    `${baseUrl}${path}`,
    body === undefined ? null : JSON.stringify(body),
    {
      timeout: REQUEST_TIMEOUT,
      ...rest,
      headers,
    },
  )
  if (operation !== undefined && isAnswered(response)) {
    check(response, { [`${operation}: status ${status}`]: ({ status: actual }) => actual === status })
    if (isRight !== undefined && response.status === status) {
      check(response, { [`${operation}: content`]: () => isRight(response) })
    }
  }
  return response
}

/** Whether the service answered without an error. */
export function isAnswered({ status }: Response): boolean {
  return status > 0 && status < 400
}
