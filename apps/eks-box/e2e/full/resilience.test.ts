/**
 * Disturbs the service, its nodes and its controllers while clients send requests through its load balancer, switches
 * off each protection in turn, kills controllers while they work, and destroys everything with interruptions.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  DescribeInstancesCommand,
  DescribeSecurityGroupsCommand,
  DescribeVolumesCommand,
} from '@aws-sdk/client-ec2'
import {
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { awsEnvironment, REGION } from 'shared/box'
import t, { type Test } from 'tap'
import { CLUSTER_NAME } from '../../src/cluster.ts'
import { loadBalancerAddress } from '../../src/load-balancer/addresses.ts'
import { batch } from '../objects.ts'
import { eventually, operate, RESOURCES, WITHOUT_LOAD_SHEDDING } from '../operator.ts'
import { failures, type Results, STEADY_CLIENT, startLoad, sum } from '../steady-load.ts'

const started = Date.now()
const { environment, config, make, interrupt, aws, kubectl, apply, list, ec2, killAndRecover } =
  await operate('e2e-resilience', 25_820)
const results = t.testdir()

/** How many requests have to be served during all disturbances together. */
const enough = 50_000

const inService = '--namespace=fastify-app'
const loadBalancerController = 'aws-load-balancer-controller'
const inSystem = '--namespace=kube-system'

interface Named {
  metadata: { name: string; namespace: string; creationTimestamp: string; deletionTimestamp?: string }
}
interface Pod extends Named {
  kind: 'Pod'
  metadata: Named['metadata'] & { labels: Record<string, string> }
  spec: { nodeName?: string }
  status: { podIP?: string }
}
interface Node extends Named {
  spec: { providerID: string; unschedulable?: boolean }
  status: { conditions: { type: string; status: string }[] }
}
interface Deployment extends Named {
  kind: 'Deployment'
  metadata: Named['metadata'] & { generation: number }
  spec: { replicas: number }
  status: Record<
    'observedGeneration' | 'replicas' | 'updatedReplicas' | 'availableReplicas',
    number | undefined
  >
}
interface Ingress extends Named {
  status: { loadBalancer: { ingress?: { hostname: string }[] } }
}
interface TargetGroupBinding extends Named {
  spec: { targetGroupARN: string }
}
interface NodeClaim extends Named {
  status?: { providerID?: string }
}

const instanceOf = (providerId: string) => providerId.split('/').at(-1) ?? ''
const isReady = ({ status }: Node) =>
  status.conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True')

/** The service's Deployment and its pods, without those of the migration. */
async function service(): Promise<{ deployment: Deployment; pods: Pod[] }> {
  const selector = '--selector=app.kubernetes.io/instance=fastify-app'
  const objects = await list<Deployment | Pod>('deployments,pods', inService, selector)
  const deployment = objects.find((object): object is Deployment => object.kind === 'Deployment')
  if (deployment === undefined) throw new Error('the service is not deployed')
  const pods = objects.filter(
    (object): object is Pod => object.kind === 'Pod' && 'pod-template-hash' in object.metadata.labels,
  )
  return { deployment, pods }
}
const pods = async () => (await service()).pods
const systemNodes = () => list<Node>('nodes', '--selector=node.fastify-eks/role=system')
const karpenterNodes = () => list<Node>('nodes', '--selector=karpenter.sh/nodepool')
const namesOf = (objects: readonly Named[]) => objects.map(({ metadata }) => metadata.name)

let elb: ElasticLoadBalancingV2Client
const targetsOf = async (TargetGroupArn: string) => {
  const { TargetHealthDescriptions = [] } = await elb.send(
    new DescribeTargetHealthCommand({ TargetGroupArn }),
  )
  return TargetHealthDescriptions.map(({ Target, TargetHealth }) => ({
    address: Target?.Id ?? '',
    state: TargetHealth?.State,
  }))
}

/** Returns what is only in one of two lists. */
function difference(what: string, inAws: readonly string[], inCluster: readonly string[]): string[] {
  return [
    ...inAws.filter((one) => !inCluster.includes(one)).map((one) => `${what} ${one} is only in AWS`),
    ...inCluster.filter((one) => !inAws.includes(one)).map((one) => `${what} ${one} is only in the cluster`),
  ]
}

