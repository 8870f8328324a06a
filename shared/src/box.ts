import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { ActionableError } from './errors.ts'

/** The project's region, in the box and on AWS. */
export const REGION = 'eu-central-1'

/** The account number of the box's AWS: the one that AWS uses for examples. */
export const ACCOUNT = '123456789012'

/** Name of the secret in the box's Secrets Manager that holds the service's connection URLs. */
export const CONNECTION_SECRET = 'fastify-app/local'

/** Where a box lives and how it is reached. Several boxes can run side by side under different names. */
export interface BoxConfig {
  /** Name of the box; part of its state directory and cgroup. */
  name: string
  /** Everything the box writes at run time: certificates, etcd data, logs, sockets. */
  stateDir: string
  /** Built tools, kept between boxes and keyed by their pins. */
  cacheDir: string
  /** Ports on 127.0.0.1 of this machine, forwarded into the box. */
  ports: { api: number; registry: number; service: number; aws: number }
  /** Seconds that one component may take from its start to its first answer; see `timeLimits`. */
  startTimeoutSeconds: number
}

/**
 * Free disk that is needed, in GiB: to build the tools of `make up` once (modules, intermediate results, programs),
 * and to run a box (images, etcd's data, logs), each with room to spare.
 */
export const DISK_NEEDED = { build: 10, run: 3 } as const

/** Where boxes keep their state unless `BOX_STATE_DIR` says otherwise; gone with the last box. */
export const DEFAULT_STATE_ROOT = '/var/lib/eks-box'

/** The environment variable that chooses each port. */
export const portVariables = {
  api: 'BOX_API_PORT',
  registry: 'BOX_REGISTRY_PORT',
  service: 'BOX_SERVICE_PORT',
  aws: 'BOX_AWS_PORT',
} as const satisfies Record<keyof BoxConfig['ports'], string>

/** The registry host of the production image references. */
export const ECR_REGISTRY = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`

// A unix socket path holds 107 bytes; the longest one below the state directory is containerd's shim socket.
const longestStateDir = 60

/**
 * Reads the box's configuration from the environment.
 *
 * @throws ActionableError when a variable holds something the box cannot use.
 */
export function readBoxConfig(env: NodeJS.ProcessEnv): BoxConfig {
  const name = env['BOX_NAME'] ?? 'default'
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(name)) {
    throw new ActionableError(
      `BOX_NAME is "${name}", which is no box name`,
      'use up to 20 lower-case letters, digits and dashes, starting with a letter',
    )
  }
  const stateDir = resolve(env['BOX_STATE_DIR'] || DEFAULT_STATE_ROOT, name)
  if (stateDir.length > longestStateDir) {
    throw new ActionableError(
      `the state directory ${stateDir} is too long for the unix sockets in it`,
      `set BOX_STATE_DIR so that the path has at most ${longestStateDir} characters`,
    )
  }
  const ports = {
    api: readPort(env, portVariables.api, 6443),
    registry: readPort(env, portVariables.registry, 5000),
    service: readPort(env, portVariables.service, 8080),
    aws: readPort(env, portVariables.aws, 4566),
  }
  if (new Set(Object.values(ports)).size !== Object.keys(ports).length) {
    throw new ActionableError(
      `the box's ports are not distinct: ${Object.values(ports).join(', ')}`,
      `give ${Object.values(portVariables).join(', ')} different values`,
    )
  }
  return {
    name,
    stateDir,
    cacheDir: resolve(
      env['BOX_CACHE_DIR'] || join(env['XDG_CACHE_HOME'] || join(callerHome(env), '.cache'), 'eks-box'),
    ),
    ports,
    startTimeoutSeconds: readStartTimeout(env),
  }
}

/** Home of the person who runs this; with sudo, of the one who called it, who works with the tools afterwards. */
function callerHome(env: NodeJS.ProcessEnv): string {
  const uid = env['SUDO_UID']
  if (uid === undefined || process.getuid?.() !== 0) return homedir()
  const entry = spawnSync('getent', ['passwd', uid], { encoding: 'utf8' })
  return entry.stdout?.split(':')[5] || homedir()
}

function readStartTimeout(env: NodeJS.ProcessEnv): number {
  const text = env['BOX_START_TIMEOUT_SECONDS']
  if (text === undefined || text === '') return 120
  const seconds = Number(text)
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 86_400) {
    throw new ActionableError(
      `BOX_START_TIMEOUT_SECONDS is "${text}", which is no time limit`,
      'use a number of seconds from 1 to 86400; the default is 120',
    )
  }
  return seconds
}

function readPort(env: NodeJS.ProcessEnv, variable: string, fallback: number): number {
  const text = env[variable]
  if (text === undefined || text === '') return fallback
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new ActionableError(`${variable} is "${text}", which is no port`, 'use a number from 1 to 65535')
  }
  return port
}

/** The kubeconfig an operator uses to reach the box's cluster; written by `up`. */
export function kubeconfigPath(config: BoxConfig): string {
  return join(config.stateDir, 'kubeconfig')
}

/** An access key of the box's account. It is worth nothing outside the box. */
export interface AccessKey {
  accessKeyId: string
  secretAccessKey: string
}

/** The key of the emulated account's operator; written when the account is made. */
export function operatorKeyPath(config: BoxConfig): string {
  return join(config.stateDir, 'aws-operator.json')
}

/**
 * What a client of AWS needs in its environment to reach the box's, and nothing of the caller's own account:
 * variables that are undefined are to be unset. The box is on loopback, where no proxy must be asked.
 *
 * @throws ActionableError when the box has not been started.
 */
export function awsEnvironment(config: BoxConfig, env = process.env): Record<string, string | undefined> {
  const path = operatorKeyPath(config)
  if (!existsSync(path)) throw new ActionableError('the box is not up', 'start it with `make up`')
  const key = JSON.parse(readFileSync(path, 'utf8')) as AccessKey
  // Most programs know both spellings of this variable, and some only one.
  const direct = [...new Set([env['no_proxy'], env['NO_PROXY'], '127.0.0.1,localhost'])]
    .filter(Boolean)
    .join(',')
  return {
    NO_PROXY: direct,
    no_proxy: direct,
    AWS_ENDPOINT_URL: `http://127.0.0.1:${config.ports.aws}`,
    AWS_ACCESS_KEY_ID: key.accessKeyId,
    AWS_SECRET_ACCESS_KEY: key.secretAccessKey,
    AWS_REGION: REGION,
    // The AWS CLI's first major version reads only this one.
    AWS_DEFAULT_REGION: REGION,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    AWS_CA_BUNDLE: undefined,
  }
}
