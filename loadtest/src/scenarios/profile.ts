/**
 * The k6 program of every profile: PROFILE and ENV select the load, BASE_URL the service. RUN marks the tasks of a run.
 * Without LOAD_ROUTES=true, the mix leaves out the routes for load tests.
 */
// biome-ignore lint/correctness/noUndeclaredDependencies: part of the k6 program; @types/k6 has its types
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { PROFILES, REQUEST_TIMEOUT, SIZES, type Traffic } from '../profiles.ts'
import { type ProfileName, thresholds } from '../slo.ts'
import { mix } from './mix.ts'
import { baseUrl, send } from './requests.ts'
import { createSeeds, type Seeds } from './tasks.ts'

const profile = nameIn(PROFILES, 'PROFILE', 'scaling') as ProfileName
const environment = nameIn(SIZES, 'ENV', 'local') as keyof typeof SIZES
const load = PROFILES[profile](SIZES[environment], __ENV)

export const options: Options = {
  scenarios: { [profile]: load.scenario },
  thresholds: thresholds(profile),
  discardResponseBodies: load.traffic !== 'mix',
  // kube-proxy balances connections, not requests: on kept-alive connections, no request would reach a pod that
  // started later. An ALB balances requests, so there this only adds the cost of new connections.
  noConnectionReuse: load.traffic !== 'root',
  // Another host could belong to someone else.
  maxRedirects: 0,
  // A tag with many values, such as the URL, makes k6 keep a time series for each of them.
  systemTags: ['scenario', 'status', 'error', 'check'],
  setupTimeout: '60s',
}

const requests: Record<Traffic, (seeds: Seeds) => void> = {
  work: () => send('work', 'GET', '/api/v1/work?ms=8'),
  /**
   * Each connection carries two requests, some time apart. While pods are replaced, the first shows whether new
   * connections reach a ready pod, and the second whether idle connections are closed gracefully.
   */
  root: () => send('root', 'GET', '/', { headers: __ITER % 2 === 0 ? {} : { connection: 'close' } }),
  mix,
}

/** Runs once before the load, and aborts if the target is not ready. */
export function setup(): Seeds {
  if (baseUrl === '') exec.test.abort('BASE_URL is not set: set it to the URL of the service')
  const { status, error } = send(undefined, 'GET', '/readyz', { timeout: REQUEST_TIMEOUT })
  if (status !== 200) {
    exec.test.abort(
      `${baseUrl}/readyz is not ready (${error === '' ? `HTTP ${status}` : error}): start the service first`,
    )
  }
  return load.traffic === 'mix' ? createSeeds() : { read: [], change: [] }
}

/** One request. */
export default function (seeds: Seeds): void {
  requests[load.traffic](seeds)
}

function nameIn(table: object, variable: string, fallback: string): string {
  const name = __ENV[variable] || fallback
  if (!Object.keys(table).includes(name)) {
    throw new Error(`${variable} is "${name}": use one of ${Object.keys(table).join(', ')}`)
  }
  return name
}