/** Compares what controllers have created in AWS with the objects of the cluster. */
async function differences(): Promise<string[]> {
  const [nodes, claims, ingresses, bindings, serving] = await Promise.all([
    list<Node>('nodes'),
    list<NodeClaim>('nodeclaims'),
    list<Ingress>('ingresses', '--all-namespaces'),
    list<TargetGroupBinding>('targetgroupbindings', '--all-namespaces'),
    pods(),
  ])
  const Filters = [
    { Name: 'tag-key', Values: [`kubernetes.io/cluster/${CLUSTER_NAME}`] },
    { Name: 'instance-state-name', Values: ['pending', 'running'] },
  ]
  const { Reservations = [] } = await ec2().send(new DescribeInstancesCommand({ Filters }))
  const instances = Reservations.flatMap(({ Instances = [] }) => Instances)
  const ids = (found: typeof instances) => found.map(({ InstanceId = '' }) => InstanceId)
  const ofKarpenter = instances.filter(({ Tags = [] }) =>
    Tags.some(({ Key }) => Key === 'karpenter.sh/nodepool'),
  )
  const { LoadBalancers = [] } = await elb.send(new DescribeLoadBalancersCommand({}))
  const { TargetGroups = [] } = await elb.send(new DescribeTargetGroupsCommand({}))
  const arns = LoadBalancers.map(({ LoadBalancerArn = '' }) => LoadBalancerArn)
  const listeners = await Promise.all(
    arns.map((LoadBalancerArn) => elb.send(new DescribeListenersCommand({ LoadBalancerArn }))),
  )
  const { SecurityGroups = [] } = await ec2().send(
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'tag-key', Values: ['elbv2.k8s.aws/cluster'] }] }),
  )
  const tagged = (key: string) =>
    SecurityGroups.flatMap(({ Tags = [] }) => Tags.find(({ Key }) => Key === key)?.Value ?? [])
  const { Volumes = [] } = await ec2().send(
    new DescribeVolumesCommand({ Filters: [{ Name: 'status', Values: ['available'] }] }),
  )
  const addresses = serving.map(({ status }) => status.podIP ?? '')
  const targets = await Promise.all(
    bindings.map(async ({ metadata, spec }) => {
      const registered = (await targetsOf(spec.targetGroupARN)).filter(({ state }) => state !== 'draining')
      return [
        ...difference(
          `target of ${metadata.name}`,
          registered.map(({ address }) => address),
          addresses,
        ),
        ...registered
          .filter(({ state }) => state !== 'healthy')
          .map(({ address, state }) => `target ${address} of ${metadata.name} is ${state}`),
      ]
    }),
  )
  return [
    ...difference(
      'instance',
      ids(instances),
      nodes.map(({ spec }) => instanceOf(spec.providerID)),
    ),
    ...difference(
      "Karpenter's instance",
      ids(ofKarpenter),
      claims.map(({ metadata, status }) => instanceOf(status?.providerID ?? metadata.name)),
    ),
    ...difference(
      'load balancer',
      LoadBalancers.map(({ DNSName = '' }) => DNSName),
      ingresses.map(({ metadata, status }) => status.loadBalancer.ingress?.[0]?.hostname ?? metadata.name),
    ),
    ...listeners.flatMap(({ Listeners = [] }, index) =>
      Listeners.length === 1 ? [] : [`${arns[index]} has ${Listeners.length} listeners`],
    ),
    ...difference(
      'target group',
      TargetGroups.map(({ TargetGroupArn = '' }) => TargetGroupArn),
      bindings.map(({ spec }) => spec.targetGroupARN),
    ),
    ...targets.flat(),
    ...difference(
      'security group of',
      tagged('ingress.k8s.aws/stack'),
      ingresses.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    ),
    ...difference('shared security group', tagged('elbv2.k8s.aws/resource'), ['backend-sg']),
    ...Volumes.map(({ VolumeId }) => `volume ${VolumeId} belongs to no instance`),
  ]
}

/** Waits until the cluster and AWS agree; fails with the last differences. */
async function converged(t: Test, after: string): Promise<void> {
  let last: string[] = []
  await eventually('the cluster and AWS agree', async () => {
    last = await differences().catch((error: unknown) => [String(error)])
    return last.length === 0 ? true : undefined
  }).catch(() => undefined)
  t.strictSame(last, [], `${after}: the cluster and AWS agree`)
}

