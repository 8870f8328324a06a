import type { Options } from 'k6/options'
import { LOADS } from '../load.ts'
import { thresholds } from '../slo.ts'
import { get } from './target.ts'

export { setup } from './target.ts'

export const options: Options = {
  scenarios: { scaling: LOADS.scaling(__ENV).scenario },
  thresholds: thresholds('scaling'),
  discardResponseBodies: true,
  // kube-proxy balances connections, not requests: over kept-alive connections no request would ever reach a pod
  // that started after them. An ALB balances requests, so there this changes nothing but the cost of connecting.
  noConnectionReuse: true,
}

/** One request that burns 8 ms of CPU in the service. */
export default function (): void {
  get('/api/v1/work?ms=8')
}
