/**
 * Applies, changes and destroys the cluster stack of a box, with the commands of the README. Interruptions come at
 * random moments. Only nodes run in this box, neither controllers nor the service, so box.test.ts can run at the same
 * time. That file tests the platform stack.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { awsEnvironment } from 'shared/box'
import { programPath } from 'shared/tools'
import t from 'tap'
import { CLUSTER_NAME } from '../src/cluster.ts'
import { operate, RESOURCES } from './operator.ts'

const { config, make, aws, kubectl, interrupt } = await operate('e2e-infrastructure', 24700, {
  STACK: 'cluster',
})
const results = t.testdir()
/** The type of the system nodes, which depends on the processor of this machine. */
const systemType = process.arch === 'x64' ? 't3.small' : 't4g.small'

/** Assumes a role and returns the environment variables of the session. */
async function assume(role: string): Promise<Record<string, string>> {
  const { Role } = await aws('iam', 'get-role', '--role-name', role)
  const { Credentials } = await aws(
    ...['sts', 'assume-role', '--role-arn', Role.Arn, '--role-session-name', 'somebody'],
  )
  return {
    AWS_ACCESS_KEY_ID: Credentials.AccessKeyId,
    AWS_SECRET_ACCESS_KEY: Credentials.SecretAccessKey,
    AWS_SESSION_TOKEN: Credentials.SessionToken,
  }
}

/** Creates a claim with its volume, as the EBS CSI driver would provision it. */
async function claimVolume(name: string): Promise<string> {
  const tags = {
    CSIVolumeName: name,
    'ebs.csi.aws.com/cluster-name': CLUSTER_NAME,
    'kubernetes.io/created-for/pvc/name': name,
    'kubernetes.io/created-for/pvc/namespace': 'default',
  }
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  const { VolumeId } = await aws(
    ...['ec2', 'create-volume', '--availability-zone', 'eu-central-1a', '--size', '1'],
    ...['--tag-specifications', JSON.stringify([{ ResourceType: 'volume', Tags }])],
  )
  const size = { storage: '1Gi' }
  const accessModes = ['ReadWriteOnce']
  const objects = [
    {
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        capacity: size,
        accessModes,
        persistentVolumeReclaimPolicy: 'Delete',
        csi: { driver: 'ebs.csi.aws.com', volumeHandle: VolumeId },
        claimRef: { namespace: 'default', name },
      },
    },
    {
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace: 'default' },
      spec: { accessModes, volumeName: name, storageClassName: '', resources: { requests: size } },
    },
  ]
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    items: objects.map((item) => ({ apiVersion: 'v1', ...item })),
  }
  const file = join(results, `${name}.json`)
  writeFileSync(file, JSON.stringify(list))
  await kubectl('apply', '--filename', file)
  return VolumeId
}

/** Deletes a volume once its claim is gone, as the EBS CSI driver does. The box has none. */
async function driveVolume(name: string, volumeId: string): Promise<void> {
  // Like a driver, it retries when the API server does not answer.
  const claim = () => kubectl('get', 'persistentvolumeclaim', name, '--ignore-not-found').catch(String)
  while ((await claim()) !== '') await sleep(1000)
  // Long enough for destroy to wait for it.
  await sleep(15_000)
  await aws('ec2', 'delete-volume', '--volume-id', volumeId)
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})

await make('box')

await t.test('an image cannot be pushed before there is a repository', async (t) => {
  t.match(
    await make('push', {}, true),
    /error: local has no image repository yet\n next: .*make apply ENV=local/,
  )
})

await t.test('wrong input is reported as a cause and a next step', async (t) => {
  const wrong: [target: string, input: Record<string, string>, cause: RegExp][] = [
    ['deploy', { ENV: 'production' }, /error: ENV is "production", but there is no such environment/],
    ['push', { ENV: 'dev', AWS_EC2_METADATA_DISABLED: 'true' }, /error: ENV=dev needs AWS credentials/],
    ['plan', { ENV: 'dev', AWS_EC2_METADATA_DISABLED: 'true' }, /error: ENV=dev needs AWS credentials/],
    ['plan', { STACK: 'everything' }, /error: STACK is "everything", but there is no such stack/],
    ['apply', { ENV: 'prod', CI: '' }, /error: this would change production/],
    ['destroy', { ENV: 'prod' }, /error: this would change production/],
    ['deploy', { ENV: 'dev' }, /error: your kubeconfig has no context fastify-eks-dev/],
    ['deploy', { ENV: 'prod', CI: '' }, /error: this would change production/],
    ['up', { ENV: 'dev' }, /error: ENV=dev does not use the box, so nothing was started/],
    ['box', { BOX_API_PORT: 'http' }, /error: BOX_API_PORT is "http", which is not a port number/],
    ['box', { BOX_NAME: 'No Name' }, /error: BOX_NAME is "No Name", which is not a valid box name/],
    ['loadtest', { BASE_URL: 'http://127.0.0.1:1' }, /error: http:\/\/127\.0\.0\.1:1 does not answer/],
  ]
  for (const [target, input, cause] of wrong) {
    const said = await make(target, input, true)
    t.match(said, cause)
    t.match(said, /\n next: \S/)
    t.notMatch(said, /\n {4}at /, 'no stack trace')
  }
})

