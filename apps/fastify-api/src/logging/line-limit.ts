/** Most kinds with a limit of their own, because messages of library errors may be unbounded. */
const MOST_KINDS = 100

const SECOND_MS = 1_000

interface Kind {
  written: number
  leftOut: number
}

/** Limits the lines of each kind in a second, and counts those that are left out. */
export class LineLimit {
  readonly #perSecond: number
  readonly #kinds = new Map<string, Kind>()

  /** @param perSecond - lines of one kind */
  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /** Whether a line of this kind may be written now. If not, it is counted as left out. */
  hasRoom(name: string): boolean {
    const kind = this.#kind(name)
    if (kind.written < this.#perSecond) return true
    kind.leftOut++
    return false
  }

  /**
   * Counts one line as written.
   *
   * @returns the number of lines of this kind left out since the last one, or undefined if the limit is reached
   */
  take(name: string): number | undefined {
    if (!this.hasRoom(name)) return undefined
    const kind = this.#kind(name)
    // A timer ends each second, so that no line has to read the clock.
    if (kind.written === 0) setTimeout(() => (kind.written = 0), SECOND_MS).unref()
    kind.written++
    const { leftOut } = kind
    kind.leftOut = 0
    return leftOut
  }

  #kind(name: string): Kind {
    const known = this.#kinds.get(name)
    if (known !== undefined) return known
    if (this.#kinds.size >= MOST_KINDS) return this.#kind('other')
    const kind = { written: 0, leftOut: 0 }
    this.#kinds.set(this.#kinds.size === MOST_KINDS - 1 ? 'other' : name, kind)
    return kind
  }
}