/** Waits until the service has the pods that it wants, none is ending, and all are healthy targets. */
async function settled(): Promise<void> {
  const [binding] = await list<TargetGroupBinding>('targetgroupbindings', inService)
  await eventually('the service has settled', async () => {
    const check = async () => {
      const { deployment, pods } = await service()
      const { metadata, spec, status } = deployment
      const counts = [status.replicas, status.updatedReplicas, status.availableReplicas, pods.length]
      if (
        status.observedGeneration !== metadata.generation ||
        counts.some((count) => count !== spec.replicas)
      )
        return
      if (pods.some((pod) => pod.metadata.deletionTimestamp !== undefined)) return
      const targets = await targetsOf(binding?.spec.targetGroupARN ?? '')
      const healthy = targets.filter(({ state }) => state === 'healthy').map(({ address }) => address)
      const addresses = pods.map(({ status }) => status.podIP ?? '')
      return difference('target', healthy, addresses).length === 0 ? true : undefined
    }
    // The API server or the emulated AWS may be restarting.
    return check().catch(() => undefined)
  })
}

/** Sends requests to the service's load balancer, from inside the box. */
async function startClients(path: string, rate: number, clients: number) {
  const [ingress] = await list<Ingress>('ingresses', inService)
  const address = loadBalancerAddress(config, ingress?.status.loadBalancer.ingress?.[0]?.hostname ?? '')
  const client = [STEADY_CLIENT, `http://${address}${path}`, String(rate), String(clients)]
  return startLoad(['apps/eks-box/src/cli.ts', 'exec', 'node', ...client], environment)
}

let load: ReturnType<typeof startLoad>
let served = 0

/** Disturbs the service until it has settled again; returns the results of the requests meanwhile. */
async function during(what: string, disturb: () => Promise<unknown>): Promise<Results> {
  const since = Date.now()
  await disturb()
  await settled()
  const results = await load.take()
  const seconds = Math.round((Date.now() - since) / 1000)
  t.comment(`${what}: ${sum(results)} requests in ${seconds} s, failed: ${JSON.stringify(failures(results))}`)
  return results
}

/** Requires that a disturbance makes no request fail. */
async function survives(t: Test, what: string, disturb: () => Promise<unknown>): Promise<void> {
  const before = await load.take()
  const results = await during(what, disturb)
  served += sum(before) + sum(results)
  t.strictSame(failures(before), {}, `no request fails before: ${what}`)
  t.strictSame(failures(results), {}, `no request fails: ${what}`)
}

/** Requires that a disturbance makes requests fail while a protection is off. */
async function harms(t: Test, what: string, disturb: () => Promise<unknown>): Promise<void> {
  await load.take()
  const results = await during(what, disturb)
  t.ok(sum(failures(results)) > 0, `requests fail: ${what}`)
}

/** Deploys the service with two replicas, whatever its load, and these values. */
async function deploy(values: object): Promise<void> {
  const file = join(results, 'values.json')
  writeFileSync(
    file,
    JSON.stringify({
      autoscaling: { minReplicas: 2, maxReplicas: 2 },
      ...WITHOUT_LOAD_SHEDDING,
      ...values,
    }),
  )
  await make('deploy', { VALUES: file })
}

/** Lets the HPA keep this number of replicas. */
async function scaleTo(replicas: number): Promise<void> {
  const patch = JSON.stringify({ spec: { minReplicas: replicas, maxReplicas: replicas } })
  await kubectl(inService, 'patch', 'hpa/fastify-app', '--patch', patch)
  await eventually(`the HPA wants ${replicas} replicas`, async () =>
    (await service()).deployment.spec.replicas === replicas ? true : undefined,
  )
}

/** Deletes a pod of the service. */
async function deletePod(): Promise<void> {
  const [pod] = await pods()
  if (pod !== undefined) await kubectl(inService, 'delete', 'pod', pod.metadata.name, '--wait=false')
}

/** The system nodes, as soon as they are `count` ready ones without the node `gone`. */
function readySystemNodes(count: number, gone?: string): Promise<Node[]> {
  return eventually(`${count} ready system nodes`, async () => {
    const nodes = await systemNodes()
    const isSettled = nodes.length === count && nodes.every(isReady) && !namesOf(nodes).includes(gone ?? '')
    return isSettled ? nodes : undefined
  })
}

/** Moves pods of the service until each of the two system nodes has one. */
async function occupy(t: Test, what: string): Promise<void> {
  const nodes = namesOf(await systemNodes())
  const used = (await pods()).map(({ spec }) => spec.nodeName)
  const full = nodes.filter((name) => used.includes(name))
  if (full.length === nodes.length) return
  await survives(t, `a pod moves, so that ${what} has one`, async () => {
    await kubectl('cordon', ...full)
    await deletePod()
    await settled()
    await kubectl('uncordon', ...full)
  })
}

