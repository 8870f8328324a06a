import type { Options } from 'k6/options'
import { LOADS } from '../load.ts'
import { thresholds } from '../slo.ts'
import { get } from './target.ts'

export { setup } from './target.ts'

export const options: Options = {
  scenarios: { steady: LOADS.steady(__ENV).scenario },
  thresholds: thresholds('steady'),
  discardResponseBodies: true,
}

/**
 * One cheap request. Each connection carries two, some time apart: while pods come and go, the first shows
 * whether new connections still reach a pod that listens, the second whether idle ones are closed in order.
 */
export default function (): void {
  get('/', __ITER % 2 === 0 ? {} : { connection: 'close' })
}
