/**
 * The component `aws`: restores the emulated account, fills a new one, and serves AWS, the API server's webhooks, and
 * the pod identity agent.
 */
import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type _InstanceType,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2'
import { RDSClient } from '@aws-sdk/client-rds'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { execa } from 'execa'
import { ACCOUNT, operatorKeyPath, REGION, readBoxConfig } from 'shared/box'
import { kubernetesVersion, pinnedVersion } from 'shared/tools'
import { AGENT_ADDRESS, CLUSTER_NAME, CONTROL_PLANE_IP, oidcIssuer, PORTS, SERVICE_CIDR } from '../cluster.ts'
import { kubectl } from '../components/kubectl.ts'
import { databaseHosts, type Server, ServerAddresses, serverAddress } from '../databases/addresses.ts'
import { DatabaseAuthority } from '../databases/authority.ts'
import { Backups } from '../databases/backups.ts'
import { CacheServer } from '../databases/cache-server.ts'
import { ElastiCache } from '../databases/elasticache.ts'
import { PostgresServer } from '../databases/postgres-server.ts'
import { Rds } from '../databases/rds.ts'
import type { PolicyRule } from '../eks-api/authorizer.ts'
import { EksException } from '../eks-api/exception.ts'
import { findAssociation } from '../eks-api/pod-identity.ts'
import { buildEksApi, callEksApi } from '../eks-api/server.ts'
import { Store } from '../eks-api/store.ts'
import { TOKEN_LIFETIME } from '../eks-api/token.ts'
import { buildWebhooks } from '../eks-api/webhooks.ts'
import { timeLimits } from '../lifecycle/time-limits.ts'
import { LoadBalancing } from '../load-balancer/target-health.ts'
import { describeInstanceType } from '../node/ec2.ts'
import { exceeds, machineSize, otherProcessor } from '../node/spec.ts'
import { readNodes } from '../node/status.ts'
import { buildAgent } from '../pod-identity/agent.ts'
import { connectToApiServer, reviewToken, serviceAccountAnnotations } from '../pod-identity/api-server.ts'
import { AUDIENCE, EksAuth } from '../pod-identity/eks-auth.ts'
import { buildPodIdentityWebhook } from '../pod-identity/webhook.ts'
import { accountKeysPath, cachePasswordPath, cacheUsersPath } from '../preparation/credentials.ts'
import { cacheCertificates } from '../preparation/databases.ts'
import {
  POSTGRES_BACKUPS,
  POSTGRES_DATA,
  POSTGRES_PROGRAMS,
  POSTGRES_SOCKETS,
} from '../preparation/postgres-data.ts'
import { boxPaths } from '../state-directory.ts'
import { seedAccount } from './account.ts'
import { AddonWorkloads } from './addon-workloads.ts'
import { type Authenticated, authenticate } from './authentication.ts'
import type { Caller } from './caller.ts'
import { Capacity } from './capacity.ts'
import { CloudFront } from './cloudfront.ts'
import { Credentials } from './credentials.ts'
import { Fleets } from './ec2/fleet.ts'
import { StateChanges } from './ec2/state-changes.ts'
import { Emulator } from './emulator.ts'
import { createGateway } from './gateway.ts'
import { readAccountKeys } from './keys.ts'
import { NodeGroupInstances } from './node-group-instances.ts'
import { ownClient } from './own-client.ts'
import { Principals } from './principals.ts'
import type { AwsRequest } from './request.ts'
import { supplement } from './supplements.ts'
import { assumeRoleWithWebIdentity, type WebIdentityOptions } from './web-identity.ts'

const config = readBoxConfig(process.env)
const { data, pki } = boxPaths(config)
const emulator = new Emulator({ host: '127.0.0.1', port: PORTS.moto }, join(data, 'aws', 'journal.jsonl'), {
  start: timeLimits(config).componentStart / 2,
  response: timeLimits(config).componentStart,
})
const store = new Store(join(data, 'aws', 'eks.json'))
const cloudFront = new CloudFront(join(data, 'aws', 'cloudfront.json'))
const principals = new Principals(emulator)
const keys = await readAccountKeys(accountKeysPath(config))
const credentials = new Credentials(emulator, keys, principals)
const loadBalancing = new LoadBalancing(`http://127.0.0.1:${PORTS.loadBalancers}`)

