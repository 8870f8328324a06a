/** `make destroy`: destroys an environment's stacks and everything that the cluster's controllers created in AWS. */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DescribeImagesCommand } from '@aws-sdk/client-ecr'
import { type Cluster, waitUntilClusterActive, waitUntilClusterDeleted } from '@aws-sdk/client-eks'
import { DescribeDBInstancesCommand, type RDSClient } from '@aws-sdk/client-rds'
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  NetworkingV1Api,
  type V1PersistentVolume,
} from '@kubernetes/client-node'
import { loadKubeConfig } from 'shared/cluster-access'
import { type Environment, SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { type AwsClients, awsClients, describeCluster } from './aws.ts'
import { HelmPlatform } from './helm-platform.ts'
import { importOrphanedCluster } from './interrupted.ts'
import {
  CONTROLLER_POLLING,
  findClusterLeftovers,
  findControllerLeftovers,
  leftoversError,
  type Polling,
  removeLogGroup,
  waitUntilGone,
} from './leftovers.ts'
import { prepareStack, stacksOf, statePath } from './prepare-stack.ts'
import { helmMark, isInstalledByHelm } from './releases.ts'
import { type DeclaredCluster, declaredCluster, readState, type StackState, wasApplied } from './state.ts'
import { LOCK_TIMEOUT, run, type Stack, type StackName } from './terraform.ts'

/** How long EKS may take to create, update or delete a cluster, in seconds. */
const SETTLE_TIMEOUT = 1800

/** How long deleted resources may still be listed by AWS, in milliseconds. */
const FINAL_POLLING = { interval: 5_000, timeout: 120_000 }

/** The cluster that an environment's state describes. */
export interface Target {
  environment: string
  name: string
  region: string
  /** Whether the cluster is in the state. If it is not, a cluster of that name belongs to somebody else. */
  inState: boolean
  /** URL of its API server, from the state. */
  endpoint?: string
}

/**
 * Determines which cluster to destroy: from the state's outputs, or from its resources after an interrupted destroy,
 * which removes the outputs first. The variables count only when the state is empty.
 *
 * @throws ActionableError when the variables name another cluster or region. Terraform would search there, find nothing,
 * and drop the existing resources from its state.
 */
export function resolveTarget(
  environment: string,
  { outputs, resources }: StackState,
  declared: DeclaredCluster,
): Target {
  const nonEmpty = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)
  const cluster = resources.find(({ type }) => type === 'aws_eks_cluster')?.values
  const name = nonEmpty(outputs['cluster_name']) ?? nonEmpty(cluster?.['name']) ?? declared.name
  const applied = resources.flatMap(({ values }) => regionOf(values['arn']) ?? [])
  const region = nonEmpty(outputs['region']) ?? applied[0] ?? declared.region
  for (const [variable, actual, wanted] of [
    ['cluster_name', name, declared.name],
    ['region', region, declared.region],
  ]) {
    if (actual === wanted) continue
    throw new ActionableError(
      `${environment} was applied with ${variable} "${actual}", but its variables now say "${wanted}"`,
      `put ${variable} = "${actual}" back in infrastructure-hcl/environments/${environment}/cluster.tfvars, then run the command again`,
    )
  }
  const endpoint = nonEmpty(outputs['cluster_endpoint']) ?? nonEmpty(cluster?.['endpoint'])
  return {
    environment,
    name,
    region,
    inState: cluster !== undefined,
    ...(endpoint === undefined ? {} : { endpoint }),
  }
}

/** The region in an ARN; ARNs of global services have none. */
function regionOf(arn: unknown): string | undefined {
  return typeof arn === 'string' ? /^arn:[^:]+:[^:]+:([a-z0-9-]+):/.exec(arn)?.[1] : undefined
}

/**
 * Describes the cluster, after waiting for EKS to finish a change in progress.
 *
 * @returns undefined when there is no such cluster
 * @throws ActionableError when the cluster of that name is not the one in the state
 */
