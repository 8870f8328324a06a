/**
 * The box from birth to death, as an operator lives it: every step goes through the commands that the
 * README names, in a box of its own beside whatever else runs on this machine.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { awsEnvironment, kubeconfigPath, portVariables, readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import t from 'tap'
import { CLUSTER_NAME } from '../src/cluster.ts'
import { COMPONENT_NAMES, type ComponentName } from '../src/components/component.ts'
import { cgroupRoot } from '../src/components/kubelet.ts'
import { runningBox } from '../src/lifecycle/box.ts'
import { openPort } from '../src/lifecycle/ports.ts'
import { traces } from './machine.ts'

const repository = resolve(import.meta.dirname, '../../..')
const minute = 60_000

const listeners = await Promise.all(Object.values(portVariables).map((variable) => openPort(0, variable)))
const freePorts = listeners.map((listener) => String((listener.address() as AddressInfo).port))
for (const listener of listeners) listener.close()

const environment: Record<string, string> = {
  BOX_NAME: 'e2e',
  ENV: 'local',
  // Not the region of the caller's shell.
  KUBECONFIG: '',
  ...Object.fromEntries(
    Object.values(portVariables).map((variable, index) => [variable, freePorts[index] ?? '']),
  ),
}
const config = readBoxConfig({ ...process.env, ...environment })
const results = t.testdir()

/** Runs a make target as an operator would; `failing` ones give back what they said. */
async function make(target: string, extra: Record<string, string> = {}, failing = false) {
  const result = await execa('make', ['--no-print-directory', target], {
    cwd: repository,
    env: { ...environment, ...extra },
    all: true,
    reject: false,
  })
  if (result.failed !== failing)
    throw new Error(`make ${target} ended with ${result.exitCode}:\n${result.all}`)
  return result.all
}

/** The AWS CLI against the box, as JSON. */
async function aws(...args: string[]) {
  const { stdout } = await execa(programPath(config, 'aws'), args, { env: awsEnvironment(config) })
  return stdout.startsWith('{') || stdout.startsWith('[') ? JSON.parse(stdout) : stdout
}

/** The environment of a session of a role. */
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

async function kubectl(...args: string[]): Promise<string> {
  const { stdout } = await execa(programPath(config, 'kubectl'), [
    '--kubeconfig',
    kubeconfigPath(config),
    ...args,
  ])
  return stdout
}

/** A load with its report; the caller judges what it asks of it. */
async function load(scenario: string, args: string[], extra: Record<string, string> = {}) {
  const file = join(results, `${scenario}-${Date.now()}.json`)
  const { all } = await execa('node', ['loadtest/src/run.ts', scenario, '--summary', file, ...args], {
    cwd: repository,
    env: { ...environment, ...extra },
    all: true,
    reject: false,
  })
  if (!existsSync(file)) throw new Error(`the load test wrote no report:\n${all}`)
  return { said: all, ...JSON.parse(readFileSync(file, 'utf8')) }
}

async function statusOf(name: ComponentName) {
  return (await runningBox(config))?.components.find((component) => component.name === name)
}

/** Kills a component the hardest way, or makes it hang, and waits until the box has brought it back. */
async function killAndRecover(name: ComponentName, signal: 'KILL' | 'STOP' = 'KILL'): Promise<void> {
  const before = await statusOf(name)
  if (before?.pid === undefined) throw new Error(`${name} is not running`)
  await execa('node', ['apps/eks-box/src/cli.ts', 'exec', 'kill', `-${signal}`, String(before.pid)], {
    cwd: repository,
    env: environment,
  })
  const deadline = Date.now() + 3 * minute
  for (;;) {
    const now = await statusOf(name)
    if (now?.state === 'ready' && now.restarts > before.restarts) return
    if (Date.now() > deadline) throw new Error(`${name} did not come back: ${JSON.stringify(now)}`)
    await sleep(200)
  }
}