await t.test('a second box on the same ports fails and names the process that holds the port', async (t) => {
  const said = await make('box', { BOX_NAME: 'second' }, true)
  t.match(said, /error: port \d+ of 127\.0\.0\.1 is in use by .*\n next: .*BOX_/)
  await make('down', { BOX_NAME: 'second' })
  await make('exec', { CMD: 'mountpoint /var/lib/cni' })
})

await t.test('after an apply, the plan is empty', async (t) => {
  const applied = await make('apply')
  t.match(applied, /^cluster \(local\): \d+ to add, 0 to change, 0 to replace, 0 to destroy$/m)
  t.match(applied, /^applied cluster \(local\)/m)
  t.match(await make('plan'), /^cluster \(local\): no changes$/m)
  t.match(
    await make('output'),
    /ecr_repository_url\s+= "\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/fastify-app"/,
  )
})

await t.test('AWS reports the resources as configured', async (t) => {
  const repository = await aws('ecr', 'describe-repositories', '--query', 'repositories[0]')
  t.match(repository, {
    repositoryName: 'fastify-app',
    imageTagMutability: 'IMMUTABLE',
    imageScanningConfiguration: { scanOnPush: true },
    encryptionConfiguration: { encryptionType: 'KMS' },
  })
  const cluster = await aws('eks', 'describe-cluster', '--name', CLUSTER_NAME, '--query', 'cluster')
  t.match(cluster, {
    status: 'ACTIVE',
    resourcesVpcConfig: { endpointPrivateAccess: true, publicAccessCidrs: ['127.0.0.0/8'] },
    accessConfig: { authenticationMode: 'API' },
    encryptionConfig: [{ resources: ['secrets'] }],
    upgradePolicy: { supportType: 'STANDARD' },
  })
  const template = await aws(
    ...['ec2', 'describe-launch-template-versions', '--versions', '$Default'],
    ...['--query', 'LaunchTemplateVersions[0].LaunchTemplateData'],
  )
  t.match(template, { MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 } })
  const tagged = template.TagSpecifications.map(({ ResourceType }: { ResourceType: string }) => ResourceType)
  t.strictSame(tagged.sort(), ['instance', 'network-interface', 'volume'], 'what it launches is tagged')
  t.match(template, { BlockDeviceMappings: [{ Ebs: { Encrypted: true, VolumeType: 'gp3' } }] })
  const discovery = ['--filters', `Name=tag:karpenter.sh/discovery,Values=${CLUSTER_NAME}`]
  const groups = await aws(
    'ec2',
    'describe-security-groups',
    ...discovery,
    '--query',
    'SecurityGroups[].GroupId',
  )
  t.equal(groups.length, 1, 'Karpenter finds exactly one security group')
  const shared = ['--filters', `Name=tag-key,Values=kubernetes.io/cluster/${CLUSTER_NAME}`]
  const subnets = await aws('ec2', 'describe-subnets', ...shared, '--query', 'Subnets[].Tags')
  t.equal(subnets.length, 6, 'the subnets carry the cluster’s tag')
  for (const tags of subnets) {
    t.ok(
      tags.some(({ Key }: { Key: string }) => Key === 'Name'),
      'the owner’s tags are unchanged',
    )
  }
  const accounts = await aws(
    'eks',
    'list-pod-identity-associations',
    '--cluster-name',
    CLUSTER_NAME,
    '--query',
    'associations[].[namespace,serviceAccount]',
  )
  t.strictSame(
    accounts.map((account: string[]) => account.join('/')).sort(),
    ['kube-system/ebs-csi-controller-sa', 'kube-system/external-secrets', 'kube-system/karpenter'],
    'the controllers that call AWS have an identity',
  )
})

interface Node {
  metadata: { name: string; labels: Record<string, string> }
  spec: { providerID: string }
  status: { allocatable: Record<string, string>; conditions: { type: string; status: string }[] }
}

