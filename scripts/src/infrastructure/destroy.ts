/** `make destroy`: an environment's stacks, and everything in AWS that their cluster brought about. */
import { DescribeImagesCommand } from '@aws-sdk/client-ecr'
import { type Cluster, waitUntilClusterActive, waitUntilClusterDeleted } from '@aws-sdk/client-eks'
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
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { type AwsClients, awsClients, describeCluster } from './aws.ts'
import { adoptLostCluster } from './interrupted.ts'
import { clusterRemains, controllerRemains, leftBehind, removeLogGroup, waitUntilGone } from './remains.ts'
import {
  declaredCluster,
  LOCK_TIMEOUT,
  prepareStack,
  readState,
  run,
  type Stack,
  type StackName,
  type StackState,
  wasApplied,
} from './terraform.ts'

/** Longest time EKS may take to finish creating, updating or deleting a cluster, in seconds. */
const SETTLE_TIMEOUT = 1800

/** How long AWS may take to show that the last objects are gone, in milliseconds. */
const AFTERWARDS = { interval: 5_000, deadline: 120_000 }

/** The cluster that an environment's state describes. */
export interface Target {
  environment: string
  name: string
  region: string
  /** Whether the state holds the cluster. When it does not, a cluster of that name belongs to someone else. */
  isOurs: boolean
  /** URL of its API, as Terraform saw it. */
  endpoint?: string
}

/**
 * Which cluster a destroy is about, by the stack's state: its outputs, and once a destroy that was interrupted has
 * removed these, its resources. The variables decide only when nothing is left.
 *
 * @throws ActionableError when the variables name another cluster or region. Terraform would look for everything there,
 * find nothing, and forget what it has.
 */
export function targetOf(
  environment: string,
  { outputs, resources }: StackState,
  declared: { name: string; region: string },
): Target {
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)
  const cluster = resources.find(({ type }) => type === 'aws_eks_cluster')?.values
  const name = text(outputs['cluster_name']) ?? text(cluster?.['name']) ?? declared.name
  const applied = resources.flatMap(({ values }) => regionOf(values['arn']) ?? [])
  const region = text(outputs['region']) ?? applied[0] ?? declared.region
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
  const endpoint = text(outputs['cluster_endpoint']) ?? text(cluster?.['endpoint'])
  return {
    environment,
    name,
    region,
    isOurs: cluster !== undefined,
    ...(endpoint === undefined ? {} : { endpoint }),
  }
}

/** The region in an ARN; global services have none. */
function regionOf(arn: unknown): string | undefined {
  return typeof arn === 'string' ? /^arn:[^:]+:[^:]+:([a-z0-9-]+):/.exec(arn)?.[1] : undefined
}

/**
 * The cluster as EKS knows it, once EKS has finished what it was doing.
 *
 * @returns undefined when there is none.
 * @throws ActionableError when a cluster of that name is not the one in the state.
 */
export async function findCluster(
  target: Target,
  { eks }: Pick<AwsClients, 'eks'>,
): Promise<Cluster | undefined> {
  const { name } = target
  const cluster = await describeCluster(eks, name)
  if (cluster === undefined || !target.isOurs) return cluster
  if (target.endpoint && cluster.endpoint && !sameServer(target.endpoint, cluster.endpoint)) {
    throw new ActionableError(
      `cluster ${name} in ${target.region} is not the one that ${target.environment} created: its API is ${cluster.endpoint}, not ${target.endpoint}`,
      `somebody created it anew; take the former one out of the state (\`terraform state rm\`), or delete the cluster if nobody needs it`,
    )
  }
  const params = { client: eks, maxWaitTime: SETTLE_TIMEOUT, minDelay: 2 }
  if (cluster.status === 'DELETING') {
    console.log(`EKS is deleting cluster ${name} already: waiting until it is gone`)
    await waitUntilClusterDeleted(params, { name })
  } else if (cluster.status === 'CREATING' || cluster.status === 'UPDATING') {
    console.log(`cluster ${name} is ${cluster.status}: waiting until it is active`)
    await waitUntilClusterActive(params, { name })
  } else return cluster
  return describeCluster(eks, name)
}

/**
 * Checks what would stop a destroy at its end, while nothing has been destroyed.
 *
 * @param cluster as EKS knows it; undefined when it is gone.
 * @throws ActionableError naming all of it.
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
    if (!(await holdsImages(repository, ecr))) continue
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

async function holdsImages(repositoryName: string, ecr: AwsClients['ecr']): Promise<boolean> {
  try {
    const { imageDetails = [] } = await ecr.send(new DescribeImagesCommand({ repositoryName, maxResults: 1 }))
    return imageDetails.length > 0
  } catch (error) {
    if (error instanceof Error && error.name === 'RepositoryNotFoundException') return false
    throw error
  }
}

/**
 * The way into the cluster, and into no other: with `KUBE_CONTEXT` or in the box by kubeconfig, whose server has to be
 * the cluster's; otherwise by what EKS says of the cluster, signed in as the caller of AWS.
 *
 * @throws ActionableError when the kubeconfig leads to another cluster.
 */