export async function findCluster(
  target: Target,
  { eks }: Pick<AwsClients, 'eks'>,
): Promise<Cluster | undefined> {
  const { name } = target
  const cluster = await describeCluster(eks, name)
  if (cluster === undefined || !target.inState) return cluster
  if (target.endpoint && cluster.endpoint && !isSameServer(target.endpoint, cluster.endpoint)) {
    throw new ActionableError(
      `cluster ${name} in ${target.region} is not the one that ${target.environment} created: its API is ${cluster.endpoint}, not ${target.endpoint}`,
      'it was probably recreated: remove the former one from the state (`terraform state rm`), or delete the cluster if nobody needs it',
    )
  }
  const params = { client: eks, maxWaitTime: SETTLE_TIMEOUT, minDelay: 2 }
  if (cluster.status === 'DELETING') {
    console.log(`EKS is already deleting cluster ${name}: waiting until it is gone`)
    await waitUntilClusterDeleted(params, { name })
  } else if (cluster.status === 'CREATING' || cluster.status === 'UPDATING') {
    console.log(`cluster ${name} is ${cluster.status}: waiting until it is active`)
    await waitUntilClusterActive(params, { name })
  } else return cluster
  return describeCluster(eks, name)
}

/**
 * Checks, before anything is destroyed, for everything that would make a destroy fail later.
 *
 * @param cluster - undefined when it is gone
 * @throws ActionableError with all of it
 */
export async function checkDestroyable(
  { environment, name, region }: Target,
  { resources }: StackState,
  cluster: Cluster | undefined,
  { ecr }: Pick<AwsClients, 'ecr'>,
): Promise<void> {
  const causes: string[] = []
  const settings: string[] = []
  const commands: string[] = []
  if (cluster?.deletionProtection === true) {
    causes.push(`deletion protection of cluster ${name} is on`)
    settings.push('deletion_protection = false')
    commands.push(`aws eks update-cluster-config --name ${name} --region ${region} --no-deletion-protection`)
  }
  for (const { type, values } of resources) {
    if (type !== 'aws_ecr_repository' || values['force_delete'] === true) continue
    const repository = String(values['name'])
    if (!(await hasImages(repository, ecr))) continue
    causes.push(`repository ${repository} holds images and images.force_delete is false`)
    settings.push('images.force_delete = true')
    commands.push(`aws ecr delete-repository --repository-name ${repository} --region ${region} --force`)
  }
  if (causes.length === 0) return
  throw new ActionableError(
    `${environment} cannot be destroyed: ${causes.join('; ')}. Nothing was changed`,
    `set ${settings.join(' and ')} in infrastructure-hcl/environments/${environment}/cluster.tfvars and run \`make apply ENV=${environment} STACK=cluster\`, or run \`${commands.join(' && ')}\`; then destroy again`,
  )
}

/**
 * Checks, before anything is destroyed, whether the database can be deleted.
 *
 * @returns the name of the snapshot that remains of it, if any
 * @throws ActionableError when its deletion protection is on
 */
export async function checkDatabaseDestroyable(
  { environment, region }: Pick<Target, 'environment' | 'region'>,
  { resources }: StackState,
  rds: RDSClient,
): Promise<string | undefined> {
  const database = resources.find(({ type }) => type === 'aws_db_instance')?.values
  if (database === undefined) return undefined
  const identifier = String(database['identifier'])
  if (await isProtected(identifier, rds)) {
    throw new ActionableError(
      `${environment} cannot be destroyed: deletion protection of database ${identifier} is on. Nothing was changed`,
      `run \`aws rds modify-db-instance --db-instance-identifier ${identifier} --region ${region} --no-deletion-protection --apply-immediately\`, then destroy again`,
    )
  }
  return database['skip_final_snapshot'] === true ? undefined : String(database['final_snapshot_identifier'])
}

async function isProtected(DBInstanceIdentifier: string, rds: RDSClient): Promise<boolean> {
  try {
    const { DBInstances = [] } = await rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier }))
    return DBInstances[0]?.DeletionProtection === true
  } catch (error) {
    if (error instanceof Error && error.name === 'DBInstanceNotFoundFault') return false
    throw error
  }
}

