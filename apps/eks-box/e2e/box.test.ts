/**
 * A box from its first start to its removal, with the service in it: each step through the commands that the README
 * names, beside whatever else runs on this machine.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { build } from 'esbuild'
import { execa } from 'execa'
import { ACCOUNT, kubeconfigPath } from 'shared/box'
import { PAUSE_IMAGE, programPath } from 'shared/tools'
import t from 'tap'
import { CLUSTER_NAME, oidcIssuer } from '../src/cluster.ts'
import { cgroupRoot } from '../src/components/kubelet.ts'
import { runningBox } from '../src/lifecycle/box.ts'
import { loadBalancerAddress } from '../src/load-balancer/addresses.ts'
import { traces } from './machine.ts'
import { testNetworkPolicies } from './network-policy.ts'
import { operate, RESOURCES, repository, WITHOUT_LOAD_SHEDDING } from './operator.ts'

const minute = 60_000

const results = t.testdir({ 'values.json': JSON.stringify(WITHOUT_LOAD_SHEDDING) })
const { environment, config, make, aws, kubectl, list, killAndRecover, served } = await operate(
  'e2e',
  24_600,
  {
    VALUES: join(results, 'values.json'),
  },
)

/** Runs a load test and returns its report. The caller checks the results. */
async function load(profile: string, args: string[], extra: Record<string, string> = {}) {
  const file = join(results, `${profile}-${Date.now()}.json`)
  const { all } = await execa('node', ['loadtest/src/run.ts', profile, '--summary', file, ...args], {
    cwd: repository,
    env: { ...environment, ...extra },
    all: true,
    reject: false,
  })
  if (!existsSync(file)) throw new Error(`the load test wrote no report:\n${all}`)
  return { said: all, ...JSON.parse(readFileSync(file, 'utf8')) }
}

interface EndpointSlice {
  endpoints?: { addresses: string[]; conditions: { ready?: boolean } }[]
}

const inService = ['--namespace=fastify-app']
const ofRelease = ['--selector', 'app.kubernetes.io/instance=fastify-app']

/** Waits until the Deployment has exactly the replicas it wants, and all are ready. */
async function settled(): Promise<void> {
  await kubectl(...inService, 'rollout', 'status', 'deployment/fastify-app', '--timeout=120s')
}

await make('down')
// A device plugin of the machine's own kubelet keeps such a socket. The box must not touch it.
const plugins = '/var/lib/kubelet/device-plugins'
const madeKubelet = mkdirSync(plugins, { recursive: true })
const socket = join(plugins, 'e2e.sock')
writeFileSync(socket, '')
const before = await traces(config.name, config.stateDir, cgroupRoot(config))
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
  rmSync(madeKubelet ?? socket, { recursive: true, force: true })
})

