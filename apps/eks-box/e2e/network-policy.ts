/**
 * Which connections the chart's NetworkPolicies allow and refuse, in both directions. The test uses only kubectl and
 * Helm, and pods of its own, so it runs against every cluster that enforces policies. box.test.ts runs it in the box;
 * docs/local-box.md describes how to run it against EKS.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import tap, { type Test } from 'tap'
import { stringify } from 'yaml'
import { repository } from './operator.ts'

export interface Cluster {
  kubeconfig: string
  /** Image with Node.js 22.18 or later that every node can pull, such as the service's. */
  image: string
  /** Paths or names of the programs. */
  kubectl: string
  helm: string
}

/** All pods listen on these ports. The chart's policies name the first two, and the ports of database and cache. */
const PORTS = { http: 3000, metrics: 9464, database: 5432, cache: 6379, other: 4000 }

/** A source, a target of e2e/pods/connections.ts, and whether the chart's policies let the connection pass. */
type Expectation = readonly [from: string, target: string, passes: boolean]

const release = 'app'
const labelsOf = (suffix: string) => ({
  'app.kubernetes.io/name': `fastify-app${suffix}`,
  'app.kubernetes.io/instance': release,
})
/** The pods of the test; all but `prometheus` are in one namespace. */
const podLabels = {
  app: labelsOf(''),
  test: labelsOf('-test'),
  migration: labelsOf('-migration'),
  // The policies allow these two by their addresses.
  balancer: {},
  database: {},
  other: {},
  prometheus: {},
} satisfies Record<string, Record<string, string>>