export function clusterAccess(
  { name, region, environment: named }: Target,
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
  if (sameServer(server, endpoint)) return chosen
  const isBox = access.from === 'box'
  const who = isBox ? "the box's kubeconfig" : `KUBE_CONTEXT is "${access.context}", which`
  throw new ActionableError(
    `${who} leads to ${server}, not to ${named}'s cluster ${name} (${endpoint}). Nothing was changed`,
    isBox
      ? 'see `make status`, and check BOX_NAME and BOX_API_PORT'
      : 'unset KUBE_CONTEXT: destroy finds its cluster by itself',
  )
}

/** Whether two URLs lead to one server: case and a default port do not count. */
function sameServer(one: string, other: string): boolean {
  return URL.canParse(one) && URL.canParse(other) && new URL(one).origin === new URL(other).origin
}

/**
 * Deletes what makes controllers keep objects in AWS: Ingresses, Services of type LoadBalancer, claims with the
 * workloads that use them, and NodePools.
 *
 * @returns what was deleted, and the EBS volumes that go with the claims.
 * @throws ActionableError when a volume is to be retained; then nothing was deleted.
 */
export async function deleteClaims(cluster: KubeConfig): Promise<{ deleted: string[]; volumeIds: string[] }> {
  const core = cluster.makeApiClient(CoreV1Api)
  const networking = cluster.makeApiClient(NetworkingV1Api)
  const custom = cluster.makeApiClient(CustomObjectsApi)
  const volumes = (await core.listPersistentVolume()).items.filter(
    ({ spec }) => spec?.csi?.driver === 'ebs.csi.aws.com',
  )
  refuseRetained(volumes)
  const deleted: string[] = []
  const remove = async (what: string, request: Promise<unknown>) => {
    await request.catch(unlessMissing)
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
  if (claims.length > 0) deleted.push(...(await deleteUsers(claims, cluster)))
  const pools = { group: 'karpenter.sh', version: 'v1', plural: 'nodepools' }
  // Without Karpenter there is no such kind.
  const list = ((await custom.listClusterCustomObject(pools).catch(unlessMissing)) ?? { items: [] }) as {
    items: { metadata: { name: string } }[]
  }
  for (const { metadata } of list.items) {
    await remove(
      `NodePool ${metadata.name}`,
      custom.deleteClusterCustomObject({ ...pools, name: metadata.name }),
    )
  }
  return { deleted, volumeIds: volumes.flatMap(({ spec }) => spec?.csi?.volumeHandle ?? []) }
}

function refuseRetained(volumes: readonly V1PersistentVolume[]): void {
  const retained = volumes.filter(({ spec }) => spec?.persistentVolumeReclaimPolicy === 'Retain')
  const names = retained.map(({ metadata }) => metadata?.name ?? '')
  if (names.length === 0) return
  throw new ActionableError(
    `data is to be retained: ${retained.map(({ metadata, spec }) => `PersistentVolume ${metadata?.name} on EBS volume ${spec?.csi?.volumeHandle}`).join(', ')}. Nothing was changed`,
    `back it up, then release it: \`kubectl patch persistentvolume ${names.join(' ')} --patch '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}'\`, and destroy again`,
  )
}

/** A claim stays until no pod uses it, and the pods' controllers would only make new ones. */
async function deleteUsers(
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
    const owner = await topOwner({ ...pod, apiVersion: 'v1', kind: 'Pod' }, objects)
    const what = `${owner.kind} ${owner.metadata?.namespace}/${owner.metadata?.name}`
    if (deleted.has(what)) continue
    await objects.delete(owner, undefined, undefined, undefined, undefined, 'Background').catch(unlessMissing)
    deleted.add(what)
  }
  return [...deleted]
}

/** What an object exists for: a pod's Deployment, or the custom resource above its StatefulSet. */
async function topOwner(object: KubernetesObject, objects: KubernetesObjectApi): Promise<KubernetesObject> {
  const owner = object.metadata?.ownerReferences?.find(({ controller }) => controller === true)
  if (owner === undefined) return object
  const { apiVersion, kind, name } = owner
  const { namespace } = object.metadata ?? {}
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) }
  const parent = await objects.read({ apiVersion, kind, metadata }).catch(unlessMissing)
  return parent === undefined ? object : topOwner(parent, objects)
}

