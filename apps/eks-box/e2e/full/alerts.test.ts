/**
 * Injects a fault for each alert that a fault in the box can cause, measures how long the alert takes to fire, repairs the
 * fault, and requires that the alert ends.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { kubeconfigPath } from 'shared/box'
import { programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import { CLUSTER_NAME, PORTS } from '../../src/cluster.ts'
import { batch, hasCondition, type KubernetesObject, type NodeClaim } from '../objects.ts'
import { eventually, operate, repository } from '../operator.ts'

const { config, make, aws, kubectl, apply, list, exec } = await operate('e2e-alerts', 25_500)
const prometheus = `http://127.0.0.1:${config.ports.prometheus}`
const inService = '--namespace=fastify-app'
const inSystem = '--namespace=kube-system'

const minute = 60_000

/** Alerts that this test does not cause, with the reason. */
const notCaused: Readonly<Record<string, string>> = {
  VolumeAlmostFull: 'the box has no volumes: the emulated EBS has no CSI driver',
  VolumeFillsUp: 'the box has no volumes: the emulated EBS has no CSI driver',
  KubeletCertificateExpires: "the box's kubelets have certificates that are valid for a year",
  KubeletCertificateNotRenewed: "the box's kubelets do not request their certificates",
}

interface Alert {
  labels: Record<string, string>
  state: 'pending' | 'firing'
}

/**
 * Whether an alert fires; undefined while Prometheus does not answer. Of the burn rates, only the one with the shortest
 * windows ends soon after the fault.
 */
async function fires(name: string): Promise<boolean | undefined> {
  const response = await fetch(`${prometheus}/api/v1/alerts`).catch(() => undefined)
  if (!response?.ok) return undefined
  const { data } = (await response.json()) as { data: { alerts: Alert[] } }
  return data.alerts.some(
    ({ labels, state }) =>
      labels['alertname'] === name && state === 'firing' && (labels['window'] ?? '1h') === '1h',
  )
}

/** What was measured of an alert: seconds from the fault until it fires, and from the repair until it ends. */
interface Result {
  alert: string
  fault: string
  toFire: number
  toEnd: Promise<number | undefined>
}
const results: Result[] = []

/** Alerts fire for at most 15 minutes longer than their fault lasts, and wait for at most 15 minutes before they fire. */
const patience = 25 * minute

/** Seconds until an alert fires, or ends; undefined if it does not. */
async function secondsUntil(alert: string, firing: boolean): Promise<number | undefined> {
  const since = Date.now()
  while ((await fires(alert)) !== firing) {
    if (Date.now() - since > patience) return undefined
    await sleep(2000)
  }
  return Math.round((Date.now() - since) / 1000)
}

/** Causes a fault until its alerts fire, then repairs it. Does not wait for the end of the alerts. */
async function drill(
  t: Test,
  fault: string,
  names: readonly string[],
  cause: () => Promise<unknown>,
  repair: () => Promise<unknown>,
): Promise<void> {
  for (const alert of names) t.equal(await fires(alert), false, `${alert} is quiet before: ${fault}`)
  await cause()
  const times = await Promise.all(names.map((alert) => secondsUntil(alert, true)))
  await repair()
  for (const [index, alert] of names.entries()) {
    const toFire = times[index]
    t.ok(toFire !== undefined, `${alert} fires after ${toFire} s: ${fault}`)
    if (toFire !== undefined) results.push({ alert, fault, toFire, toEnd: secondsUntil(alert, false) })
  }
}

/** Sends requests to a route of the service while `action` runs. */
async function underLoad(path: string, rate: number, action: () => Promise<unknown>): Promise<void> {
  const client = join(repository, 'apps', 'eks-box', 'e2e', 'steady-client.ts')
  const url = `http://127.0.0.1:${config.ports.service}${path}`
  // Enough clients to keep the rate when each request waits for seconds.
  const load = execa('node', [client, url, String(rate), '200'], { stdin: 'pipe', stderr: 'ignore' })
  try {
    await action()
  } finally {
    load.stdin.end()
    t.comment(`${path}: ${(await load).stdout}`)
  }
}

/** A rule of the box's firewall that rejects connections of pods to a port, at all addresses of the box. */
function firewall(port: number, ...match: string[]) {
  const rule = ['INPUT', '!', '--in-interface', 'lo', '--protocol', 'tcp', '--dport', String(port)]
  const change = (how: string) =>
    exec('iptables', '--wait', how, ...rule, ...match, '--jump', 'REJECT', '--reject-with', 'tcp-reset')
  return { close: () => change('--insert'), open: () => change('--delete') }
}

const patch = (object: string, spec: object, ...args: string[]) =>
  kubectl(...args, 'patch', object, '--type=merge', '--patch', JSON.stringify({ spec }))

