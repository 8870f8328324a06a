import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { AccessKey } from './aws/account.ts'
import { ACCOUNT, REGION } from './cluster.ts'
import { ActionableError } from './errors.ts'

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
 * Free disk that is needed, in GiB: to build every tool once (modules, intermediate results and programs),
 * and to run a box (images, etcd's data, logs), each with room to spare.
 */
export const DISK_NEEDED = { build: 15, run: 3 } as const

/** Where boxes keep their state unless `BOX_STATE_DIR` says otherwise; gone with the last box. */
export const DEFAULT_STATE_ROOT = '/var/lib/eks-box'

/** The environment variable that chooses each port. */
export const portVariables = {
  api: 'BOX_API_PORT',
  registry: 'BOX_REGISTRY_PORT',
  service: 'BOX_SERVICE_PORT',
  aws: 'BOX_AWS_PORT',
} as const satisfies Record<keyof BoxConfig['ports'], string>

/** NodePort inside the box that `ports.service` leads to; `helm/fastify-app/values-local.yaml` asks for it. */
export const SERVICE_NODE_PORT = 30080

/** The registry host of the production image references. */
export const ECR_REGISTRY = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`

/**
 * Whether commands work on the box: `ENV` is local (the default), and `KUBE_CONTEXT` names no other cluster. Every
 * command that needs to know which cluster is meant asks here.
 */
export function usesBox(env: NodeJS.ProcessEnv): boolean {
  return (env['ENV'] || 'local') === 'local' && !env['KUBE_CONTEXT']
}

/**
 * Refuses to start the box when another cluster is meant.
 *
 * @throws ActionableError with the commands for that cluster.
 */
export function requireBox(env: NodeJS.ProcessEnv): void {
  if (usesBox(env)) return
  const { ENV: name = 'local', KUBE_CONTEXT: context } = env
  if (context) {
    throw new ActionableError(
      `KUBE_CONTEXT=${context} takes the place of the box, so the box was not started`,
      'run `make build push deploy loadtest` for that cluster, or unset KUBE_CONTEXT',
    )
  }
  throw new ActionableError(
    `ENV=${name} does not use the box, so nothing was started`,
    `run \`make apply kubeconfig build push deploy ENV=${name}\`, or leave ENV out to start the box`,
  )
}

// A unix socket path holds 107 bytes; the longest one below the state directory is containerd's shim socket.
const longestStateDir = 60

/**
 * Reads the box's configuration from the environment.
 *
 * @throws ActionableError when a variable holds something the box cannot use.
 */
export function readConfig(env: NodeJS.ProcessEnv): BoxConfig {
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

/** The box's time limits in milliseconds. */
export interface TimeLimits {
  /** From a component's start to its first answer. */
  componentStart: number
  /** From the first failing probe of a component that was ready until it is started again. */
  componentHang: number
  /** From a component's stop signal until it is killed. */
  componentStop: number
  /** From the order to stop until the host process kills every process of the box. */
  allStop: number
  /** From the order to stop until `make down` gives up on the host process. */
  boxStop: number
  /** From `make up` until every component is ready. */
  boxStart: number
}

/**
 * Derives every time limit of the box from `startTimeoutSeconds`, so that one setting fits them all to a slow
 * machine. The longest chain of components that wait for each other has four links: etcd, kube-apiserver,
 * kubelet, metrics-server.
 */
export function timeLimits({ startTimeoutSeconds }: Pick<BoxConfig, 'startTimeoutSeconds'>): TimeLimits {
  const componentStart = startTimeoutSeconds * 1000
  // A short patience with starts is no reason to kill a database that is still writing.
  const boxStop = Math.max(componentStart, 120_000)
  return {
    componentStart,
    componentHang: componentStart / 4,
    componentStop: boxStop / 8,
    allStop: (boxStop * 3) / 4,
    boxStop,
    boxStart: componentStart * 4,
  }
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

/**
 * The issuer of the cluster's service account tokens, an OIDC provider for IAM. A name as EKS gives it: Terraform's
 * provider cannot compare one with a port. It answers nothing; the keys are the API server's (`/openid/v1/jwks`).
 */
export function oidcIssuer({ name }: Pick<BoxConfig, 'name'>): string {
  const id = createHash('sha256').update(name).digest('hex').slice(0, 32).toUpperCase()
  return `https://oidc.eks.${REGION}.amazonaws.com/id/${id}`
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