const restart = () => kubectl(inService, 'rollout', 'restart', 'deployment/fastify-app')

/** Waits until a controller is ready. Without the one of load balancers, the API server accepts no Ingress. */
const controllerReady = (name: string) =>
  kubectl(inSystem, 'rollout', 'status', `deployment/${name}`, '--timeout=300s')

/** Kills a controller at a random moment of the next second, and waits until it is back. */
async function killSoon(controller: string): Promise<void> {
  await sleep(Math.random() * 1000)
  await kubectl(
    ...[inSystem, 'delete', 'pod', '--selector', `app.kubernetes.io/name=${controller}`],
    ...['--force', '--grace-period=0'],
  )
  await controllerReady(controller)
}

/** An Ingress of the service with a load balancer of its own. */
const ingress = (name: string) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: {
    name,
    namespace: 'fastify-app',
    annotations: {
      'alb.ingress.kubernetes.io/scheme': 'internal',
      'alb.ingress.kubernetes.io/target-type': 'ip',
      'alb.ingress.kubernetes.io/healthcheck-path': '/readyz',
    },
  },
  spec: {
    ingressClassName: 'alb',
    defaultBackend: { service: { name: 'fastify-app', port: { name: 'http' } } },
  },
})

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push']) await make(target)
await deploy({})
const env = awsEnvironment(config)
elb = new ElasticLoadBalancingV2Client({
  region: REGION,
  endpoint: env['AWS_ENDPOINT_URL'] ?? '',
  credentials: {
    accessKeyId: env['AWS_ACCESS_KEY_ID'] ?? '',
    secretAccessKey: env['AWS_SECRET_ACCESS_KEY'] ?? '',
  },
})
// The pods of the first installation are older than the target group, so they have no readiness gate.
await restart()
await settled()
t.comment(`the service is deployed after ${Math.round((Date.now() - started) / 1000)} s`)
load = await startClients('/', 100, 4)

await t.test('no request fails during a deployment, a change of size, and a drain', async (t) => {
  await survives(t, 'rolling update', () => deploy({ podAnnotations: { e2e: 'a new revision' } }))
  await survives(t, 'scale up', () => scaleTo(4))
  await survives(t, 'scale down', () => scaleTo(2))
  await survives(t, 'drain of a node', async () => {
    const node = (await pods())[0]?.spec.nodeName ?? ''
    await kubectl('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=300s')
    await settled()
    t.notOk(
      (await pods()).some(({ spec }) => spec.nodeName === node),
      'the pods have moved to another node',
    )
    await kubectl('uncordon', node)
  })
})

await t.test('no request fails when instances of the node group end', async (t) => {
  // An instance that is terminated ends all its pods at once, so the service needs another node with a pod.
  await occupy(t, 'each node')
  await survives(t, 'termination of an instance', async () => {
    const [node] = await systemNodes()
    await aws('ec2', 'terminate-instances', '--instance-ids', instanceOf(node?.spec.providerID ?? ''))
    await readySystemNodes(2, node?.metadata.name)
  })

  const cluster = ['--cluster-name', CLUSTER_NAME]
  const [group] = await aws('eks', 'list-nodegroups', ...cluster, '--query', 'nodegroups')
  const scaleGroup = (size: number) =>
    aws(
      ...['eks', 'update-nodegroup-config', ...cluster, '--nodegroup-name', group],
      ...['--scaling-config', `minSize=1,maxSize=3,desiredSize=${size}`],
    )
  const byAge = (await systemNodes()).sort((a, b) =>
    a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp),
  )
  const [older] = namesOf(byAge)
  await occupy(t, 'each node again')
  await survives(t, 'scale-in of the node group', async () => {
    await scaleGroup(1)
    const [left] = await readySystemNodes(1)
    t.equal(left?.metadata.name, older)
  })
  await aws('eks', 'wait', 'nodegroup-active', ...cluster, '--nodegroup-name', group)
  await scaleGroup(2)
  await readySystemNodes(2)
})