/** A claim with its volume, as the EBS CSI driver would have provisioned it. */
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
  // A driver asks again when the API server does not answer.
  const claim = () => kubectl('get', 'persistentvolumeclaim', name, '--ignore-not-found').catch(String)
  while ((await claim()) !== '') await sleep(1000)
  // Long enough for somebody to wait for it.
  await sleep(15_000)
  await aws('ec2', 'delete-volume', '--volume-id', volumeId)
}

const inService = ['--namespace=fastify-app']
const ofRelease = ['--selector', 'app.kubernetes.io/instance=fastify-app']

/** Waits until every pod that the Deployment wants is there and ready, and no other. */
async function settled(): Promise<void> {
  await kubectl(...inService, 'rollout', 'status', 'deployment/fastify-app', '--timeout=120s')
}

async function serves(): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${config.ports.service}/readyz`).catch(() => undefined)
  return response?.status === 200
}

await make('down')
// As the plugin of a graphics card leaves it for a kubelet of the machine's own, which the box must not disturb.
const plugins = '/var/lib/kubelet/device-plugins'
const madeKubelet = mkdirSync(plugins, { recursive: true })
const socket = join(plugins, 'e2e.sock')
writeFileSync(socket, '')
const before = await traces(config.name, config.stateDir, cgroupRoot(config))
t.teardown(async () => {
  // `make down` removes them, and they are what explains a failure.
  if (!t.passing()) await make('logs-export')
  await make('down')
  rmSync(madeKubelet ?? socket, { recursive: true, force: true })
})

await t.test('an interrupted start leaves nothing running, and the next one recovers', async (t) => {
  for (const moment of [/Start box/, /[1-5] of 14 ready/, /([6-9]|1[0-3]) of 14 ready/]) {
    const up = execa('node', ['apps/eks-box/src/cli.ts', 'up'], {
      cwd: repository,
      env: environment,
      reject: false,
      all: true,
    })
    // Once, as a person would: a second signal may meet a process that is on its way out.
    let interrupted = false
    for await (const line of up.iterable({ from: 'all' })) {
      if (interrupted || !moment.test(line)) continue
      interrupted = true
      up.kill('SIGINT')
    }
    const { exitCode, all } = await up
    t.equal(exitCode, 1)
    t.match(all, /error: interrupted while the box was starting\n next: run `make up` again/)
    t.equal(await runningBox(config), undefined)
    const left = await traces(config.name, config.stateDir, cgroupRoot(config))
    t.strictSame(left, before, `interrupted at ${moment}`)
  }
  await make('box')
  t.match(await make('status'), /box e2e: ready/)
})

await t.test('starting a running box does no work and says so', async (t) => {
  t.match(await make('box'), /box e2e is up: nothing to build/)
})

await t.test(
  'the node is one that pods with mount propagation can run on, and its kubelet has not used the machine’s directories',
  async (t) => {
    t.equal(await make('exec', { CMD: 'findmnt --noheadings --output PROPAGATION /' }), 'shared')
    const now = await traces(config.name, config.stateDir, cgroupRoot(config))
    t.strictSame(now.sysctls, before.sysctls)
    t.ok(existsSync(socket))
  },
)

await t.test('nothing can be pushed before the infrastructure says where to', async (t) => {
  t.match(
    await make('push', {}, true),
    /error: local has no image repository yet\n next: .*make apply ENV=local/,
  )
})

await t.test('the infrastructure is applied, and then there is nothing to plan', async (t) => {
  const applied = await make('apply')
  t.match(applied, /^cluster \(local\): \d+ to add, 0 to change, 0 to replace, 0 to destroy$/m)
  t.match(applied, /^applied cluster \(local\)/m)
  t.match(await make('plan'), /^cluster \(local\): no changes$/m)
  t.match(
    await make('output'),
    /ecr_repository_url\s+= "\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/fastify-app"/,
  )
})

await t.test('what was applied is what it should be, by the word of AWS itself', async (t) => {
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
      'their owner’s tags are still there',
    )
  }
  const entry = await aws('eks', 'list-pod-identity-associations', '--cluster-name', CLUSTER_NAME)
  t.match(entry, { associations: [{ namespace: 'kube-system', serviceAccount: /karpenter|ebs-csi/ }] })
})

await t.test('without a valid signature AWS refuses, and a web page gets nowhere', async (t) => {
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

await t.test('AWS’s own tokens open the cluster, to each principal what its access entry says', async (t) => {
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
    'to view is not to view secrets',
  )
  t.match(await as('fastify-eks-deploy', 'auth', 'whoami'), /fastify-app:deploy/)
  await aws('iam', 'create-role', '--role-name', 'stranger', '--assume-role-policy-document', '{}')
  t.match(await as('stranger', 'get', 'nodes'), /Unauthorized|must be logged in/)
  const guessed = await execa(programPath(config, 'kubectl'), ['--kubeconfig', kubeconfig, 'get', 'nodes'], {
    env: {
      ...awsEnvironment(config),
      AWS_SECRET_ACCESS_KEY: 'guessed',
      PATH: `${dirname(programPath(config, 'aws'))}:${process.env['PATH']}`,
    },
    all: true,
    reject: false,
  })
  t.match(guessed.all, /Unauthorized|must be logged in/, 'an access key id alone opens nothing')
  await aws('iam', 'delete-role', '--role-name', 'stranger', '--output=json')
})

await t.test('a change is planned as a change, and wrong input changes nothing', async (t) => {
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

await t.test('the service is built, pushed and rolled out under its production name', async (t) => {
  await make('build')
  await make('push')
  await make('deploy')
  t.match(
    await kubectl('--namespace=fastify-app', 'get', 'deployment/fastify-app', '-o=jsonpath={..image}'),
    /^\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/fastify-app[:@]/,
  )
  t.ok(await serves())
  const { stdout } = await execa(programPath(config, 'helm'), [
    ...['test', 'fastify-app', '--namespace', 'fastify-app', '--kubeconfig', kubeconfigPath(config)],
  ])
  t.match(stdout, /Phase:\s+Succeeded/, "the chart's own test")
})

await t.test('the API server takes the charts with the values of every environment and case', async (t) => {
  const { stdout } = await execa(
    'node',
    ['scripts/src/charts/dry-run-charts.ts', '--kubeconfig', kubeconfigPath(config)],
    { cwd: repository, env: { KUBECTL: programPath(config, 'kubectl'), HELM: programPath(config, 'helm') } },
  )
  for (const name of ['values-prod', 'ci/database', 'karpenter-nodes']) t.match(stdout, name)
})

await t.test('pods resolve names, and logs and exec reach them', async (t) => {
  const pod = await kubectl('--namespace=fastify-app', 'get', 'pods', '-o=jsonpath={.items[0].metadata.name}')
  const lookUp = "require('dns').lookup('fastify-app.fastify-app.svc.cluster.local',(e,a)=>console.log(e??a))"
  t.match(
    await kubectl('--namespace=fastify-app', 'exec', pod, '--', 'node', '-e', lookUp),
    /^172\.20\.\d+\.\d+$/,
  )
  t.match(await kubectl('--namespace=fastify-app', 'logs', pod), /"msg"/)
  const { optionalDependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))
  t.equal(
    await kubectl('--namespace=fastify-app', 'exec', pod, '--', 'node', '--version'),
    `v${optionalDependencies[`node-linux-${process.arch}`]}`,
    'the image holds the pinned Node',
  )
  await t.rejects(kubectl('--namespace=fastify-app', 'exec', pod, '--', '/bin/sh', '-c', 'true'), {
    message: /no such file or directory/,
  })
})

await t.test(
  'load makes the HPA scale from 2 replicas to at least 4 and back, without a failed request',
  async (t) => {
    const { summary, said } = await load('scaling', ['--until-scaled-down'])
    t.comment(said)
    t.equal(summary.failed, 0)
    t.equal(summary.replicas.from, 2)
    t.ok(summary.replicas.max >= 4, `${summary.replicas.max} replicas at the peak`)
    t.type(summary.replicas.backSecond, 'number', 'back at 2')
  },
)

await t.test('no request is lost while pods come and go for every reason there is', async (t) => {
  const steady = load('steady', [], { RATE: '65', DURATION: '240s' })
  const names = async () =>
    (await kubectl(...inService, 'get', 'pods', ...ofRelease, '-o=jsonpath={.items[*].metadata.name}')).split(
      ' ',
    )
  await sleep(5000)

  await kubectl(...inService, 'rollout', 'restart', 'deployment/fastify-app')
  await settled()

  const [first] = await names()
  await kubectl(...inService, 'delete', 'pod', String(first), '--wait=false')
  await settled()

  const drained = await names()
  const node = await kubectl('get', 'nodes', '-o=jsonpath={.items[0].metadata.name}')
  const drain = execa(
    programPath(config, 'kubectl'),
    [
      ...['--kubeconfig', kubeconfigPath(config), 'drain', node, `--pod-selector=${ofRelease[1]}`],
      ...['--timeout=120s'],
    ],
    { all: true },
  )
  let refused = false
  for await (const line of drain.iterable({ from: 'all' })) {
    // The one node takes no pods now, so the first that was evicted has no successor, and the second must stay
    // until the node takes pods again.
    if (refused || !/violate the pod's disruption budget/.test(line)) continue
    refused = true
    await kubectl('uncordon', node)
  }
  await drain
  t.ok(refused, 'the disruption budget holds the last pod back')
  await settled()
  const left = await names()
  t.notOk(
    left.some((name) => drained.includes(name)),
    'and then it goes as well',
  )

  const said = await make('deploy', { IMAGE_TAG: 'no-such-tag' }, true)
  t.match(said, /error: .*no-such-tag/)
  t.match(said, /next: /)
  await settled()

  await kubectl(...inService, 'scale', 'deployment/fastify-app', '--replicas=4')
  await kubectl(...inService, 'wait', 'deployment/fastify-app', '--for=jsonpath={.status.readyReplicas}=4')
  await kubectl(
    ...[...inService, 'wait', 'deployment/fastify-app', '--for=jsonpath={.status.replicas}=2'],
    '--timeout=180s',
  )

  const { summary, said: report } = await steady
  t.comment(report)
  t.equal(summary.failed, 0)
  t.ok(summary.requests >= 12_000, `${summary.requests} requests`)
})

await t.test('without its database or cache the service does all that needs neither', async (t) => {
  const base = `http://127.0.0.1:${config.ports.service}`
  const seen = { root: new Set<number>(), summary: new Set<number>(), tasks: new Set<string>() }
  let asking = true
  const client = async () => {
    while (asking) {
      seen.root.add((await fetch(base)).status)
      const tasks = await fetch(`${base}/api/v1/tasks`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ title: 'while things fail' }),
      })
      const retry = tasks.headers.has('retry-after') ? ' with Retry-After' : ''
      seen.tasks.add(`${tasks.status}${retry}`)
      await sleep(20)
    }
  }
  const clients = Promise.all([client(), client()])
  await sleep(2000)
  t.strictSame([...seen.tasks], ['201'], 'tasks are kept')

  const summaries = (async () => {
    for (let count = 0; count < 100; count++) {
      seen.summary.add((await fetch(`${base}/api/v1/tasks/summary`)).status)
      await sleep(50)
    }
  })()
  await killAndRecover('redis')
  await summaries
  t.strictSame([...seen.summary], [200], 'without the cache a summary is slower, and that is all')
  t.strictSame([...seen.tasks], ['201'])

  await killAndRecover('postgres')
  await sleep(5000)
  asking = false
  await clients
  t.strictSame([...seen.root], [200])
  t.strictSame(
    [...seen.tasks].filter((answer) => answer !== '201'),
    [...seen.tasks].filter((answer) => answer === '503 with Retry-After'),
    'a route that needs the database asks to be tried again',
  )
  const after = await fetch(`${base}/api/v1/tasks?limit=1`)
  t.equal(after.status, 200, 'and works again when the database is back')
  t.equal(((await after.json()) as { items: unknown[] }).items.length, 1, 'with all that was kept')
})