const nodes = async () => JSON.parse(await kubectl('get', 'nodes', '--output=json')).items as Node[]
const instanceOf = ({ spec }: Node) => spec.providerID.split('/').at(-1) ?? ''
const isReady = ({ status }: Node) =>
  status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True')

/** Waits until the cluster has `count` nodes, all ready and none of them of the instance `without`. */
async function readyNodes(count: number, without = ''): Promise<Node[]> {
  const deadline = Date.now() + 180_000
  for (;;) {
    const found = await nodes()
    const isSettled = found.length === count && found.every(isReady)
    if (isSettled && found.every((node) => instanceOf(node) !== without)) return found
    if (Date.now() > deadline) throw new Error(`the nodes are ${JSON.stringify(found.map(instanceOf))}`)
    await sleep(500)
  }
}

await t.test('instances are nodes: they join and leave with their Auto Scaling group', async (t) => {
  const [first, second] = await readyNodes(2)
  const zone = 'topology.kubernetes.io/zone'
  t.not(first?.metadata.labels[zone], second?.metadata.labels[zone], 'in different zones')
  t.match(first, {
    metadata: {
      name: /^ip-10-0-\d+-\d+\.eu-central-1\.compute\.internal$/,
      labels: { 'node.kubernetes.io/instance-type': systemType, 'node.fastify-eks/role': 'system' },
    },
    spec: { providerID: new RegExp(`^aws:///${first?.metadata.labels[zone]}/i-[0-9a-f]{17}$`) },
    // What this type can allocate, and the number of pods that the launch template sets.
    status: { allocatable: { cpu: '1930m', memory: /^13[0-9]{5}Ki$/, pods: '20' } },
  })
  const listed = new RegExp(`node ip-10-0-\\S+: ready \\(i-\\w+, ${systemType}, eu-central-1[abc]\\)`)
  t.match(await make('status'), listed)

  const cluster = ['--cluster-name', CLUSTER_NAME]
  const [group] = await aws('eks', 'list-nodegroups', ...cluster, '--query', 'nodegroups')
  const ofGroup = [...cluster, '--nodegroup-name', group]
  const scale = async (desiredSize: number) => {
    await aws('eks', 'update-nodegroup-config', ...ofGroup, '--scaling-config', `desiredSize=${desiredSize}`)
    await aws('eks', 'wait', 'nodegroup-active', ...ofGroup)
  }
  await scale(3)
  const three = await readyNodes(3)
  t.equal(new Set(three.map(({ metadata }) => metadata.labels[zone])).size, 3, 'a third zone')
  await scale(2)
  await readyNodes(2)

  const gone = instanceOf(first as Node)
  await aws('ec2', 'terminate-instances', '--instance-ids', gone)
  t.equal((await readyNodes(2, gone)).length, 2, 'the Auto Scaling group replaces a terminated instance')

  await make('exec', { CMD: 'pkill --signal=KILL --full src/node/main.ts' })
  await sleep(2000)
  await readyNodes(2)
  t.match(await make('plan'), /no changes/)
})

await t.test('AWS refuses requests without a valid signature, and requests from web pages', async (t) => {
  const refused = async (env: Record<string, string>, ...args: string[]) => {
    const { failed, stderr } = await execa(programPath(config, 'aws'), args, {
      env: { ...awsEnvironment(config), ...env },
      reject: false,
    })
    t.ok(failed)
    return stderr
  }
  const guessed = { AWS_SECRET_ACCESS_KEY: 'guessed' }
  t.match(await refused(guessed, 'sts', 'get-caller-identity'), /\(SignatureDoesNotMatch\)/)
  t.match(await refused(guessed, 'ec2', 'describe-vpcs'), /\(AuthFailure\)/)
  t.match(await refused(guessed, 'eks', 'list-clusters'), /\(InvalidSignatureException\)/)
  const token = await refused({}, 'eks', 'describe-cluster', '--name', 'none')
  t.match(token, /\(ResourceNotFoundException\)/, 'the right key learns that there is no such cluster')
  const endpoint = awsEnvironment(config)['AWS_ENDPOINT_URL']
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const unsigned = await fetch(`${endpoint}/`, { method: 'POST', headers: form, body: 'Action=ListUsers' })
  t.equal(unsigned.status, 403)
  t.match(await unsigned.text(), /<Code>MissingAuthenticationToken</)
  t.equal((await fetch(`${endpoint}/clusters`)).status, 403)
  const page = await fetch(`${endpoint}/moto-api/reset`, {
    method: 'POST',
    headers: { origin: 'https://evil.example' },
  })
  t.equal(page.status, 403)
  t.notOk(page.headers.has('access-control-allow-origin'))
  t.match(await aws('eks', 'list-clusters', '--query', 'clusters'), [CLUSTER_NAME], 'and nothing is lost')
})