/** The box's own identity in its account. */
const service: Caller = {
  account: ACCOUNT,
  userId: 'box',
  arn: `arn:aws:iam::${ACCOUNT}:root`,
  principalArn: `arn:aws:iam::${ACCOUNT}:root`,
}

/** With the box's own key, which creates the initial account and the resources that EKS creates in an account. */
const own = ownClient(keys)
const ec2 = new EC2Client(own)
const capacity = new Capacity(ec2, CLUSTER_NAME, config.maxNodes)
const stateChanges = new StateChanges(ec2, (request) => emulator.forward(request))
const authority = new DatabaseAuthority(config)
const serverAddresses = new ServerAddresses(databaseHosts(config))

/** Gives a server the address that it has in a subnet, and the names of its endpoints. */
async function setServerAddress(server: Server, subnetId: string, names: readonly string[]): Promise<void> {
  const { Subnets = [] } = await ec2.send(new DescribeSubnetsCommand({ SubnetIds: [subnetId] }))
  const address = serverAddress(server, Subnets[0]?.CidrBlock ?? '')
  await serverAddresses.set(server, { address, names })
}

const postgres = {
  authority,
  data: POSTGRES_DATA,
  programs: POSTGRES_PROGRAMS,
  sockets: POSTGRES_SOCKETS,
  restartTimeout: timeLimits(config).componentStart,
}
const rds = new Rds({
  rds: new RDSClient(own),
  secretsManager: new SecretsManagerClient(own),
  keys,
  server: new PostgresServer(postgres),
  backups: new Backups({ server: postgres, directory: POSTGRES_BACKUPS }),
  setAddress: (entry) =>
    entry === undefined
      ? serverAddresses.set('database', undefined)
      : setServerAddress('database', entry.subnetId, [entry.host]),
  snapshots: join(data, 'database-snapshots'),
  insights: join(data, 'aws', 'performance-insights.xml'),
})
const cacheServer = new CacheServer({
  authority,
  directory: cacheCertificates(config),
  users: cacheUsersPath(config),
  own: {
    host: CONTROL_PLANE_IP,
    port: PORTS.redisWithoutTls,
    passwordFile: cachePasswordPath(config),
  },
})
const elastiCache = new ElastiCache({
  file: join(data, 'aws', 'elasticache.json'),
  describeSubnets,
  apply: async (cache) => {
    await cacheServer.apply(cache)
    if (cache === undefined) await serverAddresses.set('cache', undefined)
    else await setServerAddress('cache', cache.subnetId, cache.hosts)
  },
})
const supplemented = supplement({
  rds,
  elastiCache,
  capacity,
  stateChanges,
  fleets: new Fleets({ ec2: new EC2Client({ ...own, maxAttempts: 1 }), unsuitable }),
  nodes: async () =>
    (await readNodes(config)).flatMap(({ address, podSubnet }) =>
      podSubnet === undefined ? [] : [{ address, podSubnet }],
    ),
})

/** Why this machine cannot be an instance of the type; undefined if it can. */
async function unsuitable(name: string): Promise<string | undefined> {
  const type = await describeInstanceType(ec2, name as _InstanceType)
  return exceeds(type, machineSize()) ?? otherProcessor(type, process.arch)
}

async function verify(request: AwsRequest, lifetime?: number): Promise<Authenticated> {
  return authenticate(request, keys, (id) => principals.callerOf(id), lifetime)
}

/** Like `verify`, but also accepts requests that the box itself signed. */
async function verifyAtGateway(request: AwsRequest): Promise<Authenticated> {
  const findCaller = async (id: string) =>
    id === own.credentials.accessKeyId ? service : principals.callerOf(id)
  return authenticate(request, keys, findCaller)
}