async function hasImages(repositoryName: string, ecr: AwsClients['ecr']): Promise<boolean> {
  try {
    const { imageDetails = [] } = await ecr.send(new DescribeImagesCommand({ repositoryName, maxResults: 1 }))
    return imageDetails.length > 0
  } catch (error) {
    if (error instanceof Error && error.name === 'RepositoryNotFoundException') return false
    throw error
  }
}

/**
 * Configures a client for the cluster and no other. In the box and with `KUBE_CONTEXT` it uses the kubeconfig, after
 * checking its server; otherwise EKS's description of the cluster and the caller's AWS credentials.
 *
 * @throws ActionableError when the kubeconfig leads to another cluster
 */
export function connectToCluster(
  { name, region, environment: environmentName }: Target,
  cluster: Cluster,
  environment: Environment,
): KubeConfig {
  const endpoint = cluster.endpoint ?? ''
  const kubeConfig = new KubeConfig()
  const { access } = environment
  if (access.from === 'make kubeconfig') {
    kubeConfig.loadFromClusterAndUser(
      { name, server: endpoint, caData: cluster.certificateAuthority?.data ?? '', skipTLSVerify: false },
      {
        name,
        exec: {
          apiVersion: 'client.authentication.k8s.io/v1beta1',
          command: 'aws',
          args: ['eks', 'get-token', '--cluster-name', name, '--region', region, '--output', 'json'],
          interactiveMode: 'Never',
        },
      },
    )
    return kubeConfig
  }
  const chosen = loadKubeConfig(access)
  const server = chosen.getCurrentCluster()?.server ?? ''
  if (isSameServer(server, endpoint)) return chosen
  const isBox = access.from === 'box'
  const source = isBox ? "the box's kubeconfig" : `KUBE_CONTEXT is "${access.context}", which`
  throw new ActionableError(
    `${source} leads to ${server}, not to ${environmentName}'s cluster ${name} (${endpoint}). Nothing was changed`,
    isBox
      ? 'see `make status`, and check BOX_NAME and BOX_API_PORT'
      : 'unset KUBE_CONTEXT: destroy finds the cluster without it',
  )
}

/** Whether two URLs have the same origin, whatever their case and whether or not they spell out a default port. */
function isSameServer(one: string, other: string): boolean {
  return URL.canParse(one) && URL.canParse(other) && new URL(one).origin === new URL(other).origin
}

/**
 * The kinds for which Karpenter holds instances and launch templates. It deletes the templates of an EC2NodeClass with
 * it, after the last of its nodes; else they stay until they have not been used for a while.
 */
const KARPENTER_KINDS = [
  ['NodePool', { group: 'karpenter.sh', version: 'v1', plural: 'nodepools' }],
  ['EC2NodeClass', { group: 'karpenter.k8s.aws', version: 'v1', plural: 'ec2nodeclasses' }],
] as const

/**
 * Deletes the Kubernetes objects for which controllers hold resources in AWS: Ingresses, Services of type LoadBalancer,
 * NodePools and EC2NodeClasses, and PersistentVolumeClaims with the workloads that use them.
 *
 * @returns what was deleted, and the EBS volumes of the claims
 * @throws ActionableError, before deleting anything, when a volume has the reclaim policy Retain
 */