await t.test(
  'the cluster accepts tokens of AWS, and grants each principal what its access entry allows',
  async (t) => {
    const kubeconfig = join(results, 'kubeconfig')
    await aws('eks', 'update-kubeconfig', '--name', CLUSTER_NAME, '--kubeconfig', kubeconfig, '--output=json')
    const as = async (role: string | undefined, ...args: string[]) => {
      const session = role === undefined ? {} : await assume(role)
      const { all } = await execa(programPath(config, 'kubectl'), ['--kubeconfig', kubeconfig, ...args], {
        env: {
          ...awsEnvironment(config),
          ...session,
          PATH: `${dirname(programPath(config, 'aws'))}:${process.env['PATH']}`,
        },
        all: true,
        reject: false,
      })
      return all
    }
    t.equal(await as(undefined, 'auth', 'can-i', '*', '*'), 'yes', 'the operator administers')
    t.equal(await as('fastify-eks-readonly', 'auth', 'can-i', 'list', 'pods', '--all-namespaces'), 'yes')
    t.equal(await as('fastify-eks-readonly', 'auth', 'can-i', 'create', 'pods'), 'no')
    t.equal(
      await as('fastify-eks-readonly', 'auth', 'can-i', 'get', 'secrets'),
      'no',
      'a viewer cannot read Secrets',
    )
    t.match(await as('fastify-eks-deploy', 'auth', 'whoami'), /fastify-app:deploy/)
    await aws('iam', 'create-role', '--role-name', 'stranger', '--assume-role-policy-document', '{}')
    t.match(await as('stranger', 'get', 'nodes'), /Unauthorized|must be logged in/)
    const guessed = await execa(
      programPath(config, 'kubectl'),
      ['--kubeconfig', kubeconfig, 'get', 'nodes'],
      {
        env: {
          ...awsEnvironment(config),
          AWS_SECRET_ACCESS_KEY: 'guessed',
          PATH: `${dirname(programPath(config, 'aws'))}:${process.env['PATH']}`,
        },
        all: true,
        reject: false,
      },
    )
    t.match(guessed.all, /Unauthorized|must be logged in/, 'an access key id alone opens nothing')
    await aws('iam', 'delete-role', '--role-name', 'stranger', '--output=json')
  },
)

