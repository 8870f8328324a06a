import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Static, Type } from 'typebox'

export const ConfigSchema = Type.Object({
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
  METRICS_PORT: Type.Integer({
    default: 9464,
    minimum: 0,
    maximum: 65535,
    description:
      'TCP port of the metrics, which nobody outside the cluster is to see; 0 takes any free one. The default is ' +
      'that of OpenTelemetry’s Prometheus exporter.',
  }),
  MAX_CONNECTIONS: Type.Integer({
    default: 4_000,
    minimum: 1,
    maximum: 1_000_000,
    description:
      'Connections that are open at a time; for one more, the oldest that awaits no answer is closed. An idle ' +
      'one takes some 16 KiB: the default stays well within a pod’s memory, and far above what a load balancer opens.',
  }),
  TRUSTED_PROXY_HOPS: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 10,
    description: 'Proxies in front whose X-Forwarded-For is believed: 1 behind a load balancer.',
  }),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    description: 'Least severe log level that is written.',
  }),
  LOG_REQUESTS_PER_SECOND: Type.Integer({
    default: 100,
    minimum: 0,
    description:
      'Most lines in a second about requests that went well. The next line says how many were left out; metrics ' +
      'count them all.',
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
    default: false,
    description:
      'Serve the routes that burn CPU, wait, or answer as asked. For load tests only: anyone who can reach them ' +
      'can use up the pod’s CPU.',
  }),
  LOAD_MAX_MS: Type.Integer({
    default: 10_000,
    minimum: 0,
    maximum: 60_000,
    description:
      'Longest wait that /api/v1/delay grants, in milliseconds; /api/v1/work burns a tenth of it at most.',
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
  PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 100,
    description:
      'Share of the last second in which the event loop was busy, in percent, above which requests are ' +
      'answered with 503; 0 switches it off. Of use where the pod has no CPU limit: the kernel stalling a ' +
      'throttled pod counts as busy.',
  }),
  PRESSURE_MAX_HEAP_USED_PERCENT: Type.Integer({
    default: 90,
    minimum: 0,
    maximum: 100,
    description:
      'Share of the V8 heap limit in use, in percent, above which requests are answered with 503; 0 ' +
      'switches it off.',
  }),
  RATE_LIMIT_PER_MINUTE: Type.Integer({
    default: 0,
    minimum: 0,
    description:
      'Requests a minute that one client address may send to one process; 0 switches it off. Behind a load ' +
      'balancer it needs TRUSTED_PROXY_HOPS, or all clients count as one.',
  }),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://',
      description:
        'PostgreSQL that keeps the tasks, as postgres://user:password@host/database; in memory without. A pooler ' +
        'such as PgBouncer in transaction mode will do. With ?sslmode=verify-full, TLS verified against the public ' +
        'authorities.',
    }),
  ),
  DATABASE_CA_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'File of certificates (PEM) that the database’s must come from, such as those of Amazon RDS. With it, ' +
        'connections are encrypted, and certificate and host name verified, as with sslmode=verify-full. Read once ' +
        'at the start.',
    }),
  ),
  DATABASE_CA: Type.Optional(
    Type.String({ minLength: 1, description: 'The same certificates as text, in place of a file.' }),
  ),
  DATABASE_POOL_SIZE: Type.Integer({
    default: 5,
    minimum: 1,
    maximum: 100,
    description:
      'Most connections of one process. All pods together must stay below max_connections of the server: ten ' +
      'pods, three more during a rollout and the migration make 66 at the default.',
  }),
  DATABASE_READY_GRACE_MS: Type.Integer({
    default: 30_000,
    minimum: 0,
    maximum: 600_000,
    description:
      'Milliseconds without an answer from the database after which the process is not ready. A restart of the ' +
      'database is shorter: all pods would leave the balancer at once, and with them the routes that need none.',
  }),
  REDIS_URL: Type.Optional(
    Type.String({
      pattern: '^rediss?://',
      description:
        'Redis or Valkey that all pods share as cache, as redis://:password@host; in memory without. rediss:// is ' +
        'TLS, with certificate and host name verified. A cluster is recognised: any of its nodes, or its ' +
        'configuration endpoint, will do.',
    }),
  ),
  REDIS_CA_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'File of certificates (PEM) that Redis’s must come from, in place of the public authorities. Needs ' +
        'rediss://. Read once at the start.',
    }),
  ),
  REDIS_CA: Type.Optional(
    Type.String({ minLength: 1, description: 'The same certificates as text, in place of a file.' }),
  ),
  BUILD_COMMIT: Type.String({
    default: 'unknown',
    minLength: 1,
    description: 'Commit that the running build was made from; the image sets it.',
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description:
        'Base URL of an OpenTelemetry collector (OTLP over HTTP) that receives traces; none without.',
    }),
  ),
})

/** What the service takes from its environment, validated; times are in milliseconds. */
export type Config = Readonly<Static<typeof ConfigSchema>>