export async function deleteObjectsBackedByAws(
  cluster: KubeConfig,
): Promise<{ deleted: string[]; volumeIds: string[] }> {
  const core = cluster.makeApiClient(CoreV1Api)
  const networking = cluster.makeApiClient(NetworkingV1Api)
  const custom = cluster.makeApiClient(CustomObjectsApi)
  const volumes = (await core.listPersistentVolume()).items.filter(
    ({ spec }) => spec?.csi?.driver === 'ebs.csi.aws.com',
  )
  refuseRetained(volumes)
  const deleted: string[] = []
  const remove = async (what: string, request: Promise<unknown>) => {
    await request.catch(ignoreNotFound)
    deleted.push(what)
  }
  for (const { metadata } of (await networking.listIngressForAllNamespaces()).items) {
    const named = { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '' }
    await remove(`Ingress ${named.namespace}/${named.name}`, networking.deleteNamespacedIngress(named))
  }
  for (const { metadata, spec } of (await core.listServiceForAllNamespaces()).items) {
    if (spec?.type !== 'LoadBalancer') continue
    const named = { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '' }
    await remove(`Service ${named.namespace}/${named.name}`, core.deleteNamespacedService(named))
  }
  const claims = volumes.flatMap(({ spec }) => {
    const { name, namespace } = spec?.claimRef ?? {}
    return name === undefined || namespace === undefined ? [] : [{ name, namespace }]
  })
  for (const claim of claims) {
    await remove(
      `PersistentVolumeClaim ${claim.namespace}/${claim.name}`,
      core.deleteNamespacedPersistentVolumeClaim(claim),
    )
  }
  if (claims.length > 0) deleted.push(...(await deleteWorkloads(claims, cluster)))
  for (const [kind, resource] of KARPENTER_KINDS) {
    // Without Karpenter the kind does not exist.
    const list = ((await custom.listClusterCustomObject(resource).catch(ignoreNotFound)) ?? {
      items: [],
    }) as {
      items: { metadata: { name: string } }[]
    }
    for (const { metadata } of list.items) {
      const { name } = metadata
      await remove(`${kind} ${name}`, custom.deleteClusterCustomObject({ ...resource, name }))
    }
  }
  return { deleted, volumeIds: volumes.flatMap(({ spec }) => spec?.csi?.volumeHandle ?? []) }
}

function refuseRetained(volumes: readonly V1PersistentVolume[]): void {
  const retained = volumes.filter(({ spec }) => spec?.persistentVolumeReclaimPolicy === 'Retain')
  const names = retained.map(({ metadata }) => metadata?.name ?? '')
  if (names.length === 0) return
  throw new ActionableError(
    `the reclaim policy Retain protects data: ${retained.map(({ metadata, spec }) => `PersistentVolume ${metadata?.name} on EBS volume ${spec?.csi?.volumeHandle}`).join(', ')}. Nothing was changed`,
    `back up the data, then change the policy: \`kubectl patch persistentvolume ${names.join(' ')} --patch '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}'\`, and destroy again`,
  )
}

/** Kubernetes keeps a claim while a pod uses it, and a pod's controller would recreate the pod. */
async function deleteWorkloads(
  claims: readonly { name: string; namespace: string }[],
  cluster: KubeConfig,
): Promise<string[]> {
  const objects = KubernetesObjectApi.makeApiClient(cluster)
  const { items: pods } = await cluster.makeApiClient(CoreV1Api).listPodForAllNamespaces()
  const using = pods.filter(({ metadata, spec }) =>
    spec?.volumes?.some(({ persistentVolumeClaim: used }) =>
      claims.some(({ name, namespace }) => namespace === metadata?.namespace && name === used?.claimName),
    ),
  )
  const deleted = new Set<string>()
  for (const pod of using) {
    const owner = await rootOwner({ ...pod, apiVersion: 'v1', kind: 'Pod' }, objects)
    const what = `${owner.kind} ${owner.metadata?.namespace}/${owner.metadata?.name}`
    if (deleted.has(what)) continue
    await objects
      .delete(owner, undefined, undefined, undefined, undefined, 'Background')
      .catch(ignoreNotFound)
    deleted.add(what)
  }
  return [...deleted]
}

/** The last of the controllers above an object: a pod's Deployment, or the custom resource that owns a StatefulSet. */
async function rootOwner(object: KubernetesObject, objects: KubernetesObjectApi): Promise<KubernetesObject> {
  const owner = object.metadata?.ownerReferences?.find(({ controller }) => controller === true)
  if (owner === undefined) return object
  const { apiVersion, kind, name } = owner
  const { namespace } = object.metadata ?? {}
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) }
  const parent = await objects.read({ apiVersion, kind, metadata }).catch(ignoreNotFound)
  return parent === undefined ? object : rootOwner(parent, objects)
}

function ignoreNotFound(error: unknown): undefined {
  if (error instanceof ApiException && error.code === 404) return undefined
  throw error
}

/**
 * Deletes everything for which the cluster's controllers hold resources in AWS, and waits until those are gone. A
 * cluster that refuses access, as after an interrupted destroy, is skipped if its controllers left nothing in AWS.
 *
 * @throws ActionableError with the resources that are not deleted
 */
