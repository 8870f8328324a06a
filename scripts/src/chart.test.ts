import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type {
  V1ConfigMap,
  V1Container,
  V1Deployment,
  V1Pod,
  V1PodDisruptionBudget,
  V1PodSpec,
  V1Service,
  V1ServiceAccount,
  V2HorizontalPodAutoscaler,
} from '@kubernetes/client-node'
import { ActionableError } from 'eks-box/errors'
import { execa } from 'execa'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { loadConfig } from '../../apps/fastify-api/src/config.ts'
import { renderChart, runTool } from './chart.ts'

const CHART = join(import.meta.dirname, '..', '..', 'helm', 'fastify-app')
const ENVIRONMENTS = ['local', 'dev', 'staging', 'prod'] as const
const IMAGE = { repository: 'registry.example/fastify-app', tag: '1.2.3' }

interface Rendered {
  Deployment: V1Deployment
  Service: V1Service
  ConfigMap: V1ConfigMap
  ServiceAccount: V1ServiceAccount
  HorizontalPodAutoscaler?: V2HorizontalPodAutoscaler
  PodDisruptionBudget?: V1PodDisruptionBudget
  /** The `helm test` hook. */
  Pod: V1Pod
}

/** Renders the chart's defaults with `overrides` and returns the objects by kind. */
async function render(overrides: Record<string, unknown> = {}, files: string[] = [], chart = CHART) {
  const manifests = await renderChart(chart, { files, overrides: { image: IMAGE, ...overrides } })
  const objects = parseAllDocuments(manifests).map((document) => document.toJS() as { kind: string })
  return Object.fromEntries(objects.map((object) => [object.kind, object])) as unknown as Rendered
}

function renderEnvironment(environment: (typeof ENVIRONMENTS)[number]) {
  return render({}, [join(CHART, `values-${environment}.yaml`)])
}

function podSpec({ Deployment }: Rendered): V1PodSpec {
  const spec = Deployment.spec?.template.spec
  if (spec == null) throw new TypeError('the Deployment has no pod template')
  return spec
}

function container(spec: V1PodSpec | undefined): V1Container {
  const [only, ...others] = spec?.containers ?? []
  if (only === undefined || others.length > 0) throw new TypeError('the pod has not exactly one container')
  return only
}

/** What Helm answers to values that it must refuse. */
async function refusal(overrides: Record<string, unknown>): Promise<string> {
  return render(overrides).then(
    () => 'not refused',
    (error: ActionableError) => error.message,
  )
}

// Without Helm this says so once, instead of every test.
await runTool('helm', ['version'], '', 'itself')

t.test('the fixed facts of the service', async (t) => {
  const { HorizontalPodAutoscaler, ...rendered } = await render()
  t.match(container(podSpec(rendered)), {
    image: 'registry.example/fastify-app:1.2.3',
    ports: [{ name: 'http', containerPort: 3000 }],
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { cpu: '200m', memory: '256Mi' } },
  })
  t.match(HorizontalPodAutoscaler?.spec, {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: rendered.Deployment.metadata?.name },
    minReplicas: 2,
    maxReplicas: 10,
    metrics: [
      {
        type: 'Resource',
        resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 70 } },
      },
    ],
  })
})

t.test('either the HPA or the Deployment owns the number of replicas', async (t) => {
  const on = await render()
  t.equal(on.Deployment.spec?.replicas, undefined)
  const off = await render({ autoscaling: { enabled: false }, replicaCount: 3 })
  t.equal(off.Deployment.spec?.replicas, 3)
  t.equal(off.HorizontalPodAutoscaler, undefined)
})

t.test('the local environment scales down sooner and is otherwise scaled like production', async (t) => {
  const prod = (await renderEnvironment('prod')).HorizontalPodAutoscaler?.spec
  const local = (await renderEnvironment('local')).HorizontalPodAutoscaler?.spec
  t.equal(prod?.behavior?.scaleUp?.stabilizationWindowSeconds, 0)
  t.equal(prod?.behavior?.scaleDown?.stabilizationWindowSeconds, 300)
  t.strictSame(local, {
    ...prod,
    behavior: {
      ...prod?.behavior,
      scaleDown: { ...prod?.behavior?.scaleDown, stabilizationWindowSeconds: 30 },
    },
  })
})

t.test('a disruption budget covers the pods of the Deployment, unless it is off', async (t) => {
  const { PodDisruptionBudget, Deployment } = await render()
  t.equal(PodDisruptionBudget?.spec?.maxUnavailable, 1)
  t.strictSame(PodDisruptionBudget?.spec?.selector, Deployment.spec?.selector)
  t.equal((await render({ podDisruptionBudget: { enabled: false } })).PodDisruptionBudget, undefined)
})

t.test('the Service selects the pods of the Deployment and not the test', async (t) => {
  const { Service, Deployment, Pod } = await render()
  const selector = Service.spec?.selector ?? {}
  t.strictSame(selector, Deployment.spec?.selector.matchLabels)
  t.has(Deployment.spec?.template.metadata?.labels, selector)
  t.notHas(Pod.metadata?.labels, selector)
  t.match(Service.spec, { type: 'ClusterIP', ports: [{ port: 80, targetPort: 'http' }] })
})

