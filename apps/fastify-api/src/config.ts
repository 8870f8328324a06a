import { envSchema } from 'env-schema'
import { type Static, Type } from 'typebox'

const ConfigSchema = Type.Object({
  HOST: Type.String({
    default: '0.0.0.0',
    minLength: 1,
    description: 'Address to listen on; a pod is reached by its own address, not by loopback.',
  }),
  PORT: Type.Integer({
    default: 3000,
    minimum: 0,
    maximum: 65535,
    description: 'TCP port to listen on; 0 takes any free one.',
  }),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    description: 'Least severe log level that is written.',
  }),
  DRAIN_DELAY_MS: Type.Integer({
    default: 5_000,
    minimum: 0,
    maximum: 300_000,
    description:
      'Milliseconds from SIGTERM until the listener closes. Kubernetes removes a terminating pod from its ' +
      'endpoints while the pod is already stopping: until every proxy and balancer has heard of it, ' +
      'requests still arrive and are served.',
  }),
  SHUTDOWN_TIMEOUT_MS: Type.Integer({
    default: 20_000,
    minimum: 1,
    maximum: 300_000,
    description:
      'Milliseconds that requests in flight have to finish once the listener has closed. With the drain ' +
      'delay it must stay below the pod’s terminationGracePeriodSeconds (Kubernetes’ default is 30 s).',
  }),
  LOAD_ENDPOINTS_ENABLED: Type.Boolean({
    default: true,
    description:
      'Serve /api/v1/work and /api/v1/delay. Being put under load is what this service is for, so they are ' +
      'on unless switched off; whoever can reach them can use up the pod’s CPU, so production does switch ' +
      'them off.',
  }),
  PRESSURE_MAX_EVENT_LOOP_DELAY_MS: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: 60_000,
    description:
      'Mean delay of the event loop, in milliseconds, above which requests are answered with 503; 0 ' +
      'switches it off. A probe waits for two of them, one to be accepted and one to be read: keep this below ' +
      'half of its timeout.',
  }),
  PRESSURE_MAX_HEAP_USED_PERCENT: Type.Integer({
    default: 90,
    minimum: 0,
    maximum: 100,
    description:
      'Share of the V8 heap limit in use, in percent, above which requests are answered with 503; 0 ' +
      'switches it off.',
  }),
})

/** What the service takes from its environment, validated; times are in milliseconds. */
export type Config = Readonly<Static<typeof ConfigSchema>>

/** A setting that cannot be used. The message is one line: which, why, and what would do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads the service's settings from environment variables and fills in the defaults.
 *
 * @throws {@link ConfigError} naming each variable that is wrong, its value and what is allowed.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  try {
    return envSchema<Config>({ schema: ConfigSchema, data: env, env: false })
  } catch (error) {
    throw new ConfigError(describe(invalidVariables(error), env), { cause: error })
  }
}

type Variable = keyof Config

function invalidVariables(error: unknown): Set<Variable> {
  const { errors } = error as { errors: { instancePath: string }[] }
  return new Set(errors.map(({ instancePath }) => instancePath.slice(1) as Variable))
}

function describe(variables: Set<Variable>, env: NodeJS.ProcessEnv): string {
  return [...variables]
    .map((name) => `${name}=${JSON.stringify(env[name])} must be ${allowed(ConfigSchema.properties[name])}`)
    .join('; ')
}

interface Limits {
  enum?: readonly string[]
  type?: string
  minimum?: number
  maximum?: number
}

function allowed({ enum: values, type, minimum, maximum }: Limits): string {
  if (values !== undefined) return `one of ${values.join(', ')}`
  if (type === 'boolean') return 'true or false'
  if (type === 'integer') return `an integer from ${minimum} to ${maximum}`
  return 'a text that is not empty'
}