await t.test('requests keep flowing while the control plane is killed part by part', async (t) => {
  const steady = load('steady', ['--no-cluster'], { RATE: '40', DURATION: '60s' })
  for (const name of ['etcd', 'kube-apiserver', 'kube-scheduler', 'kube-controller-manager'] as const) {
    await killAndRecover(name)
  }
  const { summary } = await steady
  t.equal(summary.failed, 0)
  t.ok(summary.requests >= 2000, `${summary.requests} requests`)
})

await t.test('every other component comes back when it is killed', async (t) => {
  const controlPlane = ['etcd', 'kube-apiserver', 'kube-scheduler', 'kube-controller-manager']
  for (const name of COMPONENT_NAMES.filter((candidate) => !controlPlane.includes(candidate))) {
    await killAndRecover(name)
    t.ok(await serves(), `the service answers after ${name} was killed`)
  }
  t.match(await make('status'), /box e2e: ready/)
  t.match(await make('plan'), /no changes/, 'the emulated AWS has forgotten nothing')
})

await t.test(
  'a killed host process takes the whole box with it, and `up` brings all of it back',
  async (t) => {
    const box = await runningBox(config)
    if (box === undefined) throw new Error('the box is not running')
    process.kill(box.host.pid, 'SIGKILL')
    while ((await traces(config.name, config.stateDir, cgroupRoot(config))).processes.length > 0)
      await sleep(100)
    await make('box')
    const deadline = Date.now() + 3 * minute
    while (!(await serves()) && Date.now() < deadline) await sleep(500)
    t.ok(await serves(), 'the service is back without a new deployment')
  },
)

