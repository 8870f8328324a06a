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
import { ACCOUNT, CLUSTER_NAME, NODE_NAME, PORTS, REGION, SERVICE_CIDR } from '../cluster.ts'
import { boxPaths } from '../component.ts'
import { kubectl } from '../components/kubectl.ts'
import { oidcIssuer, operatorKeyPath, readConfig, timeLimits } from '../config.ts'
import { readConnections } from '../credentials.ts'
import type { Caller } from '../eks-api/api.ts'
import type { PolicyRule } from '../eks-api/authorizer.ts'
import { EksFailure } from '../eks-api/failure.ts'
import { buildEksApi } from '../eks-api/server.ts'
import { Store } from '../eks-api/store.ts'
import { buildWebhooks } from '../eks-api/webhooks.ts'
import { kubernetesVersion, pinnedVersion } from '../tools.ts'
import { seedAccount } from './account.ts'
import { Emulator } from './emulator.ts'
import { createGateway } from './gateway.ts'

const config = readConfig(process.env)
const { data, pki } = boxPaths(config)
const endpoint = `http://127.0.0.1:${PORTS.aws}`
const emulator = new Emulator(
  { host: '127.0.0.1', port: PORTS.moto },
  join(data, 'aws', 'journal.jsonl'),
  timeLimits(config).componentStart / 2,
)
const store = new Store(join(data, 'aws', 'eks.json'))
const ec2 = new EC2Client({
  endpoint,
  region: REGION,
  credentials: { accessKeyId: 'eks', secretAccessKey: 'eks' },
})

/** Whose an access key is, by STS; the emulator calls everybody it does not know its own user. */
async function callerOf(accessKeyId: string): Promise<Caller | undefined> {
  const { status, body } = await emulator.forward({
    method: 'POST',
    url: '/',
    headers: {
      host: `sts.${REGION}.amazonaws.com`,
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/${REGION}/sts/aws4_request`,
    },
    body: Buffer.from('Action=GetCallerIdentity&Version=2011-06-15'),
  })
  const field = (name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(body.toString())?.[1] ?? ''
  if (status !== 200) throw new Error(`STS answers ${status} to GetCallerIdentity`)
  const arn = field('Arn')
  if (/:sts::\d+:user\/moto$/.test(arn)) return undefined
  const session = /^arn:aws:sts::(\d+):assumed-role\/([^/]+)\//.exec(arn)
  return {
    account: field('Account'),
    userId: field('UserId'),
    arn,
    principalArn: session === null ? arn : `arn:aws:iam::${session[1]}:role/${session[2]}`,
  }
}

async function identify(authorization: string): Promise<Caller> {
  const accessKeyId = /Credential=([^/]+)\//.exec(authorization)?.[1] ?? ''
  const caller = await callerOf(accessKeyId)
  if (caller === undefined) {
    throw new EksFailure('AccessDeniedException', `The access key ${accessKeyId} is nobody's`)
  }
  return caller
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
  addons: {
    'vpc-cni': ['v1.20.4-eksbuild.1'],
    'eks-pod-identity-agent': ['v1.3.9-eksbuild.1'],
    'aws-ebs-csi-driver': ['v1.50.1-eksbuild.1'],
    'kube-proxy': [`${kubernetesVersion()}-eksbuild.1`],
    coredns: [`${pinnedVersion('coredns', 'github.com/coredns/coredns')}-eksbuild.1`],
    'metrics-server': [`${pinnedVersion('metrics-server', 'sigs.k8s.io/metrics-server')}-eksbuild.1`],
  },
  identify,
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
  callerOf,
  clusterRoleRules,
})
const gateway = createGateway(emulator, eks.routing)
await new Promise<void>((resolve) => gateway.listen(PORTS.aws, '127.0.0.1', resolve))
if (!existsSync(operatorKeyPath(config))) {
  await emulator.clear()
  const key = await seedAccount(endpoint, await readConnections(config))
  await writeFile(`${operatorKeyPath(config)}.new`, JSON.stringify(key), { mode: 0o600 })
  await rename(`${operatorKeyPath(config)}.new`, operatorKeyPath(config))
}
// Its /healthz is the component's probe: it answers once the account is whole.
await webhooks.listen({ port: PORTS.eksWebhooks, host: '127.0.0.1' })
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0))