t.test('a node port exists only on request, and is fixed in the local environment', async (t) => {
  t.equal((await render()).Service.spec?.ports?.[0]?.nodePort, undefined)
  const chosen = (await render({ service: { type: 'NodePort' } })).Service.spec
  t.equal(chosen?.type, 'NodePort')
  t.equal(chosen?.ports?.[0]?.nodePort, undefined)
  t.match((await renderEnvironment('local')).Service.spec, { type: 'NodePort', ports: [{ nodePort: 30080 }] })
})

t.test('grace period and the limits of the service come from one budget', async (t) => {
  const rendered = await render({ shutdown: { drainDelaySeconds: 7, timeoutSeconds: 11, marginSeconds: 2 } })
  t.equal(podSpec(rendered).terminationGracePeriodSeconds, 20)
  t.match(rendered.ConfigMap.data, { DRAIN_DELAY_MS: '7000', SHUTDOWN_TIMEOUT_MS: '11000' })
})

t.test('the pods run with the configuration, and are replaced when it changes and only then', async (t) => {
  const rendered = await render()
  t.strictSame(container(podSpec(rendered)).envFrom, [
    { configMapRef: { name: rendered.ConfigMap.metadata?.name } },
  ])
  const changed = await render({ config: { logLevel: 'warn' } })
  t.equal(changed.ConfigMap.data?.['LOG_LEVEL'], 'warn')
  t.notSame(changed.Deployment.spec?.template, rendered.Deployment.spec?.template)

  const newer = t.testdir()
  cpSync(CHART, newer, { recursive: true })
  const metadata = readFileSync(join(CHART, 'Chart.yaml'), 'utf8')
  writeFileSync(join(newer, 'Chart.yaml'), metadata.replace(/^version: .*$/m, 'version: 99.0.0'))
  const upgraded = await render({}, [], newer)
  t.equal(upgraded.Deployment.metadata?.labels?.['helm.sh/chart'], 'fastify-app-99.0.0')
  t.strictSame(upgraded.Deployment.spec, rendered.Deployment.spec)
})

t.test('the configuration sets every variable that the service reads, to values it accepts', async (t) => {
  for (const environment of ENVIRONMENTS) {
    const { data = {} } = (await renderEnvironment(environment)).ConfigMap
    t.strictSame(Object.keys(data).sort(), Object.keys(loadConfig(data)).sort(), environment)
  }
})

t.test('routes for load tests do not exist by default nor in production', async (t) => {
  t.equal((await render()).ConfigMap.data?.['LOAD_ENDPOINTS_ENABLED'], 'false')
  const switches = await Promise.all(
    ENVIRONMENTS.map(
      async (name) => (await renderEnvironment(name)).ConfigMap.data?.['LOAD_ENDPOINTS_ENABLED'],
    ),
  )
  t.strictSame(switches, ['true', 'true', 'true', 'false'])
})

t.test('on AWS the pods, the test included, run on arm64 nodes', async (t) => {
  for (const environment of ENVIRONMENTS) {
    const rendered = await renderEnvironment(environment)
    const expected = environment === 'local' ? undefined : { 'kubernetes.io/arch': 'arm64' }
    t.strictSame(podSpec(rendered).nodeSelector, expected, environment)
    t.strictSame(rendered.Pod.spec?.nodeSelector, expected, `test in ${environment}`)
  }
})

t.test('service and test meet the restricted Pod Security Standard', async (t) => {
  const rendered = await render()
  for (const spec of [podSpec(rendered), rendered.Pod.spec]) {
    t.match(spec, {
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65532,
        runAsGroup: 65532,
        seccompProfile: { type: 'RuntimeDefault' },
      },
    })
    t.match(container(spec).securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  }
  t.equal(rendered.ServiceAccount.automountServiceAccountToken, false)
})

t.test('probes ask the routes that are meant for them', async (t) => {
  const { startupProbe, livenessProbe, readinessProbe } = container(podSpec(await render()))
  const paths = [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet?.path)
  t.strictSame(paths, ['/healthz', '/healthz', '/readyz'])
})

t.test('pods spread over zones and nodes, but do not wait for a place', async (t) => {
  const { Deployment, ...rendered } = await render()
  const constraints = podSpec({ Deployment, ...rendered }).topologySpreadConstraints ?? []
  t.strictSame(
    constraints.map(({ topologyKey }) => topologyKey),
    ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'],
  )
  for (const { whenUnsatisfiable, labelSelector } of constraints) {
    t.equal(whenUnsatisfiable, 'ScheduleAnyway')
    t.strictSame(labelSelector, Deployment.spec?.selector)
  }
})

t.test('a rollout adds pods before it removes any', async (t) => {
  const { Deployment } = await render()
  t.match(Deployment.spec?.strategy, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0 } })
})

