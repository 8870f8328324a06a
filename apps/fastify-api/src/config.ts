import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Static, Type } from 'typebox'

export const ConfigSchema = Type.Object({
  HOST: Type.String({
    default: '0.0.0.0',
    minLength: 1,
    description:
      'Address to listen on. Pods are reached at their own address, so loopback does not work in Kubernetes.',
  }),
  PORT: Type.Integer({
    default: 3000,
    minimum: 0,
    maximum: 65535,
    description: 'TCP port to listen on; 0 selects a free port.',
  }),
  METRICS_PORT: Type.Integer({
    default: 9464,
    minimum: 0,
    maximum: 65535,
    description:
      'TCP port of the metrics; 0 selects a free port. Do not expose it outside the cluster. The default is the port ' +
      'of OpenTelemetry’s Prometheus exporter.',
  }),
  MAX_CONNECTIONS: Type.Integer({
    default: 4_000,
    minimum: 1,
    maximum: 1_000_000,
    description:
      'Most open connections. One more closes the oldest idle connection. An idle connection takes about 16 KiB: the ' +
      'default fits a pod’s memory and is far more than a load balancer opens.',
  }),
  TRUSTED_PROXY_HOPS: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 10,
    description:
      'Number of proxies in front of the service that are trusted to set X-Forwarded-For: 1 behind a load balancer.',
  }),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    description: 'Lowest log level that is written.',
  }),
  LOG_REQUESTS_PER_SECOND: Type.Integer({
    default: 100,
    minimum: 0,
    description:
      'Most log lines a second about successful requests. The next line says how many were left out; metrics count ' +
      'all requests.',
  }),
  DRAIN_DELAY_MS: Type.Integer({
    default: 5_000,
    minimum: 0,
    maximum: 300_000,
    description:
      'Milliseconds from SIGTERM until the listener closes. Kubernetes removes a terminating pod from its ' +
      'endpoints while the pod is already stopping. Until every proxy and load balancer knows, requests still ' +
      'arrive and are served.',
  }),
  SHUTDOWN_TIMEOUT_MS: Type.Integer({
    default: 20_000,
    minimum: 1,
    maximum: 300_000,
    description:
      'Milliseconds that requests in flight have to finish after the listener has closed. The sum with the drain ' +
      'delay must be less than the pod’s terminationGracePeriodSeconds (30 s by default).',
  }),
  LOAD_ENDPOINTS_ENABLED: Type.Boolean({
    default: false,
    description:
      'Serve the load routes, which burn CPU, wait, or answer on demand. For load tests only: every client that ' +
      'reaches them can use up the pod’s CPU.',
  }),
  LOAD_MAX_MS: Type.Integer({
    default: 10_000,
    minimum: 0,
    maximum: 60_000,
    description: 'Longest wait of /api/v1/delay, in milliseconds; /api/v1/work burns at most a tenth of it.',
  }),
  PRESSURE_MAX_EVENT_LOOP_DELAY_MS: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: 60_000,
    description:
      'Mean delay of the event loop, in milliseconds, above which requests are answered with 503; 0 ' +
      'disables the limit. A probe waits for two turns of the loop, so keep this below half of the probe’s timeout.',
  }),
  PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 100,
    description:
      'Event loop utilisation of the last second, in percent, above which requests are answered with 503; 0 ' +
      'disables the limit. Use it only without a CPU limit, because throttling by the kernel counts as busy.',
  }),
  PRESSURE_MAX_HEAP_USED_PERCENT: Type.Integer({
    default: 90,
    minimum: 0,
    maximum: 100,
    description:
      'Share of the V8 heap limit in use, in percent, above which requests are answered with 503; 0 ' +
      'disables the limit.',
  }),
  RATE_LIMIT_PER_MINUTE: Type.Integer({
    default: 0,
    minimum: 0,
    description:
      'Requests a minute that one client address may send to one process; 0 disables the limit. Behind a load ' +
      'balancer, set TRUSTED_PROXY_HOPS as well, or all clients count as one.',
  }),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://',
      description:
        'PostgreSQL database for the tasks, as postgres://user:password@host/database; without it, tasks are kept in ' +
        'memory. Poolers such as PgBouncer in transaction mode work. Add ?sslmode=verify-full to verify TLS against ' +
        'the public certificate authorities.',
    }),
  ),
  DATABASE_CA_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'PEM file with the certificate authorities of the database, such as those of Amazon RDS. With it, connections ' +
        'are encrypted and certificate and host name are verified, as with sslmode=verify-full. Read once at the start.',
    }),
  ),
  DATABASE_CA: Type.Optional(
    Type.String({ minLength: 1, description: 'The same certificates as text instead of a file.' }),
  ),
  DATABASE_POOL_SIZE: Type.Integer({
    default: 5,
    minimum: 1,
    maximum: 100,
    description:
      'Most connections of one process. All pods together must stay below the server’s max_connections: ten pods, ' +
      'three more during a rollout and the migration need 66 at the default.',
  }),
  DATABASE_READY_GRACE_MS: Type.Integer({
    default: 30_000,
    minimum: 0,
    maximum: 600_000,
    description:
      'Milliseconds without an answer from the database after which the process becomes unready. It should exceed a ' +
      'restart of the database; otherwise all pods leave the load balancer at once, and routes that need no database ' +
      'fail as well.',
  }),
  REDIS_URL: Type.Optional(
    Type.String({
      pattern: '^rediss?://',
      description:
        'Redis or Valkey cache that all pods share, as redis://:password@host; without it, each process caches in ' +
        'memory. rediss:// is TLS with verified certificate and host name. For a cluster, name any node or the ' +
        'configuration endpoint; the service detects it.',
    }),
  ),
  REDIS_CA_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'PEM file with the certificate authorities of Redis, instead of the public ones. Needs rediss://. Read once at ' +
        'the start.',
    }),
  ),
  REDIS_CA: Type.Optional(
    Type.String({ minLength: 1, description: 'The same certificates as text instead of a file.' }),
  ),
  BUILD_COMMIT: Type.String({
    default: 'unknown',
    minLength: 1,
    description: 'Commit of the running build; the image sets it.',
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: 'Base URL of an OpenTelemetry collector (OTLP over HTTP); without it, no traces are sent.',
    }),
  ),
})

