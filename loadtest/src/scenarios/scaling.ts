import type { Options } from 'k6/options'
import { LOADS } from '../load.ts'
import { thresholds } from '../slo.ts'
import { get } from './target.ts'

export { setup } from './target.ts'

export const options: Options = {
  scenarios: { scaling: LOADS.scaling(__ENV).scenario },
  thresholds: thresholds('scaling'),
  discardResponseBodies: true,
  // kube-proxy balances connections, not requests: on kept-alive connections, no request would reach a pod that
  // started later. An ALB balances requests, so there this only adds the cost of new connections.
  noConnectionReuse: true,
}

/** One request that burns 8 ms of CPU in the service. */
export default function (): void {
  get('/api/v1/work?ms=8')
}