export async function emptyCluster(
  target: Target,
  cluster: KubeConfig,
  clients: Pick<AwsClients, 'ec2' | 'elb'>,
): Promise<void> {
  let volumeIds: readonly string[] = []
  try {
    const found = await deleteObjectsBackedByAws(cluster)
    volumeIds = found.volumeIds
    for (const what of found.deleted) console.log(`deleted ${what}`)
    await deleteExternalSecrets(cluster)
  } catch (error) {
    const reason = accessFailure(error)
    if (reason === undefined) throw error
    const leftovers = await findControllerLeftovers(target, clients)
    const situation = `cluster ${target.name} cannot be cleaned up from inside: ${reason}`
    if (leftovers.length > 0) {
      throw leftoversError(
        leftovers,
        target.region,
        `${situation}, and its controllers left these resources in AWS`,
        'check that you can reach the cluster and that access.admins includes you; if the cluster refuses everybody, delete the resources by hand',
      )
    }
    console.log(`${situation}; its controllers left nothing in AWS, so destroy continues`)
    return
  }
  await waitUntilGone(
    target,
    () => findControllerLeftovers({ ...target, volumeIds }, clients),
    (line) => console.log(line),
  )
}

/** Why a cluster refused access or could not be reached; undefined for any other error. */
function accessFailure(error: unknown): string | undefined {
  if (error instanceof ApiException) {
    if (error.code === 401) return 'it does not accept your credentials'
    return error.code === 403 ? 'you are not one of its administrators' : undefined
  }
  // The message of fetch is only "fetch failed".
  if (error instanceof TypeError && error.cause instanceof Error) return error.cause.message
  return undefined
}

/** Plans and applies the destruction of one stack. */
type DestroyStack = (stack: Stack) => Promise<void>

/** The changes of stacks that a destroy makes. */
export interface Changes {
  destroyStack: DestroyStack
  /** Applies an edge stack without what refers to the load balancer. */
  detachStack: (stack: Stack) => Promise<void>
}

/**
 * Destroys an environment's stacks and everything that the cluster's controllers created in AWS. After an interruption
 * at any point, a second run continues.
 *
 * @param names - in the order of destruction
 * @throws ActionableError when something prevents the destroy, or is left in AWS
 */
export async function destroyStacks(
  names: readonly StackName[],
  environment: Environment,
  changes: Changes,
): Promise<void> {
  const { destroyStack } = changes
  // Nothing in the cluster depends on these. Alone, they are destroyed without a change to the cluster.
  if (names.includes('alarms')) await destroyStack(await prepareStack('alarms', environment))
  const inCluster = names.filter((name) => IN_CLUSTER.includes(name))
  if (inCluster.length > 0) await destroyClusterStacks(inCluster, environment, changes)
  if (names.includes('network')) await destroyNetwork(environment, destroyStack)
  if (names.includes('bootstrap')) await destroyStack(await prepareStack('bootstrap', environment))
}

/**
 * Destroys the network, if nothing uses it any more.
 *
 * @throws ActionableError with the first resource that does. AWS would refuse to delete the subnets, after Terraform had
 * deleted the cluster's way to the internet.
 */
async function destroyNetwork(environment: Environment, destroyStack: DestroyStack): Promise<void> {
  const stack = await prepareStack('network', environment)
  const network = await readState(stack)
  for (const name of stacksOf(environment).filter((other) => other === 'cluster' || other === 'data')) {
    const user = findNetworkUser(network, await readState(await prepareStack(name, environment)))
    if (user === undefined) continue
    throw new ActionableError(
      `the network of ${environment.name} is in use: ${user} of the stack ${name} is in it. Nothing was changed`,
      `destroy everything with \`make destroy ENV=${environment.name}\`, or that stack first: \`make destroy ENV=${environment.name} STACK=${name}\``,
    )
  }
  await destroyStack(stack)
}