async function describeSubnets(ids: readonly string[]) {
  try {
    const { Subnets = [] } = await ec2.send(new DescribeSubnetsCommand({ SubnetIds: [...ids] }))
    return Subnets.map(({ SubnetId = '', VpcId = '', AvailabilityZone = '' }) => ({
      id: SubnetId,
      vpcId: VpcId,
      zone: AvailabilityZone,
    }))
  } catch (error) {
    throw new EksException(
      'InvalidParameterException',
      error instanceof Error ? error.message : String(error),
    )
  }
}

async function createClusterSecurityGroup(VpcId: string): Promise<string> {
  const GroupName = `eks-cluster-sg-${CLUSTER_NAME}-${Date.now()}`
  const { GroupId = '' } = await ec2.send(
    new CreateSecurityGroupCommand({
      GroupName,
      VpcId,
      Description: 'EKS created security group applied to the control plane and managed nodes',
      TagSpecifications: [
        {
          ResourceType: 'security-group',
          Tags: [
            { Key: 'Name', Value: GroupName },
            { Key: `kubernetes.io/cluster/${CLUSTER_NAME}`, Value: 'owned' },
            { Key: 'aws:eks:cluster-name', Value: CLUSTER_NAME },
          ],
        },
      ],
    }),
  )
  return GroupId
}

async function administer(...args: string[]): Promise<string> {
  const [program, ...options] = kubectl(config, ...args)
  return (await execa(program, options)).stdout
}

const roles = new Map<string, { readAt: number; rules: PolicyRule[] }>()

/** Caches the rules for 30 s: they change only when a chart extends an aggregated ClusterRole. */
async function clusterRoleRules(name: string): Promise<PolicyRule[]> {
  const cached = roles.get(name)
  if (cached !== undefined && Date.now() - cached.readAt < 30_000) return cached.rules
  const { rules } = JSON.parse(await administer('get', 'clusterrole', name, '--output=json')) as {
    rules: PolicyRule[]
  }
  roles.set(name, { readAt: Date.now(), rules })
  return rules
}

await emulator.restore(() => {
  console.error('the emulator has ended or does not respond; exiting, to restore the account after a restart')
  process.exit(1)
})
const cluster = {
  name: CLUSTER_NAME,
  version: kubernetesVersion().slice(1).split('.').slice(0, 2).join('.'),
  patchVersion: kubernetesVersion().slice(1),
  endpoint: `https://127.0.0.1:${config.ports.api}`,
  certificateAuthority: readFileSync(join(pki, 'ca.crt')).toString('base64'),
  oidcIssuer: oidcIssuer(config),
  serviceCidr: SERVICE_CIDR,
}
const eks = await buildEksApi(store, {
  account: ACCOUNT,
  region: REGION,
  cluster,
  // The version that the box runs if it runs the program, otherwise a version that EKS has published.
  addons: new Map([
    ['vpc-cni', { type: 'networking', versions: ['v1.20.4-eksbuild.1'] }],
    ['eks-pod-identity-agent', { type: 'security', versions: ['v1.3.9-eksbuild.1'] }],
    ['aws-ebs-csi-driver', { type: 'storage', versions: ['v1.50.1-eksbuild.1'] }],
    ['amazon-cloudwatch-observability', { type: 'observability', versions: ['v1.8.0-eksbuild.1'] }],
    ['kube-proxy', { type: 'networking', versions: [`${kubernetesVersion()}-eksbuild.1`] }],
    [
      'coredns',
      {
        type: 'networking',
        versions: [`${pinnedVersion('coredns', 'github.com/coredns/coredns')}-eksbuild.1`],
      },
    ],
    [
      'metrics-server',
      {
        type: 'observability',
        versions: [`${pinnedVersion('metrics-server', 'sigs.k8s.io/metrics-server')}-eksbuild.1`],
      },
    ],
  ]),
  principalExists: (arn) => principals.exists(arn),
  describeSubnets,
  createClusterSecurityGroup,
  deleteSecurityGroup: async (GroupId) => {
    await ec2.send(new DeleteSecurityGroupCommand({ GroupId }))
  },
  fleet: new NodeGroupInstances({
    ...own,
    cluster,
    capacity,
    readyTimeout: 2 * timeLimits(config).componentStart,
    kubectl: administer,
  }),
  addonInstaller: new AddonWorkloads({
    config,
    registry: `http://127.0.0.1:${PORTS.registry}`,
    kubectl: administer,
  }),
  addonReadyTimeout: 2 * timeLimits(config).componentStart,
})
const webhooks = await buildWebhooks(store, {
  stsHosts: [
    `${CONTROL_PLANE_IP}:${PORTS.aws}`,
    `127.0.0.1:${config.ports.aws}`,
    `localhost:${config.ports.aws}`,
    `sts.${REGION}.amazonaws.com`,
    'sts.amazonaws.com',
  ],
  cluster: CLUSTER_NAME,
  verify: (request) => verify(request, TOKEN_LIFETIME),
  changes: () => `${emulator.changes} ${store.changes}`,
  clusterRoleRules,
})

