/**
 * The component `aws`: restores the emulated account, fills it when it is new, and serves AWS on one port and
 * the API server's webhooks on another.
 */
import { existsSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2'
import { execa } from 'execa'
import { ACCOUNT, operatorKeyPath, REGION, readBoxConfig } from 'shared/box'
import { CLUSTER_NAME, NODE_NAME, oidcIssuer, PORTS, SERVICE_CIDR } from '../cluster.ts'
import { accountKeysPath, readConnections } from '../components/credentials.ts'
import { kubectl } from '../components/kubectl.ts'
import type { Caller } from '../eks-api/api.ts'
import type { PolicyRule } from '../eks-api/authorizer.ts'
import { EksFailure } from '../eks-api/failure.ts'
import { askEks, buildEksApi } from '../eks-api/server.ts'
import { Store } from '../eks-api/store.ts'
import { TOKEN_LIFETIME } from '../eks-api/token.ts'
import { buildWebhooks } from '../eks-api/webhooks.ts'
import { timeLimits } from '../lifecycle/time-limits.ts'
import { boxPaths } from '../state-directory.ts'
import { kubernetesVersion, pinnedVersion } from '../tools.ts'
import { seedAccount } from './account.ts'
import { type Authenticated, authenticate } from './authentication.ts'
import { Credentials } from './credentials.ts'
import { Emulator } from './emulator.ts'
import { createGateway } from './gateway.ts'
import { readAccountKeys } from './keys.ts'
import { Principals } from './principals.ts'
import type { AwsRequest } from './request.ts'

const config = readBoxConfig(process.env)
const { data, pki } = boxPaths(config)
const endpoint = `http://127.0.0.1:${PORTS.aws}`
const emulator = new Emulator({ host: '127.0.0.1', port: PORTS.moto }, join(data, 'aws', 'journal.jsonl'), {
  start: timeLimits(config).componentStart / 2,
  answer: timeLimits(config).componentStart,
})
const store = new Store(join(data, 'aws', 'eks.json'))
const principals = new Principals(emulator)
const keys = await readAccountKeys(accountKeysPath(config))
const credentials = new Credentials(emulator, keys, principals)

/** Who the box itself is in its account. */
const service: Caller = {
  account: ACCOUNT,
  userId: 'box',
  arn: `arn:aws:iam::${ACCOUNT}:root`,
  principalArn: `arn:aws:iam::${ACCOUNT}:root`,
}

/** The box's own access key: it makes the account, and what EKS makes in it. */
const own = { accessKeyId: 'box', secretAccessKey: keys.secretOf('box') }
const ec2 = new EC2Client({ endpoint, region: REGION, credentials: own })

async function verify(request: AwsRequest, lifetime?: number): Promise<Authenticated> {
  return authenticate(request, keys, (id) => principals.callerOf(id), lifetime)
}

/** As `verify`, and takes what the box itself signs. */
async function verifyAtGateway(request: AwsRequest): Promise<Authenticated> {
  const findCaller = async (id: string) => (id === own.accessKeyId ? service : principals.callerOf(id))
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
    throw new EksFailure('InvalidParameterException', error instanceof Error ? error.message : String(error))
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

async function labelNode(labels: Readonly<Record<string, string | null>>): Promise<void> {
  const args = Object.entries(labels).map(([name, value]) =>
    value === null ? `${name}-` : `${name}=${value}`,
  )
  const [program, ...options] = kubectl(config, 'label', '--overwrite', `node/${NODE_NAME}`, ...args)
  await execa(program, options)
}

const roles = new Map<string, { readAt: number; rules: PolicyRule[] }>()

/** Rules change only when a chart adds to an aggregated role: half a minute is soon enough. */
async function clusterRoleRules(name: string): Promise<PolicyRule[]> {
  const known = roles.get(name)
  if (known !== undefined && Date.now() - known.readAt < 30_000) return known.rules
  const [program, ...args] = kubectl(config, 'get', 'clusterrole', name, '--output=json')
  const { stdout } = await execa(program, args)
  const { rules } = JSON.parse(stdout) as { rules: PolicyRule[] }
  roles.set(name, { readAt: Date.now(), rules })
  return rules
}

await emulator.restore(() => {
  console.error('the emulator has ended; this ends too, to begin again with it')
  process.exit(1)
})
const eks = await buildEksApi(store, {
  account: ACCOUNT,
  region: REGION,
  cluster: {
    name: CLUSTER_NAME,
    version: kubernetesVersion().slice(1).split('.').slice(0, 2).join('.'),
    patchVersion: kubernetesVersion().slice(1),
    endpoint: `https://127.0.0.1:${config.ports.api}`,
    certificateAuthority: readFileSync(join(pki, 'ca.crt')).toString('base64'),
    oidcIssuer: oidcIssuer(config),
    serviceCidr: SERVICE_CIDR,
  },
  // Where the box runs the program itself, the version that runs; else one EKS published.
  addons: new Map([
    ['vpc-cni', { type: 'networking', versions: ['v1.20.4-eksbuild.1'] }],
    ['eks-pod-identity-agent', { type: 'security', versions: ['v1.3.9-eksbuild.1'] }],
    ['aws-ebs-csi-driver', { type: 'storage', versions: ['v1.50.1-eksbuild.1'] }],
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
  labelNode,
})
const webhooks = await buildWebhooks(store, {
  stsHosts: [
    `127.0.0.1:${config.ports.aws}`,
    `localhost:${config.ports.aws}`,
    `sts.${REGION}.amazonaws.com`,
    'sts.amazonaws.com',
  ],
  cluster: CLUSTER_NAME,
  verify: (request) => verify(request, TOKEN_LIFETIME),
  clusterRoleRules,
})
const gateway = createGateway({
  authenticate: verifyAtGateway,
  eks: (request, { caller }) => askEks(eks, request, caller),
  emulator: (request, by) => credentials.forward(request, by),
})
await new Promise<void>((resolve) => gateway.listen(PORTS.aws, '127.0.0.1', resolve))
if (!existsSync(operatorKeyPath(config))) {
  await emulator.clear()
  principals.forget()
  const key = await seedAccount(endpoint, own, await readConnections(config))
  await writeFile(`${operatorKeyPath(config)}.new`, JSON.stringify(key), { mode: 0o600 })
  await rename(`${operatorKeyPath(config)}.new`, operatorKeyPath(config))
}
// Its /healthz is the component's probe: it answers once the account is whole.
await webhooks.listen({ port: PORTS.eksWebhooks, host: '127.0.0.1' })
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0))