t.test('an image is known by tag, digest or both', async (t) => {
  const { repository, tag } = IMAGE
  const digest = `sha256:${'0123456789abcdef'.repeat(4)}`
  for (const [image, reference] of [
    [{ repository, tag }, `${repository}:${tag}`],
    [{ repository, digest }, `${repository}@${digest}`],
    [{ repository, tag, digest }, `${repository}:${tag}@${digest}`],
  ] as const) {
    const rendered = await render({ image })
    t.equal(container(podSpec(rendered)).image, reference)
    t.equal(container(rendered.Pod.spec).image, reference)
    t.equal(
      rendered.Deployment.metadata?.labels?.['app.kubernetes.io/version'],
      'tag' in image ? tag : undefined,
    )
  }
})

t.test('a tag that is no label value is cut to one', async (t) => {
  const { Deployment } = await render({ image: { ...IMAGE, tag: `_${'a'.repeat(61)}-b` } })
  t.equal(Deployment.metadata?.labels?.['app.kubernetes.io/version'], 'a'.repeat(61))
})

t.test('values that contradict each other are refused with the reason', async (t) => {
  for (const [overrides, reason] of [
    [{ image: { tag: 'x' } }, 'image.repository is empty'],
    [{ image: { repository: 'x' } }, 'image.tag and image.digest are both empty'],
    [
      { autoscaling: { minReplicas: 11 } },
      'autoscaling.minReplicas (11) is more than autoscaling.maxReplicas (10)',
    ],
    [
      { podDisruptionBudget: { maxUnavailable: 0 } },
      'podDisruptionBudget.maxUnavailable (0) forbids every eviction',
    ],
    [
      { podDisruptionBudget: { maxUnavailable: 2 } },
      'podDisruptionBudget.maxUnavailable (2) lets all pods of autoscaling.minReplicas (2) be evicted at once',
    ],
    [
      { autoscaling: { enabled: false }, replicaCount: 1 },
      'podDisruptionBudget.maxUnavailable (1) lets all pods of replicaCount (1) be evicted at once',
    ],
    [{ service: { nodePort: 30000 } }, 'service.nodePort (30000) needs service.type NodePort, not ClusterIP'],
  ] as const) {
    t.match(await refusal(overrides), reason)
  }
})

t.test('values that the schema does not know or allow are refused by name', async (t) => {
  for (const [overrides, reason] of [
    [{ replicas: 3 }, "additional properties 'replicas' not allowed"],
    [{ service: { nodeport: 30080 } }, "at '/service': additional properties 'nodeport' not allowed"],
    [
      { autoscaling: { targetCPUUtilizationPercentage: null } },
      "missing property 'targetCPUUtilizationPercentage'",
    ],
    [{ image: { ...IMAGE, repository: 'a/b:1' } }, "at '/image/repository'"],
    [{ image: { ...IMAGE, tag: 7 } }, "at '/image/tag': got number, want string"],
    [{ config: { logLevel: 'loud' } }, "at '/config/logLevel': value must be one of 'fatal'"],
    [{ autoscaling: { behavior: { scaleUp: { policies: [] } } } }, 'minItems'],
  ] as const) {
    t.match(await refusal(overrides), reason)
  }
})

t.test('the test passes when the service is ready, and only then', async (t) => {
  const { command, args } = container((await render()).Pod.spec)
  const run = (url: string) => {
    const script = args?.map((arg) => arg.replace('http://fastify-app:80/readyz', url)) ?? []
    return execa({ reject: false, all: true })`${[...(command ?? []), ...script]}`
  }

  let status = 200
  const service = createServer((_request, response) => response.writeHead(status).end())
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/readyz`
  t.match(await run(url), { exitCode: 0, all: `${url} answered 200` })
  status = 503
  t.match(await run(url), { exitCode: 1, all: `${url} answered 503` })
  await new Promise((resolve) => service.close(resolve))
  t.match(await run(url), { exitCode: 1, all: 'did not answer: Error: connect ECONNREFUSED' })
})

t.test('the notes say how to reach the service', async (t) => {
  const notes = (overrides: Record<string, unknown>) =>
    runTool(
      'helm',
      ['install', 'fastify-app', CHART, '--namespace', 'apps', '--dry-run=client', '--values', '-'],
      JSON.stringify({ image: IMAGE, ...overrides }),
      'the notes',
    )
  t.match(await notes({}), /2 to 10 replicas[\s\S]*port-forward service\/fastify-app 3000:80/)
  t.match(await notes({ autoscaling: { enabled: false } }), 'with 2 replicas.')
  t.match(await notes({ service: { type: 'NodePort' } }), '--namespace apps get service fastify-app')
  t.match(await notes({ service: { type: 'NodePort', nodePort: 30080 } }), 'port 30080 of every node')
})

t.test('a missing helm is named with what to do about it', async (t) => {
  const { HELM: _, ...env } = process.env
  const nextStep = 'Install helm, or set HELM to its path.'
  t.intercept(process, 'env', { value: { ...env, PATH: '/nowhere' } })
  await t.rejects(render(), new ActionableError('there is no helm', nextStep))
  t.intercept(process, 'env', { value: { ...env, HELM: '/nowhere/helm' } })
  await t.rejects(render(), new ActionableError('there is no /nowhere/helm', nextStep))
})
