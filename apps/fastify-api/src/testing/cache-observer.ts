import { EventEmitter } from 'node:events'
import type { CacheEvents, CacheOutcome } from '../cache/cache.ts'

/** Records the state changes of a cache; emits `up` and `down`, so that a test can wait for them. */
export class Observer extends EventEmitter<{ up: []; down: [] }> implements CacheEvents {
  readonly outcomes: CacheOutcome[] = []
  /** The messages of outages, and `up`, in order. */
  readonly story: string[] = []

  readonly onOutcome = (outcome: CacheOutcome): void => {
    this.outcomes.push(outcome)
  }

  readonly onStoreDown = (error: Error): void => {
    this.story.push(error.message)
    this.emit('down')
  }

  readonly onStoreUp = (): void => {
    this.story.push('up')
    this.emit('up')
  }
}