await t.test('an interrupted start leaves nothing running, and the next one recovers', async (t) => {
  for (const moment of [/Start box/, /[1-5] of 13 ready/, /([6-9]|1[0-2]) of 13 ready/]) {
    const up = execa('node', ['apps/eks-box/src/cli.ts', 'up'], {
      cwd: repository,
      env: environment,
      reject: false,
      all: true,
    })
    // Only once: a second signal could reach a process that is already exiting.
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

await t.test('starting a running box does nothing and says so', async (t) => {
  t.match(await make('box'), /box e2e is up: nothing to build/)
})

await t.test(
  'pods can use mount propagation, and the kubelet does not use the machine’s directories',
  async (t) => {
    t.equal(await make('exec', { CMD: 'findmnt --noheadings --output PROPAGATION /' }), 'shared')
    const now = await traces(config.name, config.stateDir, cgroupRoot(config))
    t.strictSame(now.sysctls, before.sysctls)
    t.ok(existsSync(socket))
  },
)

await t.test('an apply installs the controllers, and a second one changes nothing', async (t) => {
  const applied = await make('apply')
  t.match(applied, /^applied cluster \(local\)/m)
  t.match(applied, /^applied platform \(local\)/m)
  const plan = await make('plan')
  t.match(plan, /^cluster \(local\): no changes$/m)
  t.match(plan, /^platform \(local\): no changes$/m)
  const images = ['get', 'pods', '--namespace=kube-system', '-o=jsonpath={..spec.containers[*].image}']
  for (const image of [
    /public\.ecr\.aws\/karpenter\/controller:/,
    /public\.ecr\.aws\/eks\/aws-load-balancer-controller:/,
    /\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/eks\/coredns:/,
    /\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/eks\/metrics-server:/,
  ]) {
    t.match(await kubectl(...images), image)
  }
})

await t.test('the service is built, pushed and deployed under its production image name', async (t) => {
  await make('build')
  await make('push')
  await make('deploy')
  t.match(
    await kubectl('--namespace=fastify-app', 'get', 'deployment/fastify-app', '-o=jsonpath={..image}'),
    /^\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/fastify-app[:@]/,
  )
  t.match(await served(), /^200/)
  const response = await fetch(`http://127.0.0.1:${config.ports.service}`)
  t.match(response.headers.get('x-request-id'), /^1-[0-9a-f]{8}-/, 'the load balancer passes its trace id')
  const { stdout } = await execa(programPath(config, 'helm'), [
    ...['test', 'fastify-app', '--namespace', 'fastify-app', '--kubeconfig', kubeconfigPath(config)],
  ])
  t.match(stdout, /Phase:\s+Succeeded/, "the chart's own test")
})

/** A Deployment whose pods fit only on a node that Karpenter launches. */
const batch = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'batch', namespace: 'default' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'batch' } },
    template: {
      metadata: { labels: { app: 'batch' } },
      spec: {
        nodeSelector: { 'karpenter.sh/nodepool': 'karpenter-nodes' },
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'pause',
            image: PAUSE_IMAGE,
            resources: { requests: { cpu: '1500m', memory: '512Mi' } },
          },
        ],
      },
    },
  },
}

async function startBatch(): Promise<void> {
  const manifest = join(results, 'batch.json')
  writeFileSync(manifest, JSON.stringify(batch))
  await kubectl('apply', '--filename', manifest)
  await kubectl('rollout', 'status', 'deployment/batch', '--timeout=180s')
}

await t.test(
  'Karpenter launches a node for a pod that fits nowhere, and removes it when it is empty',
  async (t) => {
    const ofKarpenter = ['get', 'nodes', '--selector=karpenter.sh/nodepool', '--output=json']
    t.strictSame(JSON.parse(await kubectl(...ofKarpenter)).items, [])
    await startBatch()
    const [node, ...others] = JSON.parse(await kubectl(...ofKarpenter)).items
    t.strictSame(others, [])
    t.match(node.metadata.labels, {
      'karpenter.sh/capacity-type': 'on-demand',
      // The cheapest type of the NodePool on which the pod fits.
      'node.kubernetes.io/instance-type': process.arch === 'x64' ? 't3a.small' : 't4g.small',
    })
    const instance = node.spec.providerID.split('/').at(-1)
    await kubectl('delete', 'deployment', 'batch')
    await kubectl('wait', `node/${node.metadata.name}`, '--for=delete', '--timeout=180s')
    const state = ['ec2', 'describe-instances', '--instance-ids', instance]
    t.strictSame(await aws(...state, '--query', 'Reservations[].Instances[].State.Name'), ['terminated'])
  },
)

// Most of it is waiting, so the next tests run meanwhile. The test after them checks the report.
const loadThatScales = load('scaling', ['--until-scaled-down'], { HOLD: '45s' }).catch((error: unknown) => ({
  error,
}))

