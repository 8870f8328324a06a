import { setTimeout as sleep } from 'node:timers/promises'

/** How often a dependency is asked, in milliseconds. */
const INTERVAL_MS = 2_000

/** After an outage: this many good answers in a row, so that one in between does not turn readiness on and off. */
const GOOD_ANSWERS = 2

/**
 * Follows whether a dependency can be used. Ready with its first answer; not ready any more when it has not
 * answered for the grace period; ready again after two good answers in a row.
 */
export class Dependency {
  readonly #check: () => Promise<void>
  readonly #graceMs: number
  readonly #intervalMs: number
  readonly #stopped = new AbortController()
  #ready = false
  #answering = false
  /** Whether it has ever answered. */
  #known = false
  #lastAnswer = 0
  #goodAnswers = 0

  /**
   * @param check - rejects when the dependency cannot be used; bounded in time
   * @param graceMs - how long an outage may last before it counts, in milliseconds
   */
  constructor(check: () => Promise<void>, graceMs: number, intervalMs = INTERVAL_MS) {
    this.#check = check
    this.#graceMs = graceMs
    this.#intervalMs = intervalMs
  }

  /** Whether requests should be sent to a process with this dependency. */
  get ready(): boolean {
    return this.#ready
  }

  /** Whether its last answer was good. */
  get answering(): boolean {
    return this.#answering
  }

  /** Asks again and again until {@link stop}; the returned promise ends with it. */
  async follow(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      await this.#check().then(
        () => this.#good(),
        () => this.#bad(),
      )
      await sleep(this.#intervalMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  stop(): void {
    this.#stopped.abort()
  }

  #good(): void {
    this.#answering = true
    this.#lastAnswer = performance.now()
    this.#goodAnswers++
    if (!this.#known || this.#goodAnswers >= GOOD_ANSWERS) this.#ready = true
    this.#known = true
  }

  #bad(): void {
    this.#answering = false
    this.#goodAnswers = 0
    if (performance.now() - this.#lastAnswer >= this.#graceMs) this.#ready = false
  }
}