await t.test('a plan shows a change, and invalid input changes nothing', async (t) => {
  const wrong: [variable: string, value: string, cause: RegExp][] = [
    ['kubernetes_version', '1.29', /EKS has no Kubernetes 1\.29 in standard support; it has 1\.\d+/],
    ['vpc_id', 'vpc-0123456789abcdef0', /(no matching EC2 VPC|InvalidVpcID|does not exist|couldn't find)/],
    [
      'private_subnet_ids',
      '["subnet-0123456789abcdef0","subnet-0123456789abcdef1"]',
      /subnet-0123456789abcdef/,
    ],
  ]
  for (const [variable, value, cause] of wrong) {
    const said = await make('plan', { ARGS: `'-var=${variable}=${value}'` }, true)
    t.match(said, cause)
    t.match(said, /\n next: \S/)
  }
  const longer = { ARGS: '-var=log_retention_days=60' }
  t.match(await make('plan', longer), /: 0 to add, 1 to change, 0 to replace, 0 to destroy/)
  t.match(await make('apply', longer), /^applied cluster \(local\)/m)
  t.match(await make('apply'), /0 to add, 1 to change/)
})

await t.test(
  'destroy first reports what would make it fail at the end, and changes no other cluster',
  async (t) => {
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: { mediaType: 'application/vnd.docker.container.image.v1+json', size: 2, digest: 'sha256:0' },
      layers: [],
    }
    await aws(
      ...['ecr', 'put-image', '--repository-name', 'fastify-app', '--image-tag', 'kept'],
      ...['--image-manifest', JSON.stringify(manifest)],
    )
    const protect = async (option: string) => {
      await aws('eks', 'update-cluster-config', '--name', CLUSTER_NAME, option)
      await aws('eks', 'wait', 'cluster-active', '--name', CLUSTER_NAME)
    }
    await make('apply', { ARGS: "'-var=images={force_delete=false}'" })
    await protect('--deletion-protection')
    const refused = await make('destroy', {}, true)
    t.match(refused, /error: local cannot be destroyed: deletion protection of cluster \S+ is on; repository/)
    t.match(refused, /holds images and images\.force_delete is false. Nothing was changed\n next: set /)
    await protect('--no-deletion-protection')
    await make('apply')

    const other = join(results, 'other-cluster')
    await aws('eks', 'update-kubeconfig', '--name', CLUSTER_NAME, '--kubeconfig', other, '--alias', 'other')
    writeFileSync(other, readFileSync(other, 'utf8').replace(/server: .*/, 'server: https://192.0.2.1'))
    t.match(
      await make('destroy', { KUBECONFIG: other, KUBE_CONTEXT: 'other' }, true),
      /error: KUBE_CONTEXT is "other", which leads to https:\/\/192\.0\.2\.1, not to local's cluster/,
    )
    t.match(await make('plan'), /no changes/)
  },
)

await t.test('a destroy resumes after several interruptions, and leaves nothing in AWS', async (t) => {
  await kubectl('create', 'ingress', 'shop', '--rule=shop.example/*=shop:80')
  const VolumeId = await claimVolume('data')
  const driver = driveVolume('data', VolumeId)
  const logGroupName = `/aws/eks/${CLUSTER_NAME}/cluster`
  const afterLogGroup = async (line: string) => {
    // EKS still delivers logs after the cluster is gone, which recreates the log group.
    if (/aws_cloudwatch_log_group\.this\S*: Destruction complete/.test(line)) {
      await aws('logs', 'create-log-group', '--log-group-name', logGroupName)
    }
  }
  let said = ''
  for (const moment of [
    /waiting for the deletion of .*volume/,
    ...Array.from({ length: 4 }, () => /Destruction complete/),
  ]) {
    const wait = Math.round(Math.random() * 4000)
    t.comment(`interrupted ${wait} ms after ${moment}`)
    said += await interrupt('destroy', moment, wait, afterLogGroup)
  }
  said += await interrupt('destroy', /never/, 0, afterLogGroup)
  await driver
  for (const [what, happened] of [
    ['objects for which controllers hold resources in AWS are deleted', /deleted Ingress default\/shop/],
    ['claims are deleted, with their volumes', /deleted PersistentVolumeClaim default\/data/],
    ['the recreated log group is removed', /removed log group \/aws\/eks\//],
    // The last interruption can come after the last resource is destroyed.
    ['the stack is destroyed', /destroyed cluster \(local\)|there is nothing to destroy/],
  ] as const) {
    t.match(said, happened, what)
  }
  t.match(await make('destroy'), /there is nothing to destroy/)
  const roles = await aws('iam', 'list-roles', '--query', 'Roles[].RoleName')
  t.strictSame(
    roles.sort(),
    ['fastify-eks-deploy', 'fastify-eks-readonly'],
    'only the resources from before the apply are left',
  )
  for (const [what, query] of Object.entries(RESOURCES)) t.strictSame(await aws(...query), [], what)
  t.strictSame(await nodes(), [], 'nodes')

  // Minutes later, EKS may still deliver logs.
  await aws('logs', 'create-log-group', '--log-group-name', logGroupName)
})

await t.test('an apply resumes after several interruptions', async (t) => {
  // While it waits for AWS, which takes most of the time: EKS continues to create the cluster and the nodes. At other
  // moments, the AWS provider may lose what it is just creating (docs/infrastructure.md).
  for (const [attempt, moment] of [
    /aws_kms_key\.this\S*: Creation complete/,
    /aws_eks_node_group\S*: Still creating/,
    /aws_sqs_queue_policy\S*: Still creating/,
  ].entries()) {
    const wait = attempt === 0 ? 400 : Math.round(Math.random() * 2000)
    let locked = attempt !== 0
    const said = await interrupt('apply', moment, wait, async (line) => {
      if (locked || !moment.test(line)) return
      locked = true
      const refused = await make('apply', { ARGS: '-lock-timeout=0s' }, true)
      t.match(refused, /Error acquiring the state lock/, 'a second run waits its turn')
      t.match(refused, /next: wait for the run that holds it/)
    })
    t.comment(`interrupted ${wait} ms after ${moment}`)
    t.match(said, /run the command again to continue|applied cluster|no changes/, 'it says what to do')
  }
  t.match(await make('apply'), /applied cluster|no changes/)

  // As after an interruption between the request to create the cluster and its response.
  const cluster = 'module.eks.aws_eks_cluster.this[0]'
  await execa('terraform', [
    'state',
    'rm',
    `-state=${join(config.stateDir, 'terraform', 'cluster.tfstate')}`,
    cluster,
  ])
  t.match(await make('apply'), /took over cluster/, 'a cluster that the state lost is not created again')
  t.match(await make('plan'), /no changes/)
})