await t.test(
  'the API server accepts the charts with the values of every environment and test case',
  async (t) => {
    const { stdout } = await execa(
      'node',
      ['scripts/src/charts/dry-run-charts.ts', '--kubeconfig', kubeconfigPath(config)],
      {
        cwd: repository,
        env: { KUBECTL: programPath(config, 'kubectl'), HELM: programPath(config, 'helm') },
      },
    )
    for (const name of ['values-prod', 'ci/database', 'karpenter-nodes']) t.match(stdout, name)
  },
)

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
  "pods get the credentials of their service account's role by an association or an annotation",
  async (t) => {
    const namespace = 'pod-identity'
    const cluster = ['--cluster-name', CLUSTER_NAME]
    const issuer = oidcIssuer(config).replace('https://', '')
    const provider = `arn:aws:iam::${ACCOUNT}:oidc-provider/${issuer}`
    const trust = (serviceAccount: string) => ({
      Effect: 'Allow',
      Principal: { Federated: provider },
      Action: 'sts:AssumeRoleWithWebIdentity',
      Condition: {
        StringEquals: {
          [`${issuer}:sub`]: `system:serviceaccount:${namespace}:${serviceAccount}`,
          [`${issuer}:aud`]: 'sts.amazonaws.com',
        },
      },
    })
    const agent = {
      Effect: 'Allow',
      Principal: { Service: 'pods.eks.amazonaws.com' },
      Action: ['sts:AssumeRole', 'sts:TagSession'],
    }
    const role = (name: string) => `arn:aws:iam::${ACCOUNT}:role/e2e-${name}`
    for (const [name, Statement] of Object.entries({ associated: agent, annotated: trust('annotated') })) {
      const policy = JSON.stringify({ Version: '2012-10-17', Statement })
      await aws('iam', 'create-role', '--role-name', `e2e-${name}`, '--assume-role-policy-document', policy)
    }
    const { association } = await aws(
      ...['eks', 'create-pod-identity-association', ...cluster, '--namespace', namespace],
      ...['--service-account', 'associated', '--role-arn', role('associated')],
    )

    const script = join(results, 'caller-identity.cjs')
    await build({
      entryPoints: [join(import.meta.dirname, 'pods', 'caller-identity.ts')],
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'cjs',
      outfile: script,
    })
    const image = await kubectl(...inService, 'get', 'deployment/fastify-app', '-o=jsonpath={..image}')
    await kubectl('create', 'namespace', namespace)
    const inNamespace = ['--namespace', namespace]
    await kubectl(...inNamespace, 'create', 'configmap', 'script', `--from-file=${script}`)
    const accounts: Record<string, object> = {
      associated: {},
      annotated: { 'eks.amazonaws.com/role-arn': role('annotated') },
      untrusted: { 'eks.amazonaws.com/role-arn': role('annotated') },
      neither: {},
    }
    const items = Object.entries(accounts).flatMap(([name, annotations]) => [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace, annotations } },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace },
        spec: {
          serviceAccountName: name,
          restartPolicy: 'Never',
          containers: [
            {
              name: 'app',
              image,
              command: ['node', '/script/caller-identity.cjs'],
              volumeMounts: [{ name: 'script', mountPath: '/script' }],
            },
          ],
          volumes: [{ name: 'script', configMap: { name: 'script' } }],
        },
      },
    ])
    const manifest = join(results, 'pods.json')
    writeFileSync(manifest, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
    await kubectl('create', '--filename', manifest)
    await kubectl(
      ...[...inNamespace, 'wait', 'pods', '--all', '--for=jsonpath={.status.phase}=Succeeded'],
      '--timeout=120s',
    )
    const session = (name: string) => `^arn:aws:sts::${ACCOUNT}:assumed-role/e2e-${name}/`
    const expected = {
      associated: new RegExp(`${session('associated')}eks-fastify-ek-associated-[0-9a-f-]{36}$`, 'm'),
      annotated: new RegExp(session('annotated'), 'm'),
      untrusted: /AccessDenied.*Not authorized to perform sts:AssumeRoleWithWebIdentity/,
      neither: /CredentialsProviderError: Could not load credentials from any providers/,
    }
    for (const [name, output] of Object.entries(expected)) {
      t.match(await kubectl(...inNamespace, 'logs', name), output, name)
    }

    await kubectl('delete', 'namespace', namespace, '--wait=false')
    await aws(
      ...['eks', 'delete-pod-identity-association', ...cluster],
      ...['--association-id', association.associationId],
    )
    for (const name of ['associated', 'annotated']) {
      await aws('iam', 'delete-role', '--role-name', `e2e-${name}`)
    }
  },
)