/** The validated settings; times are in milliseconds. */
export type Config = Readonly<Static<typeof ConfigSchema>>

/** A setting is invalid. The message is one line with its name, the reason and the allowed values. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Reads the settings from environment variables and applies the defaults. `DATABASE_CA` and `REDIS_CA` contain the
 * certificates in either case, from a file or from the variable.
 *
 * @throws {@link ConfigError} with each invalid variable, its value unless it is secret, and the allowed values
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
 * Does not use Ajv: compiling this schema took a tenth of the start, and Ajv's messages would have to be rewritten.
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

/** The value as the setting's type, or the text itself if it is not a value of that type. */
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

/** URLs of connections that do not verify certificates. */
const UNVERIFIED = {
  DATABASE: /[?&](?:sslmode=(?:disable|no-verify)|ssl=(?:0|false|no-verify))(?:&|$)/,
  REDIS: /^redis:/,
}
const VERIFIED = { DATABASE: 'sslmode=verify-full, or no sslmode', REDIS: 'rediss://' }

/**
 * The PEM certificates of the authorities that sign the store's certificate; `undefined` for the public authorities.
 *
 * @param settings - `<store>_CA_FILE` or `<store>_CA`, and `<store>_URL`
 * @throws {@link ConfigError} when both are set, the file cannot be read or contains no certificate, or the URL
 *   disables verification
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
      `${store}_URL disables verification of the server, but ${store}_CA_FILE or ${store}_CA is set: ` +
        `use ${VERIFIED[store]}`,
    )
  }
  const name = text === undefined ? `${store}_CA_FILE=${JSON.stringify(file)}` : `${store}_CA`
  try {
    const pem = text === undefined ? readFileSync(String(file), 'utf8') : String(text)
    // OpenSSL ignores invalid input: it would trust no certificate, and every connection would fail.
    const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    if (certificates.length === 0) throw new Error('it contains no PEM certificate')
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
  return pattern === undefined ? 'a non-empty text' : `a URL that matches ${pattern}`
}
