import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type BoxConfig, REGION } from 'shared/box'

/** The shape of the box's cluster. Values that EKS does not let users change are those of EKS. */

/** The project's cluster; the same name in the box and on AWS. */
export const CLUSTER_NAME = 'fastify-eks-cluster'

/** IAM user of the box's operator. */
export const OPERATOR = 'operator'

/** Service range that EKS assigns when the VPC is in 10.0.0.0/8 (EKS user guide, kubernetesNetworkConfig). */
export const SERVICE_CIDR = '172.20.0.0/16'
export const KUBERNETES_SERVICE_IP = '172.20.0.1'
export const DNS_SERVICE_IP = '172.20.0.10'

/**
 * Address of the control plane, of the emulated AWS and of the service's database and cache. It is in the VPC, but in no
 * subnet, so no instance can have it.
 */
export const CONTROL_PLANE_IP = '10.0.255.10'

/** Address of the VPC's DNS resolver: the second after the VPC's first (VPC user guide, Amazon DNS server). */
export const RESOLVER_IP = '10.0.0.2'

/** NodePort that the box's port `service` forwards to; set in `helm/fastify-app/values-local.yaml`. */
export const SERVICE_NODE_PORT = 30080

/** NodePort that the box's port `prometheus` forwards to; set in `manifests/monitoring/monitoring.yaml`. */
export const PROMETHEUS_NODE_PORT = 30090

/**
 * The issuer of the cluster's service account tokens, and IAM's OIDC provider. It looks like an issuer of EKS, because
 * Terraform's AWS provider cannot compare a URL that has a port. Nothing listens there: the API server serves the keys
 * (`/openid/v1/jwks`).
 */
export function oidcIssuer({ name }: Pick<BoxConfig, 'name'>): string {
  const id = createHash('sha256').update(name).digest('hex').slice(0, 32).toUpperCase()
  return `https://oidc.eks.${REGION}.amazonaws.com/id/${id}`
}

/** Ports inside the box's network namespace. */
export const PORTS = {
  apiserver: 6443,
  controllerManager: 10257,
  scheduler: 10259,
  kubelet: 10250,
  kubeletHealth: 10248,
  proxyHealth: 10256,
  networkPoliciesHealth: 8163,
  etcdClient: 2379,
  etcdPeer: 2380,
  etcdHealth: 2381,
  dns: 53,
  resolverReady: 8181,
  registry: 5000,
  aws: 4566,
  moto: 4567,
  loadBalancers: 4569,
  haproxyHealth: 8182,
  eksWebhooks: 4568,
  nodes: 4570,
  nodeCapacityWebhook: 4571,
  /** As on EKS, where the webhook runs beside the API server, too. */
  podIdentityWebhook: 23443,
  podIdentityAgent: 80,
  postgres: 5432,
  redis: 6379,
  /** Without TLS, for the box itself. */
  redisWithoutTls: 6380,
} as const

/** The emulated AWS, as pods reach it. */
export const AWS_ENDPOINT = `http://${CONTROL_PLANE_IP}:${PORTS.aws}`

/** Address of the pod identity agent on each node, which the AWS SDKs know (EKS user guide, EKS Pod Identity Agent). */
export const AGENT_ADDRESS = '169.254.170.23'

/** The registry of EKS's add-ons in this region (EKS user guide, Amazon container image registries). */
export const ADDON_REGISTRY = `602401143452.dkr.ecr.${REGION}.amazonaws.com`

/** Admission plugins that EKS enables on every platform version (EKS user guide, platform versions). */
export const ADMISSION_PLUGINS = [
  'NodeRestriction',
  'ExtendedResourceToleration',
  'NamespaceLifecycle',
  'LimitRanger',
  'ServiceAccount',
  'TaintNodesByCondition',
  'PodSecurity',
  'Priority',
  'DefaultTolerationSeconds',
  'DefaultStorageClass',
  'StorageObjectInUseProtection',
  'PersistentVolumeClaimResize',
  'RuntimeClass',
  'CertificateApproval',
  'CertificateSigning',
  'CertificateSubjectRestriction',
  'DefaultIngressClass',
  'MutatingAdmissionWebhook',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionWebhook',
  'ResourceQuota',
] as const

/** RBAC of the components that run outside the cluster; applied at every start of the API server. */
export const COMPONENTS_MANIFEST = join(import.meta.dirname, '..', 'manifests', 'components.yaml')

/** Kinds of objects that the service's chart creates; applied at every start of the API server. */
export const DEFINITIONS_MANIFEST = join(import.meta.dirname, '..', 'manifests', 'definitions.yaml')
