import type { FastifyBaseLogger } from 'fastify'
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino'
import type { Config } from '../config.ts'
import { LineLimit } from './line-limit.ts'
import { withLightRequestLoggers } from './request-logger.ts'

declare module 'fastify' {
  /** This service's loggers are Pino's, which have more methods than Fastify's interface. */
  interface FastifyBaseLogger extends Pick<Logger, 'isLevelEnabled' | 'setBindings'> {}
}

/** Fields of logged errors and objects in which libraries may put secrets. */
const SECRETS = ['url', 'connectionString', 'password', 'authorization', 'cookie'].flatMap((name) => [
  name,
  `err.${name}`,
  `headers.${name}`,
])

/**
 * Most warnings and errors with the same message in a second. In an outage every request logs the same message: these
 * lines show the cause, `leftOut` and the metrics show how often.
 */
const TROUBLE_LINES_PER_SECOND = 10

/** Pino's numeric levels. */
const WARN = 40
const FATAL = 60

/** Creates the service's log, and the limit on its warnings and errors. */
export function createLog(
  config: Pick<Config, 'LOG_LEVEL'>,
  destination: DestinationStream,
): { logger: FastifyBaseLogger; trouble: LineLimit } {
  const trouble = new LineLimit(TROUBLE_LINES_PER_SECOND)
  const logger = pino(
    {
      level: config.LOG_LEVEL,
      base: null, // No process id and host name: in a container they are 1 and the pod's name, which collectors add.
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
