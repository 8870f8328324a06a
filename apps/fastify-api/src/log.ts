import type { FastifyBaseLogger } from 'fastify'
import {
  type Bindings,
  type ChildLoggerOptions,
  type DestinationStream,
  type Logger,
  pino,
  stdTimeFunctions,
  symbols,
} from 'pino'
import type { Config } from './config.ts'

declare module 'fastify' {
  /** What this service's loggers, which are Pino's, have beyond Fastify's own interface. */
  interface FastifyBaseLogger extends Pick<Logger, 'isLevelEnabled' | 'setBindings'> {}
}

/** Where secrets could stand in a logged error or object; the libraries of others put them there. */
const SECRETS = ['url', 'connectionString', 'password', 'authorization', 'cookie'].flatMap((name) => [
  name,
  `err.${name}`,
  `headers.${name}`,
])

/**
 * Most warnings and errors with the same message in a second. When something breaks, every request says the same:
 * these show what it is, `leftOut` and the metrics show how often.
 */
const TROUBLE_LINES_PER_SECOND = 10

/** Kinds that are told apart; messages are constants here, but those of a library's errors need not be. */
const MOST_KINDS = 100

const SECOND_MS = 1_000

/** Pino's numbers of these levels. */
const WARN = 40
const FATAL = 60

interface Kind {
  written: number
  leftOut: number
}

/** Limits how many lines of each kind are written in a second, and counts those that are left out. */
export class LineLimit {
  readonly #perSecond: number
  readonly #kinds = new Map<string, Kind>()

  /** @param perSecond - lines of one kind */
  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /** Whether a line of this kind may be written now. If not, it counts as left out. */
  hasRoom(name: string): boolean {
    const kind = this.#kind(name)
    if (kind.written < this.#perSecond) return true
    kind.leftOut++
    return false
  }

  /**
   * Takes the room of one line.
   *
   * @returns how many lines of this kind were left out since the last one; undefined if there is no room
   */
  take(name: string): number | undefined {
    if (!this.hasRoom(name)) return undefined
    const kind = this.#kind(name)
    // A timer for each second with lines, so that no line has to read the clock.
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

/** The service's log, and the limit on its warnings and errors. */
export function createLog(
  config: Pick<Config, 'LOG_LEVEL'>,
  destination: DestinationStream,
): { logger: FastifyBaseLogger; trouble: LineLimit } {
  const trouble = new LineLimit(TROUBLE_LINES_PER_SECOND)
  const logger = pino(
    {
      level: config.LOG_LEVEL,
      base: null, // Process id and host name: the container's are 1 and the pod, which the collector knows.
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: SECRETS,
      hooks: {
        logMethod(args, method, level) {
          if (level < WARN || level >= FATAL) return method.apply(this, args)
          const [first, second]: unknown[] = args
          const leftOut = trouble.take(messageOf(first, second))
          if (leftOut === undefined) return
          if (leftOut === 0) return method.apply(this, args)
          const fields = first instanceof Error ? { err: first } : typeof first === 'object' ? first : {}
          const rest = typeof first === 'string' ? args : args.slice(1)
          Reflect.apply(method, this, [{ ...fields, leftOut }, ...rest])
        },
      },
    },
    destination,
  )
  return { logger: withLightRequestLoggers(logger), trouble }
}

function messageOf(first: unknown, second: unknown): string {
  if (typeof first === 'string') return first
  if (typeof second === 'string') return second
  if (first instanceof Error) return first.message
  return 'no message'
}

const REQUEST_ID = Symbol('request id')

/**
 * Fastify makes a child logger for every request, and most requests of a busy service log nothing. So the bindings
 * of such a child are formatted when it first writes: it is a logger like any other, for a tenth of the time. Not by
 * `childLoggerFactory`, each product of which Fastify checks for all methods of a logger.
 */
function withLightRequestLoggers(logger: Logger): Logger {
  const { child } = logger
  const prototypes = new WeakMap<Logger, object>()
  return Object.defineProperty(logger, 'child', {
    value(this: Logger, bindings: Bindings, options?: ChildLoggerOptions): Logger {
      const id: unknown = bindings['reqId']
      if (typeof id !== 'string' || hasMoreThan('reqId', bindings) || hasMoreThan('', options)) {
        return Reflect.apply(child, this, [bindings, options])
      }
      let prototype = prototypes.get(this)
      if (prototype === undefined) {
        prototype = requestPrototype(this)
        prototypes.set(this, prototype)
      }
      const made = Object.create(prototype)
      made[REQUEST_ID] = id
      return made
    },
  })
}

function hasMoreThan(only: string, fields: object | undefined): boolean {
  for (const name in fields) if (name !== only) return true
  return false
}

/** A logger's bindings are kept as JSON under this symbol, which Pino exports for libraries around it. */
const { chindingsSym: BINDINGS } = symbols

function requestPrototype(parent: Logger): object {
  return Object.create(parent, {
    [BINDINGS]: {
      get() {
        return `${Reflect.get(parent, BINDINGS)},"reqId":${JSON.stringify(this[REQUEST_ID])}`
      },
      // By `setBindings`, and by `child` on what inherits from this.
      set(value: string) {
        Object.defineProperty(this, BINDINGS, { value, writable: true })
      },
    },
  })
}