await t.test('NetworkPolicies are enforced', async (t) =>
  testNetworkPolicies(t, {
    kubeconfig: kubeconfigPath(config),
    image: await kubectl(...inService, 'get', 'deployment/fastify-app', '-o=jsonpath={..image}'),
    kubectl: programPath(config, 'kubectl'),
    helm: programPath(config, 'helm'),
  }),
)

await t.test(
  'load makes the HPA scale from 2 replicas to at least 4 and back, without a failed request',
  async (t) => {
    const report = await loadThatScales
    if ('error' in report) throw report.error
    const { summary, scaling, said } = report
    t.comment(said)
    t.strictSame(summary.failures, {}, 'no request failed')
    t.equal(scaling.replicas.from, 2)
    t.ok(scaling.replicas.max >= 4, `${scaling.replicas.max} replicas at the peak`)
    t.type(scaling.backSecond, 'number', 'back at 2')
  },
)

// full/resilience.test.ts covers further disturbances, and full/components.test.ts the components of the box.
await t.test('no request fails during a restart, a deletion and a failed deployment', async (t) => {
  const steady = load('steady', [], { RATE: '65', DURATION: '150s' })
  await sleep(5000)

  await kubectl(...inService, 'rollout', 'restart', 'deployment/fastify-app')
  await settled()

  const [pod = ''] = (
    await kubectl(...inService, 'get', 'pods', ...ofRelease, '-o=jsonpath={.items[*].metadata.name}')
  ).split(' ')
  await kubectl(...inService, 'delete', 'pod', pod, '--wait=false')
  await settled()

  const said = await make('deploy', { IMAGE_TAG: 'no-such-tag' }, true)
  t.match(said, /error: .*no-such-tag/)
  t.match(said, /next: /)
  await settled()

  const { summary, said: report } = await steady
  t.comment(report)
  t.strictSame(summary.failures, {}, 'no request failed')
  t.ok(summary.requests >= 8000, `${summary.requests} requests`)
})

await t.test(
  'without its database or cache, the service serves every route that needs neither',
  async (t) => {
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
    t.strictSame([...seen.tasks], ['201'], 'tasks are stored')

    const summaries = (async () => {
      for (let count = 0; count < 100; count++) {
        seen.summary.add((await fetch(`${base}/api/v1/tasks/summary`)).status)
        await sleep(50)
      }
    })()
    await killAndRecover('redis')
    await summaries
    t.strictSame([...seen.summary], [200], 'without the cache, summaries are still served')
    t.strictSame([...seen.tasks], ['201'])

    await killAndRecover('postgres')
    await sleep(5000)
    asking = false
    await clients
    t.strictSame([...seen.root], [200])
    t.strictSame(
      [...seen.tasks].filter((answer) => answer !== '201'),
      [...seen.tasks].filter((answer) => answer === '503 with Retry-After'),
      'a route that needs the database asks the client to retry',
    )
    const after = await fetch(`${base}/api/v1/tasks?limit=1`)
    t.equal(after.status, 200, 'the route works again when the database is back')
    t.equal(((await after.json()) as { items: unknown[] }).items.length, 1, 'no task is lost')
  },
)

