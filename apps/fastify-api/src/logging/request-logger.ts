import { type Bindings, type ChildLoggerOptions, type Logger, symbols } from 'pino'

const REQUEST_ID = Symbol('request id')

/**
 * Fastify makes a child logger for every request, and most requests of a busy service log nothing. So the bindings
 * of such a child are formatted when it first writes: it is a logger like any other, for a tenth of the time. Not by
 * `childLoggerFactory`, each product of which Fastify checks for all methods of a logger.
 */
export function withLightRequestLoggers(logger: Logger): Logger {
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