/** Needs an image of the service, and a minute. Leaves nothing in the cluster. */
export async function testNetworkPolicies(t: Test, cluster: Cluster): Promise<void> {
  const namespace = `network-policy-${randomBytes(3).toString('hex')}`
  const monitoring = `${namespace}-monitoring`
  const namespaceOf = (pod: string) => (pod === 'prometheus' ? monitoring : namespace)

  async function kubectl(args: string[], input = ''): Promise<string> {
    const { stdout } = await execa(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, ...args], { input })
    return stdout
  }
  const apply = (objects: object[]) =>
    kubectl(['apply', '--filename', '-'], objects.map((object) => stringify(object)).join('---\n'))

  const script = join(import.meta.dirname, 'pods', 'connections.ts')
  const podOf = ([name, labels]: [string, Record<string, string>]) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: namespaceOf(name), labels },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'node',
          image: cluster.image,
          command: ['node', '/script/connections.ts', 'serve', ...Object.values(PORTS).map(String)],
          ports: [
            { name: 'http', containerPort: PORTS.http },
            { name: 'metrics', containerPort: PORTS.metrics },
          ],
          // No policy mentions this port. The kubelet reaches it all the same, as it does on every node.
          readinessProbe: { tcpSocket: { port: PORTS.other }, periodSeconds: 1, failureThreshold: 1 },
          volumeMounts: [{ name: 'script', mountPath: '/script' }],
        },
      ],
      volumes: [{ name: 'script', configMap: { name: 'script' } }],
    },
  })

  try {
    for (const name of [namespace, monitoring]) {
      await kubectl(['create', 'namespace', name])
      await kubectl(['--namespace', name, 'create', 'configmap', 'script', `--from-file=${script}`])
    }
    await apply([
      ...Object.entries(podLabels).map(podOf),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: release, namespace },
        spec: { selector: podLabels.app, ports: [{ port: 80, targetPort: 'http' }] },
      },
    ])
    const addresses: Record<string, string> = {}
    for (const pod of Object.keys(podLabels)) {
      const inNamespace = ['--namespace', namespaceOf(pod)]
      await kubectl([...inNamespace, 'wait', `pod/${pod}`, '--for=condition=Ready', '--timeout=180s'])
      addresses[pod] = await kubectl([...inNamespace, 'get', 'pod', pod, '-o=jsonpath={.status.podIP}'])
    }

    const clusterIp = (name: string, of: string) =>
      kubectl(['--namespace', of, 'get', 'service', name, '-o=jsonpath={.spec.clusterIP}'])
    addresses['service'] = await clusterIp(release, namespace)
    addresses['api'] = await clusterIp('kubernetes', 'default')

    /** Replaces the name of a pod or Service before a target's port by its address. */
    const addressed = (target: string) => target.replace(/\w+(?=:\d+$)/, (name) => addresses[name] ?? name)

    /** Tries all connections, until their results are as expected or two minutes have passed. */
    async function connectionsAre(expectations: readonly Expectation[], message: string): Promise<void> {
      const named = (passes: (expectation: Expectation) => boolean) =>
        Object.fromEntries(expectations.map((each) => [`${each[0]} to ${each[1]}`, passes(each)]))
      const expected = JSON.stringify(named(([, , passes]) => passes))
      const deadline = Date.now() + 120_000
      for (;;) {
        const found = new Map<string, boolean>()
        const sources = new Set(expectations.map(([from]) => from))
        await Promise.all(
          [...sources].map(async (from) => {
            const targets = expectations.filter(([source]) => source === from).map(([, target]) => target)
            const command = ['node', '/script/connections.ts', 'try', ...targets.map(addressed)]
            const output = await kubectl(['--namespace', namespaceOf(from), 'exec', from, '--', ...command])
            const answered = JSON.parse(output)
            for (const target of targets) found.set(`${from} to ${target}`, answered[addressed(target)])
          }),
        )
        const actual = named(([from, target]) => found.get(`${from} to ${target}`) ?? false)
        if (JSON.stringify(actual) !== expected && Date.now() < deadline) {
          await sleep(500)
          continue
        }
        t.strictSame(actual, JSON.parse(expected), message)
        return
      }
    }

    /** The chart's policies, with the networks of the pods above. */
    async function chartPolicies(): Promise<string> {
      const values = {
        image: { repository: 'registry.example/fastify-app', tag: '1' },
        secret: { name: 'connections', keys: ['DATABASE_URL', 'REDIS_URL'] },
        serviceMonitor: { enabled: true },
        networkPolicy: {
          enabled: true,
          clientCidrs: [`${addresses['balancer']}/32`],
          monitoringNamespace: monitoring,
          egress: {
            database: { cidrs: [`${addresses['database']}/32`] },
            cache: { cidrs: [`${addresses['database']}/32`] },
          },
        },
      }
      const { stdout } = await execa(
        cluster.helm,
        [
          ...['template', release, join(repository, 'helm', 'fastify-app'), '--namespace', namespace],
          ...['--show-only', 'templates/networkpolicy.yaml', '--values', '-'],
        ],
        { input: stringify(values) },
      )
      return stdout
    }

    const api = 'tcp:api:443'
    const name = 'name:kubernetes.default.svc.cluster.local'
    const expectations: Expectation[] = [
      ['balancer', `app:${PORTS.http}`, true],
      ['balancer', `app:${PORTS.metrics}`, false],
      ['balancer', `app:${PORTS.other}`, false],
      ['prometheus', `app:${PORTS.metrics}`, true],
      ['prometheus', `app:${PORTS.http}`, false],
      ['other', `app:${PORTS.http}`, false],
      ['other', `app:${PORTS.metrics}`, false],
      ['other', 'service:80', false],
      ['app', name, true],
      ['app', `database:${PORTS.database}`, true],
      ['app', `database:${PORTS.cache}`, true],
      ['app', `database:${PORTS.other}`, false],
      ['app', `other:${PORTS.database}`, false],
      ['app', `prometheus:${PORTS.http}`, false],
      ['app', api, false],
      ['test', name, true],
      ['test', `app:${PORTS.http}`, true],
      ['test', 'service:80', true],
      ['test', `app:${PORTS.metrics}`, false],
      ['test', `database:${PORTS.database}`, false],
      ['migration', `database:${PORTS.database}`, true],
      ['migration', `database:${PORTS.cache}`, false],
      ['migration', `app:${PORTS.http}`, false],
      ['other', `migration:${PORTS.http}`, false],
      ['other', `test:${PORTS.http}`, false],
      // No policy selects these pods.
      ['other', `database:${PORTS.other}`, true],
      ['other', `prometheus:${PORTS.other}`, true],
      ['other', api, true],
    ]
    const open = expectations.map(([from, target]) => [from, target, true] as const)
    await connectionsAre(open, 'without policies, every connection passes')

    const command = ['node', '/script/connections.ts', 'hold', addressed(`app:${PORTS.http}`)]
    const held = execa(
      cluster.kubectl,
      ['--kubeconfig', cluster.kubeconfig, '--namespace', namespace, 'exec', 'other', '--', ...command],
      { timeout: 300_000, reject: false },
    )
    await Promise.race([once(held.stdout, 'data'), held])

    const policies = await chartPolicies()
    await kubectl(['--namespace', namespace, 'apply', '--filename', '-'], policies)
    await connectionsAre(expectations, "the chart's policies allow what the service needs, and nothing else")
    const ready = ['get', 'pod', 'app', '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}']
    t.equal(await kubectl(['--namespace', namespace, ...ready]), 'True', "the kubelet's probes pass")
    t.match(
      (await held).stdout,
      /^open\ninterrupted$/,
      'the policies also end a connection that was open before',
    )

    await apply([
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'default-deny', namespace },
        spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
      },
    ])
    await connectionsAre(
      [
        ['other', name, false],
        ['other', api, false],
        ['other', `prometheus:${PORTS.other}`, false],
        ['other', `database:${PORTS.other}`, false],
        ['prometheus', `other:${PORTS.http}`, false],
        // Policies add up: what another policy allows still passes.
        ['prometheus', `app:${PORTS.metrics}`, true],
        ['app', name, true],
        // Both ends must allow a connection.
        ['app', `database:${PORTS.database}`, false],
      ],
      'a policy that selects all pods and allows nothing closes the namespace',
    )

    await kubectl(['--namespace', namespace, 'delete', 'networkpolicies', '--all'])
    await connectionsAre(open, 'without policies, every connection passes again')
  } finally {
    await kubectl(['delete', 'namespace', namespace, monitoring, '--ignore-not-found', '--wait=false'])
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { kubeconfig: { type: 'string' }, image: { type: 'string' } } })
  if (values.kubeconfig === undefined || values.image === undefined) {
    console.error(
      'error: --kubeconfig or --image is missing\n next: node network-policy.ts --kubeconfig <file> --image <image>',
    )
    process.exit(1)
  }
  const { kubeconfig, image } = values
  tap.setTimeout(600_000)
  await tap.test('network policies are enforced', (t) =>
    testNetworkPolicies(t, {
      kubeconfig,
      image,
      kubectl: process.env['KUBECTL'] || 'kubectl',
      helm: process.env['HELM'] || 'helm',
    }),
  )
}
