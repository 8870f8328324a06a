import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { ActionableError } from './errors.ts'

/** The project's region, in the box and on AWS. */
export const REGION = 'eu-central-1'

/** Account number of the box's AWS: the one AWS uses in its examples. */
export const ACCOUNT = '123456789012'

/** Where a box keeps its files, and its ports. Boxes with different names can run side by side. */
export interface BoxConfig {
  /** Name of the box; part of its state directory and cgroup. */
  name: string
  /** Everything that the box writes at run time: certificates, etcd data, logs, sockets. */
  stateDir: string
  /** Built tools, shared by all boxes and keyed by their pins. */
  cacheDir: string
  /** Ports on 127.0.0.1 of this machine, forwarded into the box. */
  ports: { api: number; registry: number; service: number; aws: number; prometheus: number }
  /** How many nodes may run at the same time; beyond it, EC2 has no capacity. */
  maxNodes: number
  /** How long a component may take to become ready after its start, in seconds; see `timeLimits`. */
  startTimeoutSeconds: number
}

/**
 * Free disk space required, in GiB and with room to spare: to build the tools of `make up` once (modules, intermediate
 * files, programs), and to run a box (images, etcd data, logs).
 */
export const DISK_NEEDED = { build: 10, run: 3 } as const

/** Default for `BOX_MAX_NODES`; see docs/local-box.md for what a node needs. */
export const DEFAULT_MAX_NODES = 8

/** Default for `BOX_STATE_DIR`, the parent of the boxes' state directories. Removed with the last box. */
export const DEFAULT_STATE_ROOT = '/var/lib/eks-box'

/** The environment variable that sets each port. */
export const portVariables = {
  api: 'BOX_API_PORT',
  registry: 'BOX_REGISTRY_PORT',
  service: 'BOX_SERVICE_PORT',
  aws: 'BOX_AWS_PORT',
  prometheus: 'BOX_PROMETHEUS_PORT',
} as const satisfies Record<keyof BoxConfig['ports'], string>

/** The registry host of the production image references. */
export const ECR_REGISTRY = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`

// A Unix socket path has at most 107 bytes; the longest below the state directory is containerd's shim socket.
const longestStateDir = 60

/**
 * Reads the box's configuration from the environment.
 *
 * @throws ActionableError when a variable has an invalid value.
 */
export function readBoxConfig(env: NodeJS.ProcessEnv): BoxConfig {
  const name = env['BOX_NAME'] ?? 'default'
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(name)) {
    throw new ActionableError(
      `BOX_NAME is "${name}", which is not a valid box name`,
      'use up to 20 lower-case letters, digits and dashes, starting with a letter',
    )
  }
  const stateDir = resolve(env['BOX_STATE_DIR'] || DEFAULT_STATE_ROOT, name)
  if (stateDir.length > longestStateDir) {
    throw new ActionableError(
      `the state directory ${stateDir} is too long for the Unix sockets in it`,
      `set BOX_STATE_DIR so that the path has at most ${longestStateDir} characters`,
    )
  }
  const ports = {
    api: readPort(env, portVariables.api, 6443),
    registry: readPort(env, portVariables.registry, 5000),
    service: readPort(env, portVariables.service, 8080),
    aws: readPort(env, portVariables.aws, 4566),
    // docker-compose.yml has a Prometheus at 9090.
    prometheus: readPort(env, portVariables.prometheus, 9091),
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
    maxNodes: readMaxNodes(env),
    startTimeoutSeconds: readStartTimeout(env),
  }
}

/** The user's home directory. Under sudo, it is the calling user's, who uses the built tools later. */
function callerHome(env: NodeJS.ProcessEnv): string {
  const uid = env['SUDO_UID']
  if (uid === undefined || process.getuid?.() !== 0) return homedir()
  const entry = spawnSync('getent', ['passwd', uid], { encoding: 'utf8' })
  return entry.stdout?.split(':')[5] || homedir()
}

function readMaxNodes(env: NodeJS.ProcessEnv): number {
  const text = env['BOX_MAX_NODES']
  if (text === undefined || text === '') return DEFAULT_MAX_NODES
  const nodes = Number(text)
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 40) {
    throw new ActionableError(
      `BOX_MAX_NODES is "${text}", which is not a number of nodes`,
      `use a number from 1 to 40; the default is ${DEFAULT_MAX_NODES}`,
    )
  }
  return nodes
}

function readStartTimeout(env: NodeJS.ProcessEnv): number {
  const text = env['BOX_START_TIMEOUT_SECONDS']
  if (text === undefined || text === '') return 120
  const seconds = Number(text)
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 86_400) {
    throw new ActionableError(
      `BOX_START_TIMEOUT_SECONDS is "${text}", which is not a time limit in seconds`,
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
    throw new ActionableError(
      `${variable} is "${text}", which is not a port number`,
      'use a number from 1 to 65535',
    )
  }
  return port
}

/** The operator's kubeconfig for the box's cluster; written by `up`. */
export function kubeconfigPath(config: BoxConfig): string {
  return join(config.stateDir, 'kubeconfig')
}

/** File with the certificate of the authority that signs those of the box's database and cache, in PEM. */
export function databaseAuthorityPath(config: BoxConfig): string {
  return join(config.stateDir, 'database-ca.pem')
}

/** An access key of the box's AWS account. It is worthless outside the box. */
export interface AccessKey {
  accessKeyId: string
  secretAccessKey: string
}

/** File with the operator's access key for the box's AWS; written when the account is created. */
export function operatorKeyPath(config: BoxConfig): string {
  return join(config.stateDir, 'aws-operator.json')
}

/**
 * The environment with which an AWS client talks to the box's AWS and to nothing else: it unsets the variables that
 * select the caller's own account (those that are undefined here), and keeps a proxy out of the way.
 *
 * @throws ActionableError when the box has not been started.
 */
export function awsEnvironment(config: BoxConfig, env = process.env): Record<string, string | undefined> {
  const path = operatorKeyPath(config)
  if (!existsSync(path)) throw new ActionableError('the box is not up', 'start it with `make up`')
  const key = JSON.parse(readFileSync(path, 'utf8')) as AccessKey
  // Some programs read only one of the two spellings.
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
    // Version 1 of the AWS CLI reads only this one.
    AWS_DEFAULT_REGION: REGION,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    AWS_CA_BUNDLE: undefined,
  }
}
