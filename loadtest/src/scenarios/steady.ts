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
 * One cheap request. Each connection carries two, some time apart. While pods are replaced, the first shows whether new
 * connections reach a ready pod, and the second whether idle connections are closed gracefully.
 */
export default function (): void {
  get('/', __ITER % 2 === 0 ? {} : { connection: 'close' })
}