/** Changes whether instances with the role of Karpenter's nodes may join the cluster. */
async function nodeAccess(operation: 'create-access-entry' | 'delete-access-entry', ...args: string[]) {
  await aws('eks', operation, '--cluster-name', CLUSTER_NAME, '--principal-arn', nodeRole, ...args)
}

const scale = (deployment: string, replicas: number) =>
  kubectl(inSystem, 'scale', `deployment/${deployment}`, `--replicas=${replicas}`)

interface ServicePod extends KubernetesObject {
  status: KubernetesObject['status'] & {
    podIP: string
    containerStatuses: { restartCount: number }[]
  }
}

const servicePods = () =>
  list<ServicePod>('pods', inService, '--selector=app.kubernetes.io/instance=fastify-app,pod-template-hash')

/** A scrape target that nothing answers: the address of a pod with a port on which it does not listen. */
const deadTarget = ({ metadata, status }: ServicePod) => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: {
    name: 'dead-target',
    namespace: 'fastify-app',
    labels: { 'kubernetes.io/service-name': 'fastify-app-metrics' },
  },
  addressType: 'IPv4',
  ports: [{ name: 'metrics', port: 9999, protocol: 'TCP' }],
  endpoints: [
    {
      addresses: [status.podIP],
      targetRef: { kind: 'Pod', namespace: 'fastify-app', name: metadata.name },
    },
  ],
})

/** An Ingress that the load balancer controller cannot apply. */
const brokenIngress = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: {
    name: 'broken',
    namespace: 'fastify-app',
    annotations: { 'alb.ingress.kubernetes.io/subnets': 'subnet-00000000000000000' },
  },
  spec: {
    ingressClassName: 'alb',
    defaultBackend: { service: { name: 'fastify-app', port: { name: 'http' } } },
  },
}