/** The address of a resource that is in a network: one that names its VPC or one of its subnets. */
export function findNetworkUser(network: StackState, user: StackState): string | undefined {
  const parts = network.resources.flatMap(({ type, values }) =>
    type === 'aws_vpc' || type === 'aws_subnet' ? [JSON.stringify(values['id'])] : [],
  )
  return user.resources.find(({ values }) => {
    const text = JSON.stringify(values)
    return parts.some((id) => text.includes(id))
  })?.address
}

/** The cluster, and the stacks that build on it. */
const IN_CLUSTER: readonly StackName[] = ['edge', 'platform', 'data', 'cluster']

async function destroyClusterStacks(
  names: readonly StackName[],
  environment: Environment,
  { destroyStack, detachStack }: Changes,
): Promise<void> {
  const stack = await prepareStack('cluster', environment)
  const declared = await declaredCluster(stack)
  let state = await readState(stack)
  // A cluster that is missing from the state would survive the destroy, without its IAM role.
  if (await importOrphanedCluster(stack, state, declared)) state = await readState(stack)
  const target = resolveTarget(environment.name, state, declared)
  const clients = awsClients(environment, target.region)
  const found = await findCluster(target, clients)
  const cluster = target.inState ? found : undefined
  const access = cluster === undefined ? undefined : connectToCluster(target, cluster, environment)
  if (names.includes('cluster')) await checkDestroyable(target, state, cluster, clients)
  const data = names.includes('data') ? await prepareStack('data', environment) : undefined
  const snapshot = data && (await checkDatabaseDestroyable(target, await readState(data), clients.rds))
  if (target.inState && cluster === undefined) {
    console.log(`cluster ${target.name} is already gone, so there is nothing to clean up in it`)
  }
  // AWS deletes neither a load balancer that CloudFront uses nor a certificate that a load balancer uses.
  const needsCluster = names.some((name) => name !== 'data')
  const edge = needsCluster ? await appliedEdge(environment) : undefined
  if (edge !== undefined) await detachStack(edge)
  if (access !== undefined && needsCluster) {
    if (names.some((name) => name !== 'edge')) await emptyCluster(target, access, clients)
    else if (edge !== undefined) await deleteServiceIngress(access)
  }
  for (const name of names) {
    if (name === 'edge') {
      if (edge === undefined) console.log(`edge (${environment.name}): there is nothing to destroy`)
      else await destroyStack(edge)
    } else if (name === 'data' && data !== undefined) {
      await destroyStack(data)
      if (snapshot !== undefined) console.log(`the database's data remains in the snapshot ${snapshot}`)
    } else if (name === 'cluster') await destroyCluster(stack, state, target, found, clients, destroyStack)
    else if (await isInstalledByHelm(environment)) await uninstallPlatform(environment, cluster)
    else await destroyPlatform(await prepareStack(name, environment), cluster, destroyStack)
  }
}

/** The environment's edge stack; undefined if it is not applied. */
async function appliedEdge(environment: Environment): Promise<Stack | undefined> {
  // Much faster than prepareStack, which runs init.
  if (environment.name === 'local' && !existsSync(statePath(environment.box, 'edge'))) return undefined
  if (!stacksOf(environment).includes('edge')) return undefined
  const stack = await prepareStack('edge', environment)
  return (await readState(stack)).resources.length > 0 ? stack : undefined
}

/**
 * Deletes the service's Ingress, and waits until the load balancer controller has deleted its load balancer. The
 * controller's finalizer keeps the Ingress until then.
 *
 * @throws ActionableError when the load balancer is not deleted in time
 */
export async function deleteServiceIngress(
  cluster: KubeConfig,
  polling: Polling = CONTROLLER_POLLING,
): Promise<void> {
  const networking = cluster.makeApiClient(NetworkingV1Api)
  const ingress = { name: SERVICE, namespace: SERVICE }
  if ((await networking.deleteNamespacedIngress(ingress).catch(ignoreNotFound)) === undefined) return
  console.log(
    `deleted Ingress ${SERVICE}/${SERVICE}, because it uses the certificate; \`make deploy\` creates it again`,
  )
  const exists = async () =>
    (await networking.readNamespacedIngress(ingress).catch(ignoreNotFound)) !== undefined
  await waitForController('aws-load-balancer-controller', 'Ingress', exists, polling)
}

