import { setTimeout as sleep } from 'node:timers/promises'

/** Interval of the checks, in milliseconds. */
const INTERVAL_MS = 2_000

/** Successful checks in a row that end an outage, so that readiness does not flap. */
const GOOD_ANSWERS = 2

/**
 * Checks a dependency regularly. It becomes ready with the first successful check, unready after the grace period
 * without one, and ready again after two successful checks in a row.
 */
export class Dependency {
  readonly #check: () => Promise<void>
  readonly #graceMs: number
  readonly #intervalMs: number
  readonly #stopped = new AbortController()
  #ready = false
  #answering = false
  /** Whether a check has ever succeeded. */
  #known = false
  #lastAnswer = 0
  #goodAnswers = 0

  /**
   * @param check - rejects when the dependency does not work; must have a timeout
   * @param graceMs - how long an outage may last before the dependency is unready, in milliseconds
   */
  constructor(check: () => Promise<void>, graceMs: number, intervalMs = INTERVAL_MS) {
    this.#check = check
    this.#graceMs = graceMs
    this.#intervalMs = intervalMs
  }

  /** Whether the process should receive requests that need this dependency. */
  get ready(): boolean {
    return this.#ready
  }

  /** Whether the last check succeeded. */
  get answering(): boolean {
    return this.#answering
  }

  /** Repeats the check until {@link stop}; the returned promise resolves then. */
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