/** Kills the process of a pod's container, and waits until the pod is ready again. */
async function restartContainer(name: string): Promise<void> {
  const find = async () => (await servicePods()).find(({ metadata }) => metadata.name === name)
  const restarts = async () => (await find())?.status.containerStatuses[0]?.restartCount ?? 0
  const before = await restarts()
  await kubectl(inService, 'exec', name, '--', 'node', '-e', 'process.kill(1)')
  await eventually('the container has restarted and is ready', async () => {
    const pod = await find()
    return pod !== undefined && hasCondition(pod, 'Ready') && (await restarts()) > before ? true : undefined
  })
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push', 'deploy']) await make(target)
// The platform stack installs this chart on EKS.
const clusterMonitoring = 'infrastructure-hcl/platform/releases/charts/cluster-monitoring'
await execa(programPath(config, 'helm'), [
  ...['install', 'cluster-monitoring', join(repository, clusterMonitoring), '--namespace=monitoring'],
  ...['--create-namespace', '--kubeconfig', kubeconfigPath(config)],
])
await make('monitoring')

const entries: string[] = await aws(
  ...['eks', 'list-access-entries', '--cluster-name', CLUSTER_NAME, '--query', 'accessEntries'],
)
const [nodeClass] = await list<KubernetesObject & { spec: { role: string } }>('ec2nodeclasses')
const nodeRole = entries.find((arn) => arn.endsWith(`/${nodeClass?.spec.role}`)) ?? ''

await t.test('a part fails while the service serves', async (t) => {
  const [pod] = await servicePods()
  if (pod === undefined) throw new Error('the service has no pod')
  const cache = firewall(PORTS.redis)
  const rollout = (...args: string[]) => kubectl(inService, ...args)
  await Promise.all([
    drill(
      t,
      'the HPA may not add pods',
      ['AtMaxReplicas'],
      () => patch('hpa/fastify-app', { maxReplicas: 2 }, inService),
      () => patch('hpa/fastify-app', { maxReplicas: 10 }, inService),
    ),
    drill(
      t,
      'metrics-server does not run',
      ['AutoscalerInactive'],
      () => scale('metrics-server', 0),
      () => scale('metrics-server', 2),
    ),
    drill(t, 'the cache refuses connections', ['CacheDown'], cache.close, cache.open),
    drill(
      t,
      'one of three scrape targets does not answer',
      ['TargetsDown'],
      () => apply(deadTarget(pod)),
      () => kubectl(inService, 'delete', 'endpointslice', 'dead-target'),
    ),
    drill(
      t,
      'a container ends three times',
      ['PodsRestart'],
      async () => {
        for (let times = 0; times < 3; times++) await restartContainer(pod.metadata.name)
      },
      async () => {},
    ),
    drill(
      t,
      'a rollout cannot pull its image',
      ['PodsPending', 'RolloutStuck'],
      () =>
        rollout('set', 'image', 'deployment/fastify-app', 'fastify-app=registry.invalid/fastify-app:none'),
      () => rollout('rollout', 'undo', 'deployment/fastify-app'),
    ),
    drill(
      t,
      'an Ingress names a subnet that does not exist',
      ['LoadBalancerControllerErrors'],
      () => apply(brokenIngress),
      () => kubectl(inService, 'delete', 'ingress', 'broken'),
    ),
    drill(
      t,
      'nodes may not join, and the NodePool is full',
      ['KarpenterNodeNotJoined', 'KarpenterNodePoolAtLimit'],
      async () => {
        await apply(batch(1))
        await kubectl('wait', 'deployment/batch', '--for=condition=Available', '--timeout=300s')
        await nodeAccess('delete-access-entry')
        await apply(batch(2))
        await eventually('a second node is launched', async () =>
          (await list<NodeClaim>('nodeclaims')).filter((claim) => hasCondition(claim, 'Launched')).length ===
          2
            ? true
            : undefined,
        )
        // Of two vCPUs each.
        await patch('nodepool/karpenter-nodes', { limits: { cpu: '2' } })
      },
      async () => {
        await nodeAccess('create-access-entry', '--type=EC2_LINUX')
        await patch('nodepool/karpenter-nodes', { limits: { cpu: '8' } })
        await kubectl('delete', 'deployment', 'batch')
        // Karpenter would wait 15 minutes for the one that did not join.
        await kubectl('delete', 'nodeclaims', '--all', '--wait=false')
      },
    ),
  ])
})

await t.test('the database refuses connections, and Karpenter loses AWS', async (t) => {
  const [karpenter] = await list<ServicePod>('pods', inSystem, '--selector=app.kubernetes.io/name=karpenter')
  const database = firewall(PORTS.postgres)
  const cloud = firewall(PORTS.aws, '--source', karpenter?.status.podIP ?? '')
  await Promise.all([
    underLoad('/api/v1/tasks', 20, () =>
      drill(
        t,
        'the database refuses connections',
        ['DatabaseDown', 'ErrorBudgetBurn', 'NoPodReady'],
        database.close,
        database.open,
      ),
    ),
    drill(
      t,
      "Karpenter's connections to AWS are refused",
      ['KarpenterCloudErrors'],
      async () => {
        await cloud.close()
        await apply(batch(1))
      },
      async () => {
        await cloud.open()
        await kubectl('delete', 'deployment', 'batch')
      },
    ),
  ])
})

await t.test('statements lock the tasks, and Karpenter does not run', async (t) => {
  const query = (statement: string) =>
    exec('psql', '--username=postgres', '--dbname=fastify', '--command', statement)
  const locking: Promise<void>[] = []
  // Between two locks, statements succeed. Otherwise, the pods would become unready and get no requests.
  const locks = `DO $$ BEGIN
    FOR times IN 1..800 LOOP LOCK TABLE tasks; PERFORM pg_sleep(2); COMMIT; PERFORM pg_sleep(0.1); END LOOP;
  END $$`
  const lock = async () => {
    // Ends with an error when the session is terminated.
    locking.push(query(locks).catch(() => {}))
  }
  // As the runbook says.
  const unlock = async () => {
    const blocking = "query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    await query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${blocking}`)
    await Promise.all(locking)
  }
  await Promise.all([
    underLoad('/api/v1/tasks', 60, () =>
      drill(t, 'statements lock the tasks', ['DatabasePoolExhausted', 'LatencyBudgetBurn'], lock, unlock),
    ),
    drill(
      t,
      'Karpenter does not run',
      ['KarpenterDown'],
      () => scale('karpenter', 0),
      () => scale('karpenter', 1),
    ),
  ])
})

await t.test('Prometheus loses the pods', async (t) => {
  const select = (component: string | null) =>
    patch(
      'service/fastify-app-metrics',
      { selector: { 'app.kubernetes.io/component': component } },
      inService,
    )
  await drill(
    t,
    'the Service for the metrics selects no pod',
    ['MetricsMissing'],
    () => select('none'),
    () => select(null),
  )
})

await t.test('each alert ends after the repair, and none was left out', async (t) => {
  t.comment('| alert | fault | fires after | ends after the repair |')
  for (const { alert, fault, toFire, toEnd } of results) {
    const end = await toEnd
    t.ok(end !== undefined, `${alert} ends`)
    t.comment(`| ${alert} | ${fault} | ${toFire} s | ${end} s |`)
  }
  const response = await fetch(`${prometheus}/api/v1/rules?type=alert`)
  const { data } = (await response.json()) as { data: { groups: { rules: { name: string }[] }[] } }
  const known = new Set(data.groups.flatMap(({ rules }) => rules.map(({ name }) => name)))
  for (const alert of results.map((result) => result.alert)) known.delete(alert)
  t.strictSame([...known].sort(), Object.keys(notCaused).sort(), 'every other alert has a reason')
})