await t.test('no request fails when Karpenter launches, drains and consolidates nodes', async (t) => {
  const system = namesOf(await systemNodes())
  const occupied = async () => {
    const names = (await pods()).map(({ spec }) => spec.nodeName)
    return (await karpenterNodes()).filter((node) => isReady(node) && names.includes(node.metadata.name))
  }
  await kubectl('cordon', ...system)
  await survives(t, 'Karpenter launches a node for a pod', async () => {
    await deletePod()
    await eventually('a pod runs on a node of Karpenter', async () => (await occupied())[0])
  })
  const [interrupted] = await occupied()
  t.ok(interrupted, 'a node of Karpenter has a pod of the service')
  await survives(t, 'interruption of its instance', async () => {
    const detail = {
      'instance-id': instanceOf(interrupted?.spec.providerID ?? ''),
      'instance-action': 'terminate',
    }
    const event = {
      Source: 'aws.ec2',
      DetailType: 'EC2 Spot Instance Interruption Warning',
      Detail: JSON.stringify(detail),
    }
    await aws('events', 'put-events', '--entries', JSON.stringify([event]))
    const isInterrupted = ({ metadata }: Node) => metadata.name === interrupted?.metadata.name
    await eventually('another node of Karpenter has its pod', async () =>
      (await occupied()).find((node) => !isInterrupted(node)),
    )
    // Karpenter decides again only after minutes if it finds no better place for the pod now.
    await kubectl('uncordon', ...system)
    await eventually('the interrupted node is gone', async () =>
      (await karpenterNodes()).some(isInterrupted) ? undefined : true,
    )
  })
  await survives(t, 'consolidation of the other node', async () => {
    await eventually('no node of Karpenter is left', async () =>
      (await karpenterNodes()).length === 0 ? true : undefined,
    )
  })
})

await t.test('no request fails while controllers and the emulated AWS restart', async (t) => {
  await survives(t, 'restart of both controllers during a rolling update', async () => {
    await restart()
    for (const name of ['karpenter', loadBalancerController]) {
      await kubectl(inSystem, 'delete', 'pod', '--selector', `app.kubernetes.io/name=${name}`)
      await controllerReady(name)
    }
  })
  for (const name of ['aws', 'moto', 'load-balancers'] as const) {
    await survives(t, `${name} is killed`, () => killAndRecover(name))
  }
})

await t.test('requests fail without the readiness gate if targets are registered late', async (t) => {
  const gate = 'elbv2.k8s.aws/pod-readiness-gate-inject'
  const scaleController = (replicas: number) =>
    kubectl(inSystem, 'scale', `deployment/${loadBalancerController}`, `--replicas=${replicas}`)
  /** A rolling update in which the controller registers no target from the first new pod on, until `isOver`. */
  const update = async (isOver: () => Promise<unknown>) => {
    const before = namesOf(await pods())
    await restart()
    await eventually('the rollout has begun', async () =>
      namesOf(await pods()).some((name) => !before.includes(name)) ? true : undefined,
    )
    await scaleController(0)
    await isOver()
    await scaleController(1)
    await controllerReady(loadBalancerController)
  }

  await kubectl('label', 'namespace/fastify-app', `${gate}-`)
  // How long it takes until requests fail, in milliseconds.
  let harmless = 0
  const seen: Results = {}
  await load.take()
  const results = await during('rolling update without the readiness gate', () =>
    update(async () => {
      const since = Date.now()
      await eventually('requests fail', async () => {
        for (const [result, count] of Object.entries(await load.take())) {
          seen[result] = (seen[result] ?? 0) + count
        }
        return sum(failures(seen)) > 0 ? true : undefined
      })
      harmless = Date.now() - since
    }),
  )
  t.comment(`without the readiness gate, ${sum(failures(seen)) + sum(failures(results))} requests failed`)
  t.ok(sum(failures(seen)) > 0, 'requests fail without the readiness gate')

  await kubectl('label', 'namespace/fastify-app', `${gate}=enabled`)
  // All pods get the gate.
  await restart()
  await settled()
  // The last failures of the requests above took ten seconds.
  await load.take()
  await survives(t, 'the same rolling update with the readiness gate', () =>
    update(() => sleep(harmless + 15_000)),
  )
})

await t.test('requests fail without the drain phase', async (t) => {
  const setDrain = (setting: string) => kubectl(inService, 'set', 'env', 'deployment/fastify-app', setting)
  await survives(t, 'rolling update with the drain phase', () => setDrain('DRAIN_DELAY_MS=0'))
  await harms(t, 'rolling update without the drain phase', () => setDrain('DRAIN_DELAY_MS-'))
})