/** A setting that cannot be used. The message is one line: which, why, and what would do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads the service's settings from environment variables and fills in the defaults. `DATABASE_CA` and `REDIS_CA`
 * hold the certificates, whichever of the two variables they came from.
 *
 * @throws {@link ConfigError} naming each variable that is wrong, its value unless secret, and what is allowed.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const config = validConfig(env)
  const DATABASE_CA = trustedCertificates('DATABASE', config)
  const REDIS_CA = trustedCertificates('REDIS', config)
  return {
    ...config,
    ...(DATABASE_CA !== undefined && { DATABASE_CA }),
    ...(REDIS_CA !== undefined && { REDIS_CA }),
  }
}

/** The part of JSON Schema that the settings above use. */
interface Setting {
  type?: string
  enum?: readonly string[]
  minimum?: number
  maximum?: number
  minLength?: number
  pattern?: string
  default?: unknown
}

/**
 * Not by a validator such as Ajv: it takes longer to compile this schema than the whole service takes to register
 * its routes, and its messages would have to be rewritten.
 */
function validConfig(env: NodeJS.ProcessEnv): Config {
  const config: Record<string, unknown> = {}
  const problems: string[] = []
  const settings: Record<string, Setting> = ConfigSchema.properties
  for (const [name, setting] of Object.entries(settings)) {
    const text = env[name]
    const value = text === undefined ? setting.default : parse(text, setting)
    if (text !== undefined && !isAllowed(value, setting)) problems.push(describe(name, text, setting))
    else if (value !== undefined) config[name] = value
  }
  if (problems.length > 0) throw new ConfigError(problems.join('; '))
  return config as Config
}

/** The value that the text stands for; the text itself where it stands for none of the setting's type. */
function parse(text: string, { type }: Setting): unknown {
  if (type === 'integer' && text.trim() !== '' && Number.isInteger(Number(text))) return Number(text)
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

function isAllowed(value: unknown, setting: Setting): boolean {
  const { type, enum: values, minimum = -Infinity, maximum = Infinity, minLength = 0, pattern = '' } = setting
  if (type === 'integer') return typeof value === 'number' && minimum <= value && value <= maximum
  if (type === 'boolean') return typeof value === 'boolean'
  const text = String(value)
  return values?.includes(text) ?? (text.length >= minLength && new RegExp(pattern).test(text))
}

/** URLs that ask for a connection which verified certificates would be no use for. */
const UNVERIFIED = {
  DATABASE: /[?&](?:sslmode=(?:disable|no-verify)|ssl=(?:0|false|no-verify))(?:&|$)/,
  REDIS: /^redis:/,
}
const VERIFIED = { DATABASE: 'sslmode=verify-full, or no sslmode', REDIS: 'rediss://' }

/**
 * The certificates, as PEM, that the store's server certificate must come from; `undefined` for the public
 * authorities.
 *
 * @param settings - `<store>_CA_FILE` or `<store>_CA`, and `<store>_URL`
 * @throws {@link ConfigError} when both are given, the file cannot be read, there is no certificate in it, or the
 *   URL does not have the server verified.
 */
export function trustedCertificates(
  store: 'DATABASE' | 'REDIS',
  settings: Readonly<Record<string, unknown>>,
): string | undefined {
  const [file, text] = [settings[`${store}_CA_FILE`], settings[`${store}_CA`]]
  if (file === undefined && text === undefined) return undefined
  if (file !== undefined && text !== undefined) {
    throw new ConfigError(`${store}_CA_FILE and ${store}_CA are both set: remove one of them`)
  }
  if (UNVERIFIED[store].test(String(settings[`${store}_URL`]))) {
    throw new ConfigError(
      `${store}_URL asks for a connection that is not verified, but ${store}_CA_FILE or ${store}_CA is set: ` +
        `use ${VERIFIED[store]}`,
    )
  }
  const name = text === undefined ? `${store}_CA_FILE=${JSON.stringify(file)}` : `${store}_CA`
  try {
    const pem = text === undefined ? readFileSync(String(file), 'utf8') : String(text)
    // OpenSSL skips what it does not understand: nothing would be trusted, and every connection fail.
    const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    if (certificates.length === 0) throw new Error('it holds no certificate in PEM form')
    for (const certificate of certificates) new X509Certificate(certificate)
    return pem
  } catch (error) {
    throw new ConfigError(`${name} cannot be used: ${(error as Error).message}`, { cause: error })
  }
}

function describe(name: string, text: string, setting: Setting): string {
  // URLs carry passwords.
  const value = setting.pattern === undefined ? `=${JSON.stringify(text)}` : ''
  return `${name}${value} must be ${allowed(setting)}`
}

function allowed({ enum: values, type, minimum, maximum, pattern }: Setting): string {
  if (values !== undefined) return `one of ${values.join(', ')}`
  if (type === 'boolean') return 'true or false'
  if (type === 'integer') {
    return maximum === undefined
      ? `an integer, ${minimum} or more`
      : `an integer from ${minimum} to ${maximum}`
  }
  return pattern === undefined ? 'a text that is not empty' : `a URL that matches ${pattern}`
}