/**
 * Deletes all ExternalSecrets, and waits until the operator has removed its finalizer from them. Without the operator,
 * they would keep their custom resource definition from being deleted.
 *
 * @throws ActionableError when they are not deleted in time
 */
export async function deleteExternalSecrets(
  cluster: KubeConfig,
  polling: Polling = { ...CONTROLLER_POLLING, interval: 1_000 },
): Promise<void> {
  const custom = cluster.makeApiClient(CustomObjectsApi)
  const kind = { group: 'external-secrets.io', version: 'v1', plural: 'externalsecrets' }
  const list = async () => {
    // Without the operator the kind does not exist.
    const found = (await custom.listClusterCustomObject(kind).catch(ignoreNotFound)) ?? { items: [] }
    return (found as { items: { metadata: { name: string; namespace: string } }[] }).items
  }
  for (const { metadata } of await list()) {
    const { name, namespace } = metadata
    await custom.deleteNamespacedCustomObject({ ...kind, name, namespace }).catch(ignoreNotFound)
    console.log(`deleted ExternalSecret ${namespace}/${name}`)
  }
  await waitForController(
    'external-secrets',
    'ExternalSecrets',
    async () => (await list()).length > 0,
    polling,
  )
}

/** Waits until a controller of the platform has cleaned up behind objects that are being deleted. */
async function waitForController(
  controller: string,
  what: string,
  exists: () => Promise<boolean>,
  { interval, timeout }: Polling,
): Promise<void> {
  const deadline = Date.now() + timeout
  while (await exists()) {
    if (Date.now() >= deadline) {
      throw new ActionableError(
        `the controller ${controller} has not cleaned up behind the deleted ${what} after ${Math.round(timeout / 60_000)} min`,
        `look for the reason in the log of the Deployment ${controller} (namespace kube-system), then run the command again`,
      )
    }
    await sleep(interval)
  }
}

/** Uninstalls the platform's releases where Helm installed them. */
async function uninstallPlatform(environment: Environment, cluster: Cluster | undefined): Promise<void> {
  const title = `platform (${environment.name})`
  if (!existsSync(helmMark(environment.box))) console.log(`${title}: there is nothing to destroy`)
  else if (cluster === undefined) {
    // Without nodes and controllers, the releases' objects could not be deleted.
    console.log(`${title}: its cluster is deleted; the box keeps the releases for the next apply`)
  } else {
    await new HelmPlatform(environment).destroy()
    console.log(`destroyed ${title}`)
  }
}

async function destroyPlatform(
  stack: Stack,
  cluster: Cluster | undefined,
  destroyStack: DestroyStack,
): Promise<void> {
  const { resources } = await readState(stack)
  if (resources.length > 0 && cluster === undefined) {
    await run(stack, ['state', 'rm', LOCK_TIMEOUT, ...resources.map(({ address }) => address)])
    console.log(
      `platform (${stack.environment.name}) was deleted with its cluster: removed ${resources.length} resources from the state`,
    )
  } else await destroyStack(stack)
}

async function destroyCluster(
  stack: Stack,
  { resources }: StackState,
  target: Target,
  found: Cluster | undefined,
  clients: AwsClients,
  destroyStack: DestroyStack,
): Promise<void> {
  const isForeign = found !== undefined && !target.inState
  // Volumes of the platform's workloads are deleted only after the platform stack.
  if (target.inState) {
    await waitUntilGone(
      target,
      () => findControllerLeftovers(target, clients),
      (line) => console.log(line),
    )
  }
  // A previous run may have been interrupted after Terraform had finished, before the checks below.
  const hadResources = resources.length > 0 || (await wasApplied(stack))
  await destroyStack(stack)
  if (!hadResources || isForeign) return
  const once = { interval: 0, timeout: 0 }
  await removeLogGroup(
    target.name,
    clients.logs,
    (line) => console.log(line),
    ...(resources.length > 0 ? [] : [once]),
  )
  await waitUntilGone(
    target,
    () => findClusterLeftovers(target, clients),
    (line) => console.log(line),
    FINAL_POLLING,
  )
}