const apiServer = await connectToApiServer(config)
const eksAuth = new EksAuth({
  cluster: { name: CLUSTER_NAME, arn: `arn:aws:eks:${REGION}:${ACCOUNT}:cluster/${CLUSTER_NAME}` },
  findAssociation: (account) => findAssociation(store.state, account),
  reviewToken: (token) => reviewToken(apiServer, token, AUDIENCE),
  principals,
  credentials,
})
const agent = buildAgent({
  isInstalled: () =>
    store.state.addons.some(
      ({ addonName, status }) => addonName === 'eks-pod-identity-agent' && status !== 'CREATING',
    ),
  assumeRole: (token) => eksAuth.assumeRole(CLUSTER_NAME, token),
})
const podIdentityWebhook = await buildPodIdentityWebhook({
  tls: {
    cert: readFileSync(join(pki, 'apiserver.crt'), 'utf8'),
    key: readFileSync(join(pki, 'apiserver.key'), 'utf8'),
  },
  serviceAccount: async (namespace, serviceAccount) => ({
    annotations: await serviceAccountAnnotations(apiServer, namespace, serviceAccount),
    isAssociated: findAssociation(store.state, { namespace, serviceAccount }) !== undefined,
  }),
})
const webIdentity: WebIdentityOptions = {
  account: ACCOUNT,
  issuers: new Map([[oidcIssuer(config), createPublicKey(readFileSync(join(pki, 'sa.pub')))]]),
  principals,
  credentials,
}
// The machine's port is forwarded to the loopback address, and pods reach only the node's.
for (const host of ['127.0.0.1', CONTROL_PLANE_IP]) {
  const gateway = createGateway({
    authenticate: verifyAtGateway,
    eks: (request, { caller }) => callEksApi(eks, request, caller),
    eksAuth: (request) => eksAuth.handle(request),
    webIdentity: (request) => assumeRoleWithWebIdentity(request, webIdentity),
    emulator: async (request, by) => {
      if (by.signature.service === 'cloudfront') {
        const response = await cloudFront.respond(request)
        if (response !== undefined) return response
      }
      const response = await supplemented(by.signature.service, request, (sent) =>
        credentials.forward(sent, by),
      )
      // The box itself reads what the emulator has stored.
      return by.caller === service ? response : loadBalancing.complete(request, by, response)
    },
  })
  await new Promise<void>((resolve) => gateway.listen(PORTS.aws, host, resolve))
}
if (!existsSync(operatorKeyPath(config))) {
  await emulator.clear()
  await elastiCache.clear()
  principals.forget()
  const key = await seedAccount(own.endpoint, own.credentials)
  await writeFile(`${operatorKeyPath(config)}.new`, JSON.stringify(key), { mode: 0o600 })
  await rename(`${operatorKeyPath(config)}.new`, operatorKeyPath(config))
}
// Addresses do not survive a restart of the box.
await elastiCache.restore()
await rds.refresh()
await stateChanges.start()
await agent.listen({ port: PORTS.podIdentityAgent, host: AGENT_ADDRESS })
await podIdentityWebhook.listen({ port: PORTS.podIdentityWebhook, host: '127.0.0.1' })
// The component's probe is /healthz of the webhooks, so they must not listen before the account is complete.
await webhooks.listen({ port: PORTS.eksWebhooks, host: '127.0.0.1' })
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0))