function unlessMissing(error: unknown): undefined {
  if (error instanceof ApiException && error.code === 404) return undefined
  throw error
}

/**
 * Empties a cluster of everything that controllers keep in AWS, and waits until that is gone. A cluster that lets
 * nobody in any more, as one whose destroy was interrupted, is skipped when AWS has nothing of its controllers: that
 * is what matters.
 *
 * @throws ActionableError naming what does not go away.
 */
export async function emptyCluster(
  target: Target,
  cluster: KubeConfig,
  clients: Pick<AwsClients, 'ec2' | 'elb'>,
): Promise<void> {
  let volumeIds: readonly string[] = []
  try {
    const found = await deleteClaims(cluster)
    volumeIds = found.volumeIds
    for (const what of found.deleted) console.log(`deleted ${what}`)
  } catch (error) {
    const reason = refusalOf(error)
    if (reason === undefined) throw error
    const remains = await controllerRemains(target, clients)
    const situation = `cluster ${target.name} cannot be cleaned up from inside: ${reason}`
    if (remains.length > 0) {
      throw leftBehind(
        remains,
        target.region,
        `${situation}, and its controllers still have this in AWS`,
        'check that you reach the cluster and are among its administrators (access.admins); if it lets nobody in any more, remove this by hand',
      )
    }
    console.log(`${situation}; AWS has nothing that its controllers made, so this goes on`)
    return
  }
  await waitUntilGone(
    target,
    () => controllerRemains({ ...target, volumeIds }, clients),
    (line) => console.log(line),
  )
}

/** Why a cluster did not do as it was asked; undefined for what is no refusal of a cluster. */
function refusalOf(error: unknown): string | undefined {
  if (error instanceof ApiException) {
    if (error.code === 401) return 'it does not accept your credentials'
    return error.code === 403 ? 'you may not administer it' : undefined
  }
  // fetch says only that it failed; why is in its cause.
  if (error instanceof TypeError && error.cause instanceof Error) return error.cause.message
  return undefined
}

/** What `destroyStacks` leaves to its caller: to plan and apply the destruction of one stack. */
type DestroyStack = (stack: Stack) => Promise<void>

/**
 * Destroys stacks of an environment with everything that their cluster made in AWS. Interrupted anywhere, it goes on
 * when it is run again.
 *
 * @param names in the order of destruction.
 * @throws ActionableError when something stands in the way, or is left in AWS.
 */
export async function destroyStacks(
  names: readonly StackName[],
  environment: Environment,
  destroyStack: DestroyStack,
): Promise<void> {
  if (names.includes('bootstrap')) {
    for (const name of names) await destroyStack(await prepareStack(name, environment))
    return
  }
  const stack = await prepareStack('cluster', environment)
  const declared = await declaredCluster(stack)
  let state = await readState(stack)
  // A cluster that is missing from the state would stay, without the role it runs with.
  if (await adoptLostCluster(stack, state, declared)) state = await readState(stack)
  const target = targetOf(environment.name, state, declared)
  const clients = awsClients(environment, target.region)
  const found = await findCluster(target, clients)
  const cluster = target.isOurs ? found : undefined
  const access = cluster === undefined ? undefined : clusterAccess(target, cluster, environment)
  if (names.includes('cluster')) await checkDestroyable(target, state, cluster, clients)
  if (target.isOurs && cluster === undefined) {
    console.log(`cluster ${target.name} is gone already: there is nothing to clean up in it`)
  }
  if (access !== undefined) await emptyCluster(target, access, clients)
  for (const name of names) {
    if (name === 'cluster') await destroyCluster(stack, state, target, found, clients, destroyStack)
    else await destroyPlatform(await prepareStack(name, environment), cluster, destroyStack)
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
      `platform (${stack.environment.name}) went with its cluster: forgot ${resources.length} resources`,
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
  const isForeign = found !== undefined && !target.isOurs
  // Volumes of what the platform stack ran go last of all.
  if (target.isOurs) {
    await waitUntilGone(
      target,
      () => controllerRemains(target, clients),
      (line) => console.log(line),
    )
  }
  // An interruption may have come after Terraform's last deletion, so what comes after it is looked at again.
  const before = resources.length > 0 || (await wasApplied(stack))
  await destroyStack(stack)
  if (!before || isForeign) return
  const once = { interval: 0, deadline: 0 }
  await removeLogGroup(
    target.name,
    clients.logs,
    (line) => console.log(line),
    ...(resources.length > 0 ? [] : [once]),
  )
  await waitUntilGone(
    target,
    () => clusterRemains(target, clients),
    (line) => console.log(line),
    AFTERWARDS,
  )
}