await t.test('a second load balancer, which no controller manages, sends requests to the pods', async (t) => {
  // No controller deregisters a pod from this load balancer, so neither the HPA nor Karpenter may remove one meanwhile.
  const limitReplicas = (maxReplicas: number) =>
    kubectl(...inService, 'patch', 'hpa/fastify-app', '--patch', JSON.stringify({ spec: { maxReplicas } }))
  await limitReplicas(2)
  await kubectl(
    ...[...inService, 'wait', 'deployment/fastify-app', '--for=jsonpath={.status.replicas}=2'],
    '--timeout=180s',
  )
  await kubectl('wait', 'nodeclaims', '--all', '--for=delete', '--timeout=300s')
  await settled()
  const elbv2 = (...args: string[]) => aws('elbv2', ...args)
  const addresses = async (): Promise<string[]> => {
    const slices = await list<EndpointSlice>(
      ...[...inService, 'endpointslices', '--selector=kubernetes.io/service-name=fastify-app'],
    )
    return slices
      .flatMap(({ endpoints }) => endpoints ?? [])
      .filter(({ conditions }) => conditions.ready)
      .flatMap((endpoint) => endpoint.addresses)
  }
  const [vpc] = await aws('ec2', 'describe-vpcs', '--query', 'Vpcs[?IsDefault==`false`].VpcId')
  const subnets = await aws(
    ...['ec2', 'describe-subnets', '--filters', `Name=vpc-id,Values=${vpc}`],
    ...['--query', 'Subnets[?MapPublicIpOnLaunch].SubnetId'],
  )
  const [balancer] = await elbv2(
    ...['create-load-balancer', '--name', 'e2e', '--subnets', ...subnets, '--query', 'LoadBalancers'],
  )
  const [group] = await elbv2(
    ...['create-target-group', '--name', 'e2e', '--protocol', 'HTTP', '--port', '3000', '--vpc-id', vpc],
    ...['--target-type', 'ip', '--health-check-path', '/readyz', '--health-check-interval-seconds', '5'],
    ...['--health-check-timeout-seconds', '4', '--healthy-threshold-count', '2', '--query', 'TargetGroups'],
  )
  const ofGroup = ['--target-group-arn', group.TargetGroupArn]
  await elbv2(
    ...['modify-target-group-attributes', ...ofGroup],
    // Long enough to see the target drain on a busy machine.
    ...['--attributes', 'Key=deregistration_delay.timeout_seconds,Value=30'],
  )
  const register = (...ips: string[]) =>
    elbv2('register-targets', ...ofGroup, '--targets', ...ips.map((ip) => `Id=${ip}`))
  const health = async (): Promise<Record<string, string>> => {
    const query = 'TargetHealthDescriptions[].[Target.Id, TargetHealth.State]'
    return Object.fromEntries(await elbv2('describe-target-health', ...ofGroup, '--query', query))
  }
  /** Waits until exactly these targets are registered, all of them healthy; resolves to the last health. */
  const healthOnce = async (...healthy: string[]): Promise<Record<string, string>> => {
    const deadline = Date.now() + 3 * minute
    for (;;) {
      const now = await health()
      const isDone =
        Object.keys(now).length === healthy.length && healthy.every((ip) => now[ip] === 'healthy')
      if (isDone || Date.now() > deadline) return now
      await sleep(1000)
    }
  }
  const allHealthy = (...ips: string[]) => Object.fromEntries(ips.map((ip) => [ip, 'healthy']))
  const [leaving = '', ...staying] = await addresses()
  await register(leaving, ...staying)
  t.match(await health(), { [leaving]: 'unused' }, 'no listener uses the target group yet')
  const [listener] = await elbv2(
    ...[
      'create-listener',
      '--load-balancer-arn',
      balancer.LoadBalancerArn,
      '--protocol',
      'HTTP',
      '--port',
      '80',
    ],
    ...['--default-actions', `Type=forward,TargetGroupArn=${group.TargetGroupArn}`, '--query', 'Listeners'],
  )
  t.same(await healthOnce(leaving, ...staying), allHealthy(leaving, ...staying))

  const address = loadBalancerAddress(config, balancer.DNSName) ?? ''
  const lookUp = `require('dns').lookup('${balancer.DNSName}',(e,a)=>console.log(e??a))`
  t.equal(
    await kubectl(...inService, 'exec', 'deployment/fastify-app', '--', 'node', '-e', lookUp),
    address,
    'pods resolve its name',
  )
  const client = execa(
    'node',
    [
      'apps/eks-box/src/cli.ts',
      'exec',
      'node',
      join(import.meta.dirname, 'steady-client.ts'),
      `http://${address}/`,
    ],
    { cwd: repository, env: environment, stdin: 'pipe' },
  )
  await sleep(2000)
  const [pod = ''] = (
    await kubectl(
      ...[
        ...inService,
        'get',
        'pods',
        '--field-selector',
        `status.podIP=${leaving}`,
        '-o=jsonpath={.items[*].metadata.name}',
      ],
    )
  ).split(' ')
  await elbv2('deregister-targets', ...ofGroup, '--targets', `Id=${leaving}`)
  t.equal((await health())[leaving], 'draining')
  await kubectl(...inService, 'delete', 'pod', pod)
  await settled()
  const replacement = (await addresses()).filter((ip) => ip !== leaving && !staying.includes(ip))
  await register(...replacement)
  t.same(
    await healthOnce(...staying, ...replacement),
    allHealthy(...staying, ...replacement),
    'the target is drained',
  )
  for (const name of ['load-balancers', 'aws'] as const) await killAndRecover(name)
  await sleep(10_000)
  client.stdin.end()
  const results = JSON.parse((await client).stdout) as Record<string, number>
  t.comment(JSON.stringify(results))
  t.strictSame(Object.keys(results), ['200'], 'no request failed')
  t.ok((results['200'] ?? 0) > 2000)

  await elbv2('delete-listener', '--listener-arn', listener.ListenerArn)
  await elbv2('delete-target-group', ...ofGroup)
  await elbv2('delete-load-balancer', '--load-balancer-arn', balancer.LoadBalancerArn)
  const deadline = Date.now() + minute
  while (loadBalancerAddress(config, balancer.DNSName) !== undefined && Date.now() < deadline)
    await sleep(100)
  t.equal(loadBalancerAddress(config, balancer.DNSName), undefined)
  await limitReplicas(10)
})