await t.test('requests fail without the deregistration delay', async (t) => {
  const [binding] = await list<TargetGroupBinding>('targetgroupbindings', inService)
  const setDelay = (seconds: number) =>
    aws(
      ...[
        'elbv2',
        'modify-target-group-attributes',
        '--target-group-arn',
        binding?.spec.targetGroupARN ?? '',
      ],
      ...['--attributes', `Key=deregistration_delay.timeout_seconds,Value=${seconds}`],
    )
  // Each request takes five seconds, so a pod that ends always has some.
  const long = await startClients('/api/v1/delay/5000', 4, 20)
  const steady = load
  load = long
  await sleep(5000)
  await setDelay(0)
  // A pod whose requests end before the controller has deregistered it loses none, so one pod is not enough.
  await harms(t, 'deletion of three pods without the deregistration delay', async () => {
    for (let deletions = 0; deletions < 3; deletions++) {
      await deletePod()
      await settled()
    }
  })
  await setDelay(35)
  await survives(t, 'deletion of a pod with the deregistration delay', deletePod)
  load = steady
  await long.stop()
  // The short requests of the other clients are not what the delay protects.
  await load.take()
})

await t.test('controllers that are killed while they work leave nothing behind', async (t) => {
  await converged(t, 'at first')
  await survives(t, 'the load balancer controller is killed after a new Ingress', async () => {
    await apply(ingress('second'))
    await killSoon(loadBalancerController)
    await converged(t, 'a new Ingress')
  })
  await survives(t, 'the emulator is killed after a new Ingress', async () => {
    await apply(ingress('third'))
    await sleep(Math.random() * 2000)
    await killAndRecover('moto')
    await converged(t, 'an Ingress, and the emulator restarts')
  })
  await survives(t, 'the load balancer controller is killed after Ingresses are deleted', async () => {
    await kubectl(inService, 'delete', 'ingress', 'second', 'third', '--wait=false')
    await killSoon(loadBalancerController)
    await eventually('the Ingresses are gone', async () =>
      (await list<Ingress>('ingresses', '--all-namespaces')).length === 1 ? true : undefined,
    )
    await converged(t, 'deleted Ingresses')
  })

  const claims = () => list<NodeClaim>('nodeclaims')
  const batchReady = () => kubectl('rollout', 'status', 'deployment/batch', '--timeout=600s')
  await survives(t, 'Karpenter is killed when a launch begins', async () => {
    await apply(batch(1))
    await eventually('a launch begins', async () => (await claims())[0])
    await killSoon('karpenter')
    await batchReady()
    await converged(t, 'a launch')
  })
  await survives(t, 'the emulator is killed when a launch begins', async () => {
    await apply(batch(2))
    await eventually('a launch begins', async () => (await claims())[1])
    await killAndRecover('moto')
    await batchReady()
    await converged(t, 'a launch, and the emulator restarts')
  })
  await survives(t, 'Karpenter is killed when it removes nodes', async () => {
    await apply(batch(0))
    await eventually('the removal begins', async () =>
      (await claims()).find(({ metadata }) => metadata.deletionTimestamp !== undefined),
    )
    await killSoon('karpenter')
    await eventually('the nodes are gone', async () => ((await claims()).length === 0 ? true : undefined))
    await converged(t, 'removed nodes')
  })
})

await t.test(`no request of at least ${enough} has failed`, async (t) => {
  while (served < enough) {
    await sleep(5000)
    const results = await load.take()
    served += sum(results)
    t.strictSame(failures(results), {})
  }
  const last = await load.stop()
  served += sum(last)
  t.strictSame(failures(last), {})
  t.comment(`${served} requests were served while all protections were on, 0 failed`)
})

await t.test('a destroy of everything resumes after several interruptions, and leaves nothing', async (t) => {
  await apply(ingress('second'), batch(1))
  await kubectl('rollout', 'status', 'deployment/batch', '--timeout=600s')
  for (const moment of [/./, /./, /./, /Destruction complete/, /Destruction complete/]) {
    const wait = Math.round(Math.random() * 8000)
    const said = await interrupt('destroy', moment, wait)
    const [line] = said
      .split('\n')
      .filter((line) => !/^(make|error| next):/.test(line))
      .slice(-1)
    t.comment(`interrupted ${wait} ms after ${moment}, in: ${line}`)
    t.notMatch(said, /destroyed cluster \(local\)/, 'the destroy was not finished')
  }
  t.match(await make('destroy'), /destroyed cluster \(local\)/)
  t.match(await make('destroy'), /there is nothing to destroy/)
  for (const [what, query] of Object.entries(RESOURCES)) t.strictSame(await aws(...query), [], what)
  t.equal(await kubectl('get', 'nodes', '--output=name'), '')
  t.comment(`all of it took ${Math.round((Date.now() - started) / 1000)} s`)
})