await t.test('a component that hangs is started again', async (t) => {
  await killAndRecover('kube-scheduler', 'STOP')
  t.match(await make('box'), /box e2e is up: nothing to build/)
})

await t.test('a stopped box goes on where it was', async (t) => {
  t.match(await make('stop'), /box e2e is stopped; `make up` starts it again with its data/)
  const stopped = await traces(config.name, config.stateDir, cgroupRoot(config))
  t.strictSame(stopped, before)
  t.match(
    await make('status', {}, true),
    /error: box e2e is not running; its data is kept\n next: start it with `make up`/,
  )
  await make('box')
  const deadline = Date.now() + 3 * minute
  while (!(await serves()) && Date.now() < deadline) await sleep(500)
  t.ok(await serves(), 'the service is back without a new deployment')
})

await t.test('one archive holds the logs, the status, and what the cluster says', async (t) => {
  const archive = join(results, 'logs.tar.gz')
  await make('logs-export', { OUT: archive })
  const { stdout: names } = await execa('tar', ['--list', '--file', archive])
  for (const name of ['status.json', 'logs/kubelet.log', 'logs/box.log', 'cluster/events.txt']) {
    t.match(names, new RegExp(`^${name}$`, 'm'))
  }
  const pods = await execa('tar', ['--extract', '--to-stdout', '--file', archive, 'cluster/pods.txt'])
  t.match(pods.stdout, /fastify-app/)
  t.notMatch(names, /pki|credentials|kubeconfig/, 'and no secret')
})