await t.test('a killed host process stops the whole box, and `up` restores it', async (t) => {
  const box = await runningBox(config)
  if (box === undefined) throw new Error('the box is not running')
  process.kill(box.host.pid, 'SIGKILL')
  while ((await traces(config.name, config.stateDir, cgroupRoot(config))).processes.length > 0)
    await sleep(100)
  await make('box')
  t.match(await served(), /^200/, 'the service is back without a new deployment')
})

await t.test('a stopped box continues with its data', async (t) => {
  t.match(await make('stop'), /box e2e is stopped; `make up` starts it again with its data/)
  const stopped = await traces(config.name, config.stateDir, cgroupRoot(config))
  t.strictSame(stopped, before)
  t.match(
    await make('status', {}, true),
    /error: box e2e is not running; its data is kept\n next: start it with `make up`/,
  )
  await make('box')
  t.match(await served(), /^200/, 'the service is back without a new deployment')
})

await t.test('logs-export archives the logs, the status and the state of the cluster', async (t) => {
  const archive = join(results, 'logs.tar.gz')
  await make('logs-export', { OUT: archive })
  const { stdout: names } = await execa('tar', ['--list', '--file', archive])
  for (const name of [
    'status.json',
    'logs/nodes/ip-[0-9-]+/kubelet.log',
    'logs/box.log',
    'cluster/events.txt',
  ]) {
    t.match(names, new RegExp(`^${name}$`, 'm'))
  }
  const pods = await execa('tar', ['--extract', '--to-stdout', '--file', archive, 'cluster/pods.txt'])
  t.match(pods.stdout, /fastify-app/)
  t.notMatch(names, /pki|credentials|kubeconfig/, 'no secret is in it')
})

await t.test('a destroy leaves no load balancer, node or controller behind', async (t) => {
  await startBatch()
  const said = await make('destroy')
  for (const happened of [
    /deleted Ingress fastify-app\/fastify-app/,
    /destroyed platform \(local\)/,
    /destroyed cluster \(local\)/,
  ]) {
    t.match(said, happened)
  }
  for (const [what, query] of Object.entries(RESOURCES)) t.strictSame(await aws(...query), [], what)
  t.equal(await kubectl('get', 'nodes', '--output=name'), '')
})

await t.test('down leaves nothing behind, and a second down has nothing to do', async (t) => {
  t.match(await make('down'), /removed box e2e/)
  t.strictSame(await traces(config.name, config.stateDir, cgroupRoot(config)), before)
  t.notOk(existsSync(config.stateDir))
  t.match(await make('down'), /there is no box e2e/)
})
