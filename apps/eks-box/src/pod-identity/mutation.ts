import { REGION } from 'shared/box'
import { AGENT_ADDRESS, AWS_ENDPOINT } from '../cluster.ts'

/** The parts of a pod that the webhook reads or changes (Kubernetes API, Pod v1). */
export interface Pod {
  metadata?: { annotations?: Record<string, string> }
  spec: {
    serviceAccountName?: string
    containers: Container[]
    initContainers?: Container[]
    volumes?: Volume[]
  }
}

export interface Container {
  name: string
  env?: { name: string; value?: string }[]
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[]
}

interface Volume {
  name: string
  projected?: {
    sources: { serviceAccountToken?: { audience: string; expirationSeconds: number; path: string } }[]
  }
}

/** A pod's service account, as far as it decides the pod's credentials. */
export interface ServiceAccount {
  annotations: Readonly<Record<string, string>>
  /** Whether the EKS API has a pod identity association for it. */
  isAssociated: boolean
}

/** An operation of a JSON patch. */
export interface PatchOperation {
  op: 'add'
  path: string
  value: unknown
}

/** The token and the variables with which a pod gets its credentials. */
interface Method {
  volume: string
  mountPath: string
  audience: string
  file: string
  variables: Readonly<Record<string, string>>
}

const prefix = 'eks.amazonaws.com'
/** Lifetime of tokens in seconds: the webhook's default, and the least that Kubernetes issues. */
const expiration = { default: 86_400, least: 600 }

/**
 * The changes that give a new pod AWS credentials, by the rules of EKS's pod identity webhook: an association outranks
 * the service account's annotation, and nothing that a container already has is replaced.
 *
 * @returns an empty patch when the service account has neither.
 */
export function mutate(pod: Pod, account: ServiceAccount): PatchOperation[] {
  const method = methodOf(account)
  if (method === undefined) return []
  const podAnnotations = pod.metadata?.annotations ?? {}
  const variables = [stsVariables(account.annotations), regionVariables, method.variables, endpointVariables]
  const skipped = (podAnnotations[`${prefix}/skip-containers`] ?? '').split(',').map((name) => name.trim())
  const equip = (container: Container): Container =>
    skipped.includes(container.name) ? container : withCredentials(container, method, variables)
  const { containers, initContainers, volumes = [] } = pod.spec
  const volume: Volume = {
    name: method.volume,
    projected: {
      sources: [
        {
          serviceAccountToken: {
            audience: method.audience,
            expirationSeconds: tokenExpiration(podAnnotations, account.annotations),
            path: method.file,
          },
        },
      ],
    },
  }
  const hasVolume = volumes.some(({ name }) => name === method.volume)
  return [
    ...(hasVolume ? [] : [add('volumes', [volume, ...volumes])]),
    add('containers', containers.map(equip)),
    ...(initContainers === undefined ? [] : [add('initContainers', initContainers.map(equip))]),
  ]
}

function add(field: keyof Pod['spec'], value: unknown): PatchOperation {
  return { op: 'add', path: `/spec/${field}`, value }
}

function methodOf({ annotations, isAssociated }: ServiceAccount): Method | undefined {
  if (isAssociated) {
    const mountPath = '/var/run/secrets/pods.eks.amazonaws.com/serviceaccount'
    const file = 'eks-pod-identity-token'
    return {
      volume: 'eks-pod-identity-token',
      mountPath,
      audience: 'pods.eks.amazonaws.com',
      file,
      variables: {
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://${AGENT_ADDRESS}/v1/credentials`,
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: `${mountPath}/${file}`,
      },
    }
  }
  const roleArn = annotations[`${prefix}/role-arn`]
  if (roleArn === undefined || roleArn === '') return undefined
  const mountPath = '/var/run/secrets/eks.amazonaws.com/serviceaccount'
  return {
    volume: 'aws-iam-token',
    mountPath,
    audience: annotations[`${prefix}/audience`] ?? 'sts.amazonaws.com',
    file: 'token',
    variables: { AWS_ROLE_ARN: roleArn, AWS_WEB_IDENTITY_TOKEN_FILE: `${mountPath}/token` },
  }
}

/** EKS enables regional endpoints by default; an annotation can disable them. */
function stsVariables(annotations: ServiceAccount['annotations']): Record<string, string> {
  const setting = annotations[`${prefix}/sts-regional-endpoints`] ?? ''
  return /^(0|f|false)$/i.test(setting) ? {} : { AWS_STS_REGIONAL_ENDPOINTS: 'regional' }
}

/**
 * Only in the box: on AWS, the SDKs' default endpoints are reachable. The AWS SDK for Go exchanges the token before it
 * reads the variable for all services (`resolveCredentials` and `resolveBaseEndpoint` in its config.go).
 */
const endpointVariables = { AWS_ENDPOINT_URL: AWS_ENDPOINT, AWS_ENDPOINT_URL_STS: AWS_ENDPOINT }
const regionVariables = { AWS_DEFAULT_REGION: REGION, AWS_REGION: REGION }

/** The pod's annotation outranks the service account's; one that is not a number is ignored. */
function tokenExpiration(...sources: Readonly<Record<string, string>>[]): number {
  for (const annotations of sources) {
    const text = annotations[`${prefix}/token-expiration`] ?? ''
    if (/^[+-]?\d+$/.test(text)) return Math.max(Number(text), expiration.least)
  }
  return expiration.default
}

/** @param groups variables that belong together: a container that has one of a group gets none of it. */
function withCredentials(
  container: Container,
  method: Method,
  groups: readonly Readonly<Record<string, string>>[],
): Container {
  const { env = [], volumeMounts = [] } = container
  const defined = new Set(env.map(({ name }) => name))
  const missing = groups
    .filter((group) => !Object.keys(group).some((name) => defined.has(name)))
    .flatMap((group) => Object.entries(group).map(([name, value]) => ({ name, value })))
  const mount = { name: method.volume, mountPath: method.mountPath, readOnly: true }
  return {
    ...container,
    env: [...env, ...missing],
    volumeMounts: volumeMounts.some(({ name }) => name === mount.name)
      ? volumeMounts
      : [...volumeMounts, mount],
  }
}