await t.test('wrong input is one line with the cause and one with the next step', async (t) => {
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

await t.test('a second box on the same ports is refused with the holder of the port', async (t) => {
  const said = await make('box', { BOX_NAME: 'second' }, true)
  t.match(said, /error: port \d+ of 127\.0\.0\.1 is in use by .*\n next: .*BOX_/)
  await make('down', { BOX_NAME: 'second' })
  await make('exec', { CMD: 'mountpoint /var/lib/cni' })
})

/**
 * Runs a make target and interrupts it as Ctrl-C does, `wait` milliseconds after the first line that matches `moment`.
 *
 * @param onLine sees every line, before the interruption that it may cause.
 * @returns what it printed; it may have ended first.
 */
async function interrupt(
  target: string,
  moment: RegExp,
  wait: number,
  onLine: (line: string) => Promise<void> = async () => {},
): Promise<string> {
  const running = execa('make', ['--no-print-directory', target], {
    cwd: repository,
    env: environment,
    all: true,
    reject: false,
    detached: true,
  })
  let begun = false
  for await (const line of running.iterable({ from: 'all' })) {
    await onLine(line)
    if (begun || !moment.test(line)) continue
    begun = true
    await sleep(wait)
    // To make and all that it started, unless make has ended in the meantime.
    if (existsSync(`/proc/${running.pid}`)) process.kill(-Number(running.pid), 'SIGINT')
  }
  return (await running).all
}

await t.test(
  'destroy checks first what would stop it at its end, and touches no other cluster',
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

await t.test(
  'a destroy that is interrupted again and again goes on, and leaves nothing in AWS',
  async (t) => {
    await kubectl('create', 'ingress', 'shop', '--rule=shop.example/*=shop:80')
    const VolumeId = await claimVolume('data')
    const driver = driveVolume('data', VolumeId)
    const logGroupName = `/aws/eks/${CLUSTER_NAME}/cluster`
    const afterLogGroup = async (line: string) => {
      // EKS delivers logs after the cluster is gone, and that recreates the group.
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
      ['what makes controllers keep objects in AWS is deleted', /deleted Ingress default\/shop/],
      ['with the volumes of claims', /deleted PersistentVolumeClaim default\/data/],
      ['and the log group that comes back', /removed log group \/aws\/eks\//],
      ['in the end all is gone', /destroyed cluster \(local\)/],
    ] as const) {
      t.match(said, happened, what)
    }
    t.match(await make('destroy'), /there is nothing to destroy/)
    const roles = await aws('iam', 'list-roles', '--query', 'Roles[].RoleName')
    t.strictSame(
      roles.sort(),
      ['fastify-eks-deploy', 'fastify-eks-readonly'],
      'only what was there before is there',
    )
    for (const [what, ...query] of [
      ['clusters', 'eks', 'list-clusters', '--query', 'clusters'],
      ['repositories', 'ecr', 'describe-repositories', '--query', 'repositories'],
      ['volumes', 'ec2', 'describe-volumes', '--query', 'Volumes'],
      ['log groups', 'logs', 'describe-log-groups', '--query', 'logGroups'],
      ['load balancers', 'elbv2', 'describe-load-balancers', '--query', 'LoadBalancers'],
    ] as const) {
      t.strictSame(await aws(...query), [], what)
    }
    const groups = await aws(
      ...['ec2', 'describe-security-groups', '--query', 'SecurityGroups[?GroupName!=`default`].GroupName'],
    )
    t.strictSame(groups, [], 'security groups')

    // Minutes later, EKS may still deliver logs.
    await aws('logs', 'create-log-group', '--log-group-name', logGroupName)
  },
)

await t.test('an apply that is interrupted again and again goes on', async (t) => {
  for (let attempt = 1; attempt <= 3; attempt++) {
    const wait = attempt === 2 ? 400 : Math.round(Math.random() * 4000)
    // Not before it has begun to create: that would test nothing. Once while it creates the cluster, which EKS
    // goes on with.
    const moment = attempt === 2 ? /aws_kms_key\.this\S*: Creation complete/ : /Creation complete/
    let locked = attempt !== 1
    const said = await interrupt('apply', moment, wait, async (line) => {
      if (locked || !moment.test(line)) return
      locked = true
      const refused = await make('apply', { ARGS: '-lock-timeout=0s' }, true)
      t.match(refused, /Error acquiring the state lock/, 'a second run waits its turn')
      t.match(refused, /next: wait for the run that holds it/)
    })
    t.comment(`interrupted ${wait} ms after its first creation`)
    t.match(said, /run the command again to continue|applied cluster|no changes/, 'it says what to do')
  }
  t.match(await make('apply'), /applied cluster|no changes/)

  // As after an interruption between the request to create the cluster and the answer.
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

await t.test('down leaves nothing behind, and a second one has nothing to do', async (t) => {
  t.match(await make('down'), /removed box e2e/)
  t.strictSame(await traces(config.name, config.stateDir, cgroupRoot(config)), before)
  t.notOk(existsSync(config.stateDir))
  t.match(await make('down'), /there is no box e2e/)
})
