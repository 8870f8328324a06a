// biome-ignore lint/correctness/noUndeclaredDependencies: part of the k6 program; @types/k6 has its types
import exec from 'k6/execution'
// biome-ignore lint/correctness/noUndeclaredDependencies: part of the k6 program; @types/k6 has its types
import http from 'k6/http'
import { REQUEST_TIMEOUT } from '../load.ts'

const baseUrl = __ENV['BASE_URL']?.replace(/\/+$/, '')

/** Sends a GET request to the service. k6 counts a status from 400 on, or no answer, as a failure. */
export function get(path: string, headers: Record<string, string> = {}): void {
  http.get(`${baseUrl}${path}`, { headers, timeout: REQUEST_TIMEOUT })
}

/** Runs once before the load, and aborts if the target is not ready. */
export function setup(): void {
  if (baseUrl === undefined || baseUrl === '')
    exec.test.abort('BASE_URL is not set: set it to the URL of the service')
  const { status, error } = http.get(`${baseUrl}/readyz`, { timeout: REQUEST_TIMEOUT })
  if (status !== 200) {
    exec.test.abort(
      `${baseUrl}/readyz is not ready (${error === '' ? `HTTP ${status}` : error}): start the service first`,
    )
  }
}
