import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type {
  V1ConfigMap,
  V1Container,
  V1Deployment,
  V1Ingress,
  V1Job,
  V1NetworkPolicy,
  V1Pod,
  V1PodDisruptionBudget,
  V1PodSpec,
  V1Role,
  V1Service,
  V1ServiceAccount,
  V2HorizontalPodAutoscaler,
} from '@kubernetes/client-node'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { loadConfig } from '../../../apps/fastify-api/src/config.ts'
import { type ChartPrograms, readChartPrograms, renderChart, runTool } from './chart.ts'

const CHART = join(REPOSITORY_ROOT, 'helm', 'fastify-app')
const ENVIRONMENTS = ['local', 'dev', 'staging', 'prod'] as const
/** Values with a database and a shared cache. */
const CONNECTED = { secret: { name: 'connections' } }
const IMAGE = { repository: 'registry.example/fastify-app', tag: '1.2.3' }

interface Rendered {
  Deployment: V1Deployment
  Service: V1Service
  ConfigMap: V1ConfigMap
  ServiceAccount: V1ServiceAccount
  HorizontalPodAutoscaler?: V2HorizontalPodAutoscaler
  PodDisruptionBudget?: V1PodDisruptionBudget
  Ingress?: V1Ingress
  HTTPRoute?: CustomObject
  NetworkPolicy?: V1NetworkPolicy
  ServiceMonitor?: CustomObject
  PrometheusRule?: CustomObject
  ExternalSecret?: CustomObject
  /** The migration. */
  Job?: V1Job
  /** The `helm test` hook. */
  Pod: V1Pod
  /** Finds an object whose name has a suffix after the release's. */
  other<T>(kind: string, suffix: string): T | undefined
}

const programs = readChartPrograms(process.env)

/** An object of a custom kind. check-chart.ts validates it against its definition. */
interface CustomObject {
  metadata: { annotations?: Record<string, string>; labels?: Record<string, string> }
  spec: unknown
}

/** Most tests need these values: the chart refuses several replicas without a database, and an Ingress without HTTPS. */
const ACCEPT_RISKS = join(
  t.testdir({ 'values.yaml': 'database: { acceptTaskLoss: true }\ningress: { acceptPlainHttp: true }' }),
  'values.yaml',
)

const CERTIFICATE = 'arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef'
/** An Ingress as the stack edge describes it. */
const EDGE = { enabled: true, host: 'tasks.example.org', certificateArn: CERTIFICATE }

/** Renders the chart with `overrides` and returns the objects by kind. */
async function render(overrides: Record<string, unknown> = {}, files: string[] = [], chart = CHART) {
  const values = { files: [ACCEPT_RISKS, ...files], overrides: { image: IMAGE, ...overrides } }
  const manifests = await renderChart(programs, chart, values)
  const objects = parseAllDocuments(manifests).map(
    (document) => document.toJS() as { kind: string; metadata: { name: string } },
  )
  const withSuffix = (suffix: string) =>
    objects.filter(({ metadata }) => metadata.name === `fastify-app${suffix}`)
  const hooks = [...withSuffix('-test'), ...withSuffix('-migration')].filter(
    ({ kind }) => kind !== 'NetworkPolicy',
  )
  return {
    ...Object.fromEntries([...hooks, ...withSuffix('')].map((object) => [object.kind, object])),
    other: (kind: string, suffix: string) => withSuffix(suffix).find((object) => object.kind === kind),
  } as unknown as Rendered
}

function renderEnvironment(environment: (typeof ENVIRONMENTS)[number]) {
  return render({}, [join(CHART, `values-${environment}.yaml`)])
}

function podSpec({ Deployment }: Pick<Rendered, 'Deployment'>): V1PodSpec {
  const spec = Deployment.spec?.template.spec
  if (spec == null) throw new TypeError('the Deployment has no pod template')
  return spec
}

function container(spec: V1PodSpec | undefined): V1Container {
  const [only, ...others] = spec?.containers ?? []
  if (only === undefined || others.length > 0)
    throw new TypeError('the pod does not have exactly one container')
  return only
}

/** The AWS Load Balancer Controller's annotations, without their prefix. */
function albAnnotations(ingress: V1Ingress | undefined): Record<string, string> {
  const annotations = Object.entries(ingress?.metadata?.annotations ?? {})
  return Object.fromEntries(
    annotations.map(([name, value]) => [name.replace('alb.ingress.kubernetes.io/', ''), value]),
  )
}

/** Helm's error for values that it must refuse. */
async function refusal(overrides: Record<string, unknown>): Promise<string> {
  return render(overrides).then(
    () => 'not refused',
    (error: ActionableError) => error.message,
  )
}

// Report a missing Helm once instead of in every test.
await runTool(programs, 'helm', ['version'], '', 'itself')

t.test('image, ports, resources and scaling of the service', async (t) => {
  const { HorizontalPodAutoscaler, ...rendered } = await render()
  t.match(container(podSpec(rendered)), {
    image: 'registry.example/fastify-app:1.2.3',
    ports: [
      { name: 'http', containerPort: 3000 },
      { name: 'metrics', containerPort: 9464 },
    ],
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { cpu: '1000m', memory: '256Mi' } },
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

t.test('either the HPA or the Deployment sets the number of replicas', async (t) => {
  const on = await render()
  t.equal(on.Deployment.spec?.replicas, undefined)
  const off = await render({ autoscaling: { enabled: false }, replicaCount: 3 })
  t.equal(off.Deployment.spec?.replicas, 3)
  t.equal(off.HorizontalPodAutoscaler, undefined)
})

t.test(
  'the local environment scales by CPU alone and down sooner, but otherwise like production',
  async (t) => {
    const prod = (await renderEnvironment('prod')).HorizontalPodAutoscaler?.spec
    const local = (await renderEnvironment('local')).HorizontalPodAutoscaler?.spec
    t.equal(prod?.behavior?.scaleUp?.stabilizationWindowSeconds, 0)
    t.equal(prod?.behavior?.scaleDown?.stabilizationWindowSeconds, 300)
    const [cpu, requests] = prod?.metrics ?? []
    t.match([cpu?.resource?.name, requests?.pods?.metric.name], ['cpu', 'http_requests_per_second'])
    t.strictSame(local, {
      ...prod,
      metrics: [cpu],
      behavior: {
        ...prod?.behavior,
        scaleDown: { ...prod?.behavior?.scaleDown, stabilizationWindowSeconds: 30 },
      },
    })
  },
)

t.test('a PodDisruptionBudget covers the pods of the Deployment unless it is disabled', async (t) => {
  const { PodDisruptionBudget, Deployment } = await render()
  t.equal(PodDisruptionBudget?.spec?.maxUnavailable, 1)
  t.strictSame(PodDisruptionBudget?.spec?.selector, Deployment.spec?.selector)
  t.equal((await render({ podDisruptionBudget: { enabled: false } })).PodDisruptionBudget, undefined)
})

t.test('the Service selects the pods of the Deployment, but not the test pod', async (t) => {
  const { Service, Deployment, Pod } = await render()
  const selector = Service.spec?.selector ?? {}
  t.strictSame(selector, Deployment.spec?.selector.matchLabels)
  t.has(Deployment.spec?.template.metadata?.labels, selector)
  t.notHas(Pod.metadata?.labels, selector)
  t.match(Service.spec, { type: 'ClusterIP', ports: [{ port: 80, targetPort: 'http' }] })
})

t.test('there is a node port only if enabled, and a fixed one in the local environment', async (t) => {
  t.equal((await render()).Service.spec?.ports?.[0]?.nodePort, undefined)
  const chosen = (await render({ service: { type: 'NodePort' } })).Service.spec
  t.equal(chosen?.type, 'NodePort')
  t.equal(chosen?.ports?.[0]?.nodePort, undefined)
  t.match((await renderEnvironment('local')).Service.spec, { type: 'NodePort', ports: [{ nodePort: 30080 }] })
})

t.test("the pod's grace period is the sum of the service's shutdown times", async (t) => {
  const rendered = await render({ shutdown: { drainDelaySeconds: 7, timeoutSeconds: 11, marginSeconds: 2 } })
  t.equal(podSpec(rendered).terminationGracePeriodSeconds, 20)
  t.match(rendered.ConfigMap.data, { DRAIN_DELAY_MS: '7000', SHUTDOWN_TIMEOUT_MS: '11000' })
})

t.test('the pods read the ConfigMap, and are replaced only when it changes', async (t) => {
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

t.test('the ConfigMap contains only variables that the service reads, with valid values', async (t) => {
  const cases = ['ci/database-values.yaml', 'ci/customized-values.yaml']
  const files = [...ENVIRONMENTS.map((name) => `values-${name}.yaml`), ...cases]
  for (const file of files) {
    const { data = {} } = (await render({}, [join(CHART, file)])).ConfigMap
    // The SDK of OpenTelemetry reads the last two itself.
    const known = [...Object.keys(loadConfig(data)), 'OTEL_TRACES_SAMPLER', 'OTEL_TRACES_SAMPLER_ARG']
    t.strictSame(
      Object.keys(data).filter((name) => !known.includes(name)),
      [],
      file,
    )
  }
})

t.test('each value of the configuration sets its variable', async (t) => {
  const { ConfigMap } = await render({
    config: {
      logLevel: 'warn',
      logRequestsPerSecond: 7,
      maxConnections: 1_000_000,
      loadEndpointsEnabled: true,
      loadMaxMilliseconds: 5000,
      rateLimitPerMinute: 600,
      pressure: {
        maxEventLoopDelayMilliseconds: 1,
        maxEventLoopUtilizationPercent: 2,
        maxHeapUsedPercent: 3,
      },
    },
    database: { poolSize: 4, readyGraceSeconds: 45 },
    tracing: { endpoint: 'http://collector:4318', sampleRatio: 0.05 },
  })
  t.match(ConfigMap.data, {
    LOG_LEVEL: 'warn',
    LOG_REQUESTS_PER_SECOND: '7',
    MAX_CONNECTIONS: '1000000',
    LOAD_ENDPOINTS_ENABLED: 'true',
    LOAD_MAX_MS: '5000',
    RATE_LIMIT_PER_MINUTE: '600',
    PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '1',
    PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: '2',
    PRESSURE_MAX_HEAP_USED_PERCENT: '3',
    DATABASE_POOL_SIZE: '4',
    DATABASE_READY_GRACE_MS: '45000',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.05',
  })
  t.notHas((await render()).ConfigMap.data, 'OTEL_EXPORTER_OTLP_ENDPOINT')
})

t.test('there is an Ingress only if enabled, and in every environment', async (t) => {
  for (const name of ENVIRONMENTS) t.ok((await renderEnvironment(name)).Ingress, name)
  t.equal((await render()).Ingress, undefined)
})

t.test(
  'by default the load balancer is public, uses HTTP and sends requests directly to ready pods',
  async (t) => {
    const { Ingress } = await render({ ingress: { enabled: true } })
    t.equal(Ingress?.spec?.ingressClassName, 'alb')
    t.strictSame(Ingress?.spec?.rules, [
      {
        http: {
          paths: [
            {
              path: '/',
              pathType: 'Prefix',
              backend: { service: { name: 'fastify-app', port: { name: 'http' } } },
            },
          ],
        },
      },
    ])
    const annotations = albAnnotations(Ingress)
    t.match(annotations, {
      scheme: 'internet-facing',
      'target-type': 'ip',
      'listen-ports': '[{"HTTP":80}]',
      'healthcheck-path': '/readyz',
      'load-balancer-attributes':
        'idle_timeout.timeout_seconds=60,routing.http.drop_invalid_header_fields.enabled=true',
    })
    for (const name of ['certificate-arn', 'ssl-redirect', 'ssl-policy', 'inbound-cidrs']) {
      t.notHas(annotations, name)
    }
  },
)

t.test('a terminating pod fails its health checks before it stops serving', async (t) => {
  const { Ingress, ConfigMap } = await render({
    ingress: { enabled: true },
    shutdown: { drainDelaySeconds: 10 },
  })
  const annotations = albAnnotations(Ingress)
  const seconds = (name: string) => Number(annotations[name])
  const detected = seconds('healthcheck-interval-seconds') * seconds('unhealthy-threshold-count')
  t.ok(
    detected * 1000 <= Number(ConfigMap.data?.['DRAIN_DELAY_MS']),
    'even with the shortest allowed drain delay',
  )
  // Elastic Load Balancing requires a timeout shorter than the interval.
  t.ok(seconds('healthcheck-timeout-seconds') < seconds('healthcheck-interval-seconds'))
})

t.test("the user's annotations override the chart's, except those that control access", async (t) => {
  const { Ingress } = await render({}, [join(CHART, 'ci', 'https-values.yaml')])
  t.equal(Ingress?.spec?.ingressClassName, 'alb-internal')
  t.match(albAnnotations(Ingress), {
    'group.name': 'shared',
    'success-codes': '200-204',
    'healthcheck-path': '/readyz',
  })
  for (const [name, value] of [
    ['scheme', 'scheme'],
    ['inbound-cidrs', 'inboundCidrs'],
    ['security-group-prefix-lists', 'cloudFrontPrefixList'],
  ]) {
    const annotations = { [`alb.ingress.kubernetes.io/${name}`]: 'x' }
    t.match(await refusal({ ingress: { enabled: true, annotations } }), `set ingress.${value}`)
  }
})

t.test('an HTTPRoute leads to the Service, which trusts its gateway about client addresses', async (t) => {
  const { HTTPRoute, Service, ConfigMap } = await render({}, [join(CHART, 'ci', 'customized-values.yaml')])
  t.match(HTTPRoute, {
    metadata: { annotations: { 'example.org/owner': 'shop' } },
    spec: {
      parentRefs: [{ name: 'public', namespace: 'gateways', sectionName: 'https' }],
      hostnames: ['tasks.example.org'],
      rules: [{ backendRefs: [{ name: Service.metadata?.name, port: Service.spec?.ports?.[0]?.port }] }],
    },
  })
  t.equal(ConfigMap.data?.['TRUSTED_PROXY_HOPS'], '1')
  t.equal((await render()).HTTPRoute, undefined)
})

t.test(
  'scheduling settings apply to all pods; volumes and variables to the service and its migration',
  async (t) => {
    const rendered = await render({}, [join(CHART, 'ci', 'customized-values.yaml')])
    const [service, migration] = [podSpec(rendered), rendered.Job?.spec?.template.spec]
    for (const spec of [service, migration, rendered.Pod.spec]) {
      t.match(spec, {
        imagePullSecrets: [{ name: 'registry' }],
        priorityClassName: 'system-cluster-critical',
        tolerations: [{ key: 'dedicated', operator: 'Equal', value: 'web', effect: 'NoSchedule' }],
        affinity: { nodeAffinity: {} },
      })
    }
    for (const spec of [service, migration]) {
      t.match(spec?.volumes, [{ name: 'ca', configMap: { name: 'ca' } }])
      t.match(container(spec).volumeMounts, [{ name: 'ca', mountPath: '/etc/ca', readOnly: true }])
      t.match(container(spec).env?.slice(-2), [
        { name: 'DATABASE_CA_FILE', value: '/etc/ca/ca.pem' },
        { name: 'OTEL_RESOURCE_ATTRIBUTES', valueFrom: { configMapKeyRef: { name: 'tracing' } } },
      ])
    }
    const { metadata } = rendered.Deployment.spec?.template ?? {}
    t.equal(metadata?.annotations?.['example.org/team'], 'shop')
    t.equal(metadata?.labels?.['example.org/cost-center'], '42')
    t.match(rendered.ServiceAccount.metadata?.annotations, { 'eks.amazonaws.com/role-arn': /role\/shop$/ })
    for (const object of [rendered.ServiceMonitor, rendered.PrometheusRule]) {
      t.match(object?.metadata.labels, {
        release: 'kube-prometheus-stack',
        'app.kubernetes.io/name': 'fastify-app',
      })
    }
  },
)

t.test('by default none of these settings are present', async (t) => {
  const rendered = await render(CONNECTED)
  for (const spec of [podSpec(rendered), rendered.Job?.spec?.template.spec, rendered.Pod.spec]) {
    for (const field of ['imagePullSecrets', 'priorityClassName', 'tolerations', 'affinity', 'volumes']) {
      t.notHas(spec, field)
    }
    t.equal(container(spec).volumeMounts, undefined)
  }
  t.equal(rendered.ServiceAccount.metadata?.annotations, undefined)
})

t.test('with a certificate the load balancer uses HTTPS and redirects HTTP', async (t) => {
  const { Ingress } = await render({}, [join(CHART, 'ci', 'https-values.yaml')])
  t.equal(Ingress?.spec?.rules?.[0]?.host, 'tasks.example.org')
  t.match(albAnnotations(Ingress), {
    scheme: 'internal',
    'listen-ports': '[{"HTTP":80},{"HTTPS":443}]',
    'ssl-redirect': '443',
    'ssl-policy': /^ELBSecurityPolicy-TLS13-1-2-/,
    'certificate-arn': /^arn:aws:acm:/,
    'inbound-cidrs': '203.0.113.0/24,198.51.100.0/24',
    'load-balancer-attributes':
      /,access_logs.s3.enabled=true,access_logs.s3.bucket=access-logs-of-example,access_logs.s3.prefix=fastify-app$/,
  })
  const logs = { enabled: true, accessLogs: { bucket: 'logs' } }
  const withoutPrefix = albAnnotations((await render({ ingress: logs })).Ingress)
  t.match(withoutPrefix['load-balancer-attributes'], /bucket=logs$/)
})

t.test('the deregistration delay covers the shutdown of the service', async (t) => {
  const rendered = await render({
    ingress: { enabled: true },
    shutdown: { drainDelaySeconds: 12, timeoutSeconds: 11, marginSeconds: 2 },
  })
  t.match(
    albAnnotations(rendered.Ingress)['target-group-attributes'],
    /deregistration_delay.timeout_seconds=23,/,
  )
  t.equal(podSpec(rendered).terminationGracePeriodSeconds, 25)
})

t.test('the service trusts only the load balancer about client addresses', async (t) => {
  t.equal((await render()).ConfigMap.data?.['TRUSTED_PROXY_HOPS'], '0')
  const { data } = (await render({ ingress: { enabled: true } })).ConfigMap
  t.equal(data?.['TRUSTED_PROXY_HOPS'], '1')
})

t.test('connection strings come from the Secret, and each listed key is required', async (t) => {
  t.equal(container(podSpec(await render())).env, undefined)
  t.strictSame(container(podSpec(await render(CONNECTED))).env, [
    { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'connections', key: 'DATABASE_URL' } } },
    { name: 'REDIS_URL', valueFrom: { secretKeyRef: { name: 'connections', key: 'REDIS_URL' } } },
  ])
  const cacheOnly = await render({ secret: { name: 'connections', keys: ['REDIS_URL'] } })
  t.strictSame(
    container(podSpec(cacheOnly)).env?.map(({ name }) => name),
    ['REDIS_URL'],
  )
})

t.test('for a Secret that Helm cannot read, secret.version replaces the checksum', async (t) => {
  const annotations = async (secret: object) =>
    (await render({ secret })).Deployment.spec?.template.metadata?.annotations ?? {}
  t.strictSame(Object.keys(await annotations({ name: 'connections' })), ['checksum/config'])
  const versions = ['1', '2'].map((version) => annotations({ name: 'connections', version }))
  const [one, two] = await Promise.all(versions)
  t.equal(one?.['checksum/secret'], '1')
  t.strictSame({ ...one, 'checksum/secret': '2' }, two)
})

t.test('an ExternalSecret is created before the migration, and its Secret outlives it', async (t) => {
  const rendered = await render({ externalSecret: { enabled: true, key: 'fastify-app/prod' } })
  t.match(rendered.ExternalSecret, {
    metadata: { annotations: { 'helm.sh/hook': 'pre-install,pre-upgrade' } },
    spec: {
      secretStoreRef: { kind: 'ClusterSecretStore', name: 'aws-secrets-manager' },
      target: { name: 'fastify-app', creationPolicy: 'Orphan', deletionPolicy: 'Retain' },
      data: ['DATABASE_URL', 'REDIS_URL'].map((name) => ({
        secretKey: name,
        remoteRef: { key: 'fastify-app/prod', property: name },
      })),
    },
  })
  const weight = (annotations: Record<string, string> | undefined) =>
    Number(annotations?.['helm.sh/hook-weight'])
  t.ok(weight(rendered.ExternalSecret?.metadata.annotations) < weight(rendered.Job?.metadata?.annotations))
  const [variable] = container(podSpec(rendered)).env ?? []
  t.equal(variable?.valueFrom?.secretKeyRef?.name, 'fastify-app')
  t.equal((await render(CONNECTED)).ExternalSecret, undefined)
})

t.test('the migration has credentials of its own, only while it runs', async (t) => {
  const rendered = await render({
    externalSecret: {
      enabled: true,
      key: 'cluster/service',
      migration: { key: 'cluster/migration', adminKey: 'rds!db-1' },
    },
  })
  const secret = rendered.other<CustomObject>('ExternalSecret', '-migration')
  t.match(secret, {
    metadata: {
      annotations: {
        'helm.sh/hook': 'pre-install,pre-upgrade',
        'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
      },
    },
    spec: {
      target: { name: 'fastify-app-migration', creationPolicy: 'Owner' },
      data: [
        { secretKey: 'DATABASE_URL', remoteRef: { key: 'cluster/migration', property: 'DATABASE_URL' } },
        { secretKey: 'DATABASE_ADMIN_USERNAME', remoteRef: { key: 'rds!db-1', property: 'username' } },
        { secretKey: 'DATABASE_ADMIN_PASSWORD', remoteRef: { key: 'rds!db-1', property: 'password' } },
        {
          secretKey: 'SERVICE_DATABASE_URL',
          remoteRef: { key: 'cluster/service', property: 'DATABASE_URL' },
        },
      ],
    },
  })
  const references = (spec: V1PodSpec | undefined) =>
    (container(spec).env ?? []).flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? [])
  t.strictSame(
    references(rendered.Job?.spec?.template.spec),
    ['DATABASE_URL', 'DATABASE_ADMIN_USERNAME', 'DATABASE_ADMIN_PASSWORD', 'SERVICE_DATABASE_URL'].map(
      (key) => ({ name: 'fastify-app-migration', key }),
    ),
  )
  t.strictSame(
    references(podSpec(rendered)).map(({ name }) => name),
    ['fastify-app', 'fastify-app'],
    'the service does not see them',
  )
})

t.test('without an administrator, the migration only signs in as another user', async (t) => {
  const { Job, other } = await render({
    externalSecret: { enabled: true, key: 'cluster/service', migration: { key: 'cluster/migration' } },
  })
  t.match(other('ExternalSecret', '-migration'), { spec: { data: { length: 1 } } })
  t.strictSame(
    container(Job?.spec?.template.spec).env?.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []),
    [{ name: 'fastify-app-migration', key: 'DATABASE_URL' }],
  )
})

t.test('with a database, a migration runs before the rollout', async (t) => {
  const { Job, Service, Deployment } = await render(CONNECTED)
  t.match(Job?.metadata?.annotations, {
    'helm.sh/hook': 'pre-install,pre-upgrade',
    'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
  })
  t.match(container(Job?.spec?.template.spec), {
    image: container(podSpec({ Deployment })).image,
    command: ['node', '/app/migrate.js'],
    env: [
      { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'connections' } } },
      { name: 'MIGRATION_TIMEOUT_MS', value: '40000' },
    ],
  })
  t.match(Job?.spec, { backoffLimit: 1, activeDeadlineSeconds: 120 })
  t.notHas(Job?.spec?.template.metadata?.labels, Service.spec?.selector ?? {})
})

t.test(
  'a migration uses no other object of the release, because it runs before the first installation',
  async (t) => {
    const spec = (await render(CONNECTED)).Job?.spec?.template.spec
    t.equal(spec?.serviceAccountName, undefined)
    t.equal(container(spec).envFrom, undefined)
  },
)

t.test('there is no migration without a database or when it is disabled', async (t) => {
  for (const overrides of [
    {},
    { secret: { name: 'connections', keys: ['REDIS_URL'] } },
    { ...CONNECTED, migration: { enabled: false } },
  ]) {
    t.equal((await render(overrides)).Job, undefined, JSON.stringify(overrides))
  }
})

t.test('a headless Service exposes the metrics to Prometheus; the public Service does not', async (t) => {
  const rendered = await render({ serviceMonitor: { enabled: true, intervalSeconds: 30 } })
  t.strictSame(
    rendered.Service.spec?.ports?.map(({ name }) => name),
    ['http'],
  )
  const metrics = rendered.other<V1Service>('Service', '-metrics')
  t.match(metrics?.spec, {
    clusterIP: 'None',
    publishNotReadyAddresses: true,
    ports: [{ name: 'metrics', targetPort: 'metrics' }],
  })
  t.strictSame(metrics?.spec?.selector, rendered.Service.spec?.selector)
  const { spec } = rendered.ServiceMonitor as { spec: { selector: { matchLabels: object } } }
  t.match(spec, { endpoints: [{ port: 'metrics', path: '/metrics', interval: '30s' }] })
  t.has(metrics?.metadata?.labels, spec.selector.matchLabels)
  t.notHas(rendered.Service.metadata?.labels, spec.selector.matchLabels)

  const off = await render()
  t.equal(off.ServiceMonitor, undefined)
  t.equal(off.other('Service', '-metrics'), undefined)
})

t.test('there are alerts only for parts that the release has', async (t) => {
  const alerts = async (overrides: Record<string, unknown>) => {
    const on = { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } }
    const { spec } = (await render({ ...on, ...overrides })).PrometheusRule as unknown as {
      spec: { groups: { rules: { alert?: string; expr: string }[] }[] }
    }
    return spec.groups.flatMap(({ rules }) => rules)
  }
  const names = (rules: { alert?: string }[]) => [...new Set(rules.flatMap(({ alert }) => alert ?? []))]
  const always = [
    ...['ErrorBudgetBurn', 'LatencyBudgetBurn', 'NoPodReady', 'MetricsMissing', 'TargetsDown'],
    ...['RolloutStuck', 'PodsPending', 'PodsRestart'],
  ]
  const fixed = { autoscaling: { enabled: false } }
  t.strictSame(names(await alerts(fixed)), always)
  t.strictSame(names(await alerts({})), [...always, 'AtMaxReplicas', 'AutoscalerInactive'])
  t.strictSame(names(await alerts({ ...fixed, ...CONNECTED })), [
    ...always,
    'DatabaseDown',
    'DatabasePoolExhausted',
    'CacheDown',
  ])
  const objectives = {
    enabled: true,
    availabilityPercent: 99,
    p95Milliseconds: 1000,
    minimumBadRequests: 50,
  }
  const rules = await alerts({
    ...fixed,
    prometheusRule: objectives,
    serviceMonitor: { enabled: true, intervalSeconds: 30 },
  })
  const slow = rules.find(({ expr }) => expr.includes('_bucket{'))
  t.match(slow?.expr, /le=~"1\(\[\.\]0\)\?"\}\[120s\]/, 'the bucket in both versions, over four scrapes')
  const burns = rules.filter(({ alert }) => alert === 'ErrorBudgetBurn').map(({ expr }) => expr)
  t.match(burns, [/> 0\.144\n/, /> 0\.06\n/, /> 0\.03\n/, /> 0\.01\n/])
  t.ok(burns.every((expr) => expr.endsWith('>= 50')))
  t.equal((await render()).PrometheusRule, undefined)
})

t.test('each dashboard is a ConfigMap that the sidecar finds', async (t) => {
  const dashboards = {
    enabled: true,
    labels: { grafana_dashboard: '1', team: 'shop' },
    annotations: { grafana_folder: 'Services' },
  }
  const rendered = await render({ dashboards })
  for (const name of ['fastify-app', 'autoscaling', 'objectives']) {
    const map = rendered.other<V1ConfigMap>('ConfigMap', `-dashboard-${name}`)
    t.match(map?.metadata, { labels: dashboards.labels, annotations: dashboards.annotations })
    const file = readFileSync(join(CHART, 'dashboards', `${name}.json`), 'utf8')
    t.strictSame(JSON.parse(map?.data?.[`${name}.json`] ?? ''), JSON.parse(file))
  }
  t.equal((await render()).other('ConfigMap', '-dashboard-fastify-app'), undefined)
})

t.test('dashboards know how often the service is scraped', async (t) => {
  const rendered = await render({
    dashboards: { enabled: true },
    serviceMonitor: { enabled: true, intervalSeconds: 15 },
  })
  const map = rendered.other<V1ConfigMap>('ConfigMap', '-dashboard-fastify-app')
  const { panels } = JSON.parse(map?.data?.['fastify-app.json'] ?? '') as {
    panels: { title: string; interval?: string; targets?: { interval?: string }[] }[]
  }
  const rate = panels.find(({ title }) => title === 'Rate')
  t.match(rate, { interval: '15s', targets: [{ interval: '15s' }] })
})

t.test('monitoring objects exist only in environments with Prometheus', async (t) => {
  const monitored = await Promise.all(
    ENVIRONMENTS.map(async (name) => {
      const { ServiceMonitor, PrometheusRule, other } = await renderEnvironment(name)
      const dashboard = other<V1ConfigMap>('ConfigMap', '-dashboard-fastify-app')
      return [ServiceMonitor, PrometheusRule, dashboard].map((object) => object !== undefined)
    }),
  )
  t.strictSame(monitored, [
    [false, false, false],
    [false, false, false],
    [true, true, true],
    [true, true, true],
  ])
})

t.test('a NetworkPolicy allows only requests to the pods, and DNS from them', async (t) => {
  const { NetworkPolicy, Deployment } = await render({ networkPolicy: { enabled: true } })
  t.strictSame(NetworkPolicy?.spec?.podSelector, Deployment.spec?.selector)
  t.strictSame(NetworkPolicy?.spec?.policyTypes, ['Ingress', 'Egress'])
  t.strictSame(NetworkPolicy?.spec?.ingress, [{ ports: [{ port: 'http' }] }])
  t.match(NetworkPolicy?.spec?.egress, [{ ports: [{ port: 53 }, { port: 53 }] }])
  t.equal(NetworkPolicy?.spec?.egress?.length, 1)
})

t.test('NetworkPolicies exist in every environment', async (t) => {
  const enabled = await Promise.all(
    ENVIRONMENTS.map(async (name) => (await renderEnvironment(name)).NetworkPolicy !== undefined),
  )
  t.strictSame(enabled, [true, true, true, true])
})

t.test('the values allow further connections to and from the pods', async (t) => {
  const rendered = await render({}, [join(CHART, 'ci', 'database-values.yaml')])
  const test = { podSelector: { matchLabels: rendered.Pod.metadata?.labels } }
  t.strictSame(rendered.NetworkPolicy?.spec?.ingress, [
    {
      ports: [{ port: 'http' }],
      from: [{ ipBlock: { cidr: '10.0.0.0/20' } }, { ipBlock: { cidr: '10.0.16.0/20' } }, test],
    },
    {
      ports: [{ port: 'metrics' }],
      from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
    },
  ])
  const [, ...destinations] = rendered.NetworkPolicy?.spec?.egress ?? []
  t.strictSame(destinations, [
    { ports: [{ port: 5432 }], to: [{ ipBlock: { cidr: '10.0.32.0/20' } }] },
    { ports: [{ port: 6379 }], to: [{ ipBlock: { cidr: '10.0.32.0/20' } }] },
    { ports: [{ port: 4318 }], to: [{ ipBlock: { cidr: '10.0.0.0/16' } }] },
  ])
})

t.test('in staging, the pods can reach the collector of the platform', async (t) => {
  const { NetworkPolicy, ConfigMap } = await renderEnvironment('staging')
  t.equal(ConfigMap.data?.['OTEL_EXPORTER_OTLP_ENDPOINT'], 'http://opentelemetry-collector.monitoring:4318')
  t.strictSame(NetworkPolicy?.spec?.egress?.at(-1), {
    ports: [{ port: 4318 }],
    to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
  })
})

t.test('test and migration pods have their own NetworkPolicies', async (t) => {
  const rendered = await render({}, [join(CHART, 'ci', 'database-values.yaml')])
  const test = rendered.other<V1NetworkPolicy>('NetworkPolicy', '-test')
  t.strictSame(test?.spec?.podSelector?.matchLabels, rendered.Pod.metadata?.labels)
  t.match(test?.spec?.egress?.at(-1), {
    ports: [{ port: 'http' }, { port: 80 }],
    to: [{ podSelector: rendered.Deployment.spec?.selector }],
  })
  const migration = rendered.other<V1NetworkPolicy>('NetworkPolicy', '-migration')
  t.strictSame(migration?.spec?.podSelector?.matchLabels, rendered.Job?.spec?.template.metadata?.labels)
  t.match(migration?.spec?.egress?.at(-1), { ports: [{ port: 5432 }] })
  const hook = (object: { metadata?: { annotations?: Record<string, string> } } | undefined, name: string) =>
    object?.metadata?.annotations?.[`helm.sh/${name}`]
  t.equal(hook(migration, 'hook'), hook(rendered.Job, 'hook'), 'the policy is created before the migration')
  t.ok(Number(hook(migration, 'hook-weight')) < Number(hook(rendered.Job, 'hook-weight')))
  t.match(
    hook(migration, 'hook-delete-policy'),
    'before-hook-creation',
    'the policy is replaced in each deployment',
  )
  for (const policy of [test, migration]) {
    t.strictSame(policy?.spec?.policyTypes, ['Ingress', 'Egress'])
    t.equal(policy?.spec?.ingress, undefined)
  }
  const withoutDatabase = await render({ networkPolicy: { enabled: true } })
  t.equal(withoutDatabase.other('NetworkPolicy', '-migration'), undefined)
})

t.test('the HPA uses each metric that has a target', async (t) => {
  const files = [join(CHART, 'ci', 'custom-metrics-values.yaml')]
  const { HorizontalPodAutoscaler } = await render({}, files)
  t.strictSame(HorizontalPodAutoscaler?.spec?.metrics, [
    {
      type: 'Pods',
      pods: {
        metric: { name: 'nodejs_eventloop_utilization' },
        target: { type: 'AverageValue', averageValue: '700m' },
      },
    },
    {
      type: 'Pods',
      pods: {
        metric: { name: 'http_requests_per_second' },
        target: { type: 'AverageValue', averageValue: '100' },
      },
    },
  ])
  const withCpu = await render({ autoscaling: { targetCPUUtilizationPercentage: 60 } }, files)
  t.strictSame(
    withCpu.HorizontalPodAutoscaler?.spec?.metrics?.map(({ type }) => type),
    ['Resource', 'Pods', 'Pods'],
  )
})

t.test('load routes are enabled only in the local environment, and set explicitly everywhere', async (t) => {
  t.equal((await render()).ConfigMap.data?.['LOAD_ENDPOINTS_ENABLED'], 'false')
  const switches = await Promise.all(
    ENVIRONMENTS.map(
      async (name) => (await renderEnvironment(name)).ConfigMap.data?.['LOAD_ENDPOINTS_ENABLED'],
    ),
  )
  t.strictSame(switches, ['true', 'false', 'false', 'false'])
})

t.test('on AWS all pods, including test and migration, run on arm64 nodes', async (t) => {
  for (const environment of ENVIRONMENTS) {
    const rendered = await renderEnvironment(environment)
    const expected = environment === 'local' ? undefined : { 'kubernetes.io/arch': 'arm64' }
    t.strictSame(podSpec(rendered).nodeSelector, expected, environment)
    t.strictSame(rendered.Pod.spec?.nodeSelector, expected, `test in ${environment}`)
  }
  const nodeSelector = { 'kubernetes.io/arch': 'arm64' }
  t.strictSame(
    (await render({ ...CONNECTED, nodeSelector })).Job?.spec?.template.spec?.nodeSelector,
    nodeSelector,
  )
})

t.test('service, test and migration meet the restricted Pod Security Standard', async (t) => {
  const rendered = await render(CONNECTED)
  for (const spec of [podSpec(rendered), rendered.Pod.spec, rendered.Job?.spec?.template.spec]) {
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

t.test('each probe uses its route', async (t) => {
  const { startupProbe, livenessProbe, readinessProbe } = container(podSpec(await render()))
  const paths = [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet?.path)
  t.strictSame(paths, ['/healthz', '/healthz', '/readyz'])
})

t.test('pods spread over zones and nodes where possible', async (t) => {
  const { Deployment } = await render()
  const constraints = podSpec({ Deployment }).topologySpreadConstraints ?? []
  t.strictSame(
    constraints.map(({ topologyKey }) => topologyKey),
    ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'],
  )
  for (const { whenUnsatisfiable, labelSelector } of constraints) {
    t.equal(whenUnsatisfiable, 'ScheduleAnyway')
    t.strictSame(labelSelector, Deployment.spec?.selector)
  }
})

t.test('a rollout adds new pods before it removes old ones', async (t) => {
  const { Deployment } = await render()
  t.match(Deployment.spec?.strategy, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0 } })
})

t.test('an image is referenced by tag, digest or both', async (t) => {
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

t.test('a tag that is not a valid label value is shortened', async (t) => {
  const { Deployment } = await render({ image: { ...IMAGE, tag: `_${'a'.repeat(61)}-b` } })
  t.equal(Deployment.metadata?.labels?.['app.kubernetes.io/version'], 'a'.repeat(61))
})

t.test('several replicas without a database are refused unless task loss is accepted', async (t) => {
  const refused = async (overrides: Record<string, unknown>, file?: string) =>
    renderChart(programs, CHART, {
      files: file === undefined ? [] : [join(CHART, file)],
      overrides: { image: IMAGE, ...overrides },
    }).then(
      () => false,
      ({ message }: ActionableError) => {
        t.match(
          message,
          /there is no database, so each of up to \d+ pods .* set database.acceptTaskLoss to true/,
        )
        return true
      },
    )
  const single = { autoscaling: { enabled: false }, podDisruptionBudget: { enabled: false } }
  for (const overrides of [
    {},
    { autoscaling: { minReplicas: 1 }, podDisruptionBudget: { enabled: false } },
    { ...single, replicaCount: 2 },
    { secret: { name: 'connections', keys: ['REDIS_URL'] } },
  ]) {
    t.equal(await refused(overrides), true, JSON.stringify(overrides))
  }
  for (const overrides of [
    CONNECTED,
    { externalSecret: { enabled: true, key: 'x' } },
    { database: { acceptTaskLoss: true } },
    { ...single, replicaCount: 1 },
    { autoscaling: { minReplicas: 1, maxReplicas: 1 }, podDisruptionBudget: { enabled: false } },
  ]) {
    t.equal(await refused(overrides), false, JSON.stringify(overrides))
  }
  const environments = ENVIRONMENTS.map((name) => refused({}, `values-${name}.yaml`))
  t.strictSame(await Promise.all(environments), [false, false, false, true], 'production needs a database')
})

t.test('an Ingress without a certificate is refused unless plain HTTP is accepted', async (t) => {
  const refused = (ingress: object, file?: string) =>
    renderChart(programs, CHART, {
      files: file === undefined ? [] : [join(CHART, file)],
      overrides: { image: IMAGE, ...CONNECTED, networkPolicy: { enabled: false }, ingress },
    }).then(
      () => false,
      ({ message }: ActionableError) => {
        t.match(message, /ingress.certificateArn is empty.* set ingress.acceptPlainHttp to true/)
        return true
      },
    )
  t.equal(await refused({ enabled: true }), true)
  t.equal(await refused({ enabled: true, scheme: 'internal' }), true)
  t.equal(await refused({ enabled: true, acceptPlainHttp: true }), false)
  t.equal(await refused(EDGE), false)
  const environments = ENVIRONMENTS.map((name) => refused({}, `values-${name}.yaml`))
  t.strictSame(await Promise.all(environments), [false, false, false, true], 'production needs HTTPS')
})

t.test('browsers that were here once use only HTTPS', async (t) => {
  const name = 'listener-attributes.HTTPS-443'
  const header = async (ingress: object) => albAnnotations((await render({ ingress })).Ingress)[name]
  t.equal(await header(EDGE), 'routing.http.response.strict_transport_security.header_value=max-age=31536000')
  t.match(await header({ ...EDGE, hstsMaxAgeSeconds: 63_072_000 }), /max-age=63072000$/)
  t.equal(await header({ ...EDGE, hstsMaxAgeSeconds: 0 }), undefined)
  t.equal(await header({ enabled: true }), undefined, 'without HTTPS it would lock them out')
})

t.test('behind CloudFront, nobody else can connect, and the service trusts both proxies', async (t) => {
  const { Ingress, ConfigMap } = await render({}, [join(CHART, 'ci', 'cloudfront-values.yaml')])
  const annotations = albAnnotations(Ingress)
  t.match(annotations, {
    scheme: 'internal',
    'security-group-prefix-lists': 'pl-0123456789abcdef0',
    'listen-ports': '[{"HTTPS":443}]',
  })
  for (const absent of ['ssl-redirect', 'inbound-cidrs']) t.notHas(annotations, absent)
  t.equal(ConfigMap.data?.['TRUSTED_PROXY_HOPS'], '2')
})

t.test('contradictory values are refused with the reason', async (t) => {
  const PUBLIC_LOAD = { ingress: { enabled: true }, config: { loadEndpointsEnabled: true } }
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
    [{ autoscaling: { targetCPUUtilizationPercentage: 0 } }, 'autoscaling has no target'],
    [{ autoscaling: { targetRequestsPerSecond: 50 } }, 'need metrics, but serviceMonitor.enabled is false'],
    [
      { autoscaling: { targetEventLoopUtilizationPercentage: 70 } },
      'need metrics, but serviceMonitor.enabled is false',
    ],
    [
      { prometheusRule: { enabled: true } },
      'prometheusRule.enabled needs metrics, but serviceMonitor.enabled is false',
    ],
    [
      { ingress: { enabled: true }, shutdown: { drainDelaySeconds: 9 } },
      'shutdown.drainDelaySeconds (9) is too short for a load balancer',
    ],
    [
      { ingress: { enabled: true, accessLogs: { prefix: 'x' } } },
      'ingress.accessLogs.prefix needs ingress.accessLogs.bucket',
    ],
    [
      { httpRoute: { enabled: true, parentRefs: [{ name: 'x' }] }, shutdown: { drainDelaySeconds: 9 } },
      'shutdown.drainDelaySeconds (9) is too short for a load balancer',
    ],
    [PUBLIC_LOAD, 'the Ingress is open to the internet: set ingress.inboundCidrs'],
    [
      { ...PUBLIC_LOAD, ingress: { enabled: true, inboundCidrs: ['203.0.113.0/24', '0.0.0.0/0'] } },
      'ingress.inboundCidrs contains 0.0.0.0/0',
    ],
    [
      { ...PUBLIC_LOAD, ingress: { enabled: true, inboundCidrs: ['0.0.0.0/1', '128.0.0.0/1'] } },
      'ingress.inboundCidrs contains 0.0.0.0/1',
    ],
    [
      { ...PUBLIC_LOAD, ingress: { ...EDGE, cloudFrontPrefixList: 'pl-01234567', scheme: 'internal' } },
      'everyone can reach the Ingress through CloudFront',
    ],
    [
      { ingress: { enabled: true, cloudFrontPrefixList: 'pl-01234567' } },
      'ingress.cloudFrontPrefixList needs ingress.certificateArn and ingress.host',
    ],
    [
      { ingress: { ...EDGE, cloudFrontPrefixList: 'pl-01234567', inboundCidrs: ['203.0.113.0/24'] } },
      'ingress.cloudFrontPrefixList lets only CloudFront connect',
    ],
    [
      { config: { loadEndpointsEnabled: true, loadMaxMilliseconds: 30_000 } },
      'config.loadMaxMilliseconds (30000) is longer than shutdown.timeoutSeconds (20)',
    ],
    [{ httpRoute: { enabled: true } }, 'httpRoute.parentRefs is empty'],
    [{ ca: { configMap: 'authorities' } }, 'ca.configMap (authorities) has no effect'],
    [{ ca: { databaseKey: 'rds.pem' } }, 'ca.databaseKey and ca.redisKey are keys of ca.configMap'],
    [{ podLabels: { 'app.kubernetes.io/name': 'other' } }, 'podLabels must not set app.kubernetes.io/name'],
    [{ extraEnv: [{ name: 'LOG_LEVEL', value: 'x' }] }, 'extraEnv must not set LOG_LEVEL'],
    [{ extraEnv: [{ name: 'DATABASE_URL', value: 'x' }] }, 'extraEnv must not set DATABASE_URL'],
    [{ externalSecret: { enabled: true } }, 'externalSecret.key is empty'],
    [
      { externalSecret: { enabled: true, key: 'x', migration: { adminKey: 'x' } } },
      'externalSecret.migration.adminKey needs externalSecret.migration.key',
    ],
    [{ externalSecret: { migration: { key: 'x' } } }, 'externalSecret.migration has no effect'],
    [
      { ...CONNECTED, externalSecret: { enabled: true, key: 'x' } },
      'secret.name (connections) names an existing Secret, but externalSecret.enabled creates another one',
    ],
    [{ ...CONNECTED, networkPolicy: { enabled: true } }, 'could not reach the server in DATABASE_URL'],
    [
      { secret: { name: 'x', keys: ['REDIS_URL'] }, networkPolicy: { enabled: true } },
      'networkPolicy.egress.cache.cidrs is empty',
    ],
    [
      { tracing: { endpoint: 'http://collector:4318' }, networkPolicy: { enabled: true } },
      'networkPolicy.egress.tracing.cidrs is empty',
    ],
  ] as const) {
    t.match(await refusal(overrides), reason)
  }
})

t.test('unknown and invalid values are refused by name', async (t) => {
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
    [{ secret: { keys: ['DATABASE_URI'] } }, "at '/secret/keys/0': value must be one of 'DATABASE_URL'"],
    [{ networkPolicy: { clientCidrs: ['10.0.0.0'] } }, "at '/networkPolicy/clientCidrs/0'"],
    [{ ingress: { certificateArn: 'certificate' } }, "at '/ingress/certificateArn'"],
    [{ ingress: { annotations: { a: 1 } } }, "at '/ingress/annotations/a': got number, want string"],
    [{ extraEnv: [{ value: 'x' }] }, "at '/extraEnv/0': missing property 'name'"],
    [{ extraVolumeMounts: [{ name: 'x', mountPath: 'x' }] }, "at '/extraVolumeMounts/0/mountPath'"],
    [{ prometheusRule: { availabilityPercent: 100 } }, "at '/prometheusRule/availabilityPercent'"],
    [{ prometheusRule: { p95Milliseconds: 250 } }, "at '/prometheusRule/p95Milliseconds'"],
  ] as const) {
    t.match(await refusal(overrides), reason)
  }
})

t.test('the helm test passes only if the service is ready and answers', async (t) => {
  const { command, args } = container((await render()).Pod.spec)
  const run = (url: string) => {
    const script = args?.map((arg) => arg.replace('http://fastify-app:80', url)) ?? []
    return execa({ reject: false, all: true })`${[...(command ?? []), ...script]}`
  }

  const statuses: Record<string, number> = { '/readyz': 200, '/': 200 }
  const service = createServer(({ url = '' }, response) => response.writeHead(statuses[url] ?? 404).end())
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
  t.match(await run(url), { exitCode: 0, all: '/readyz answered 200\n/ answered 200' })
  statuses['/readyz'] = 503
  t.match(await run(url), { exitCode: 1, all: '/readyz answered 503' })
  statuses['/readyz'] = 200
  statuses['/'] = 500
  t.match(await run(url), { exitCode: 1, all: '/ answered 500' })
  await new Promise((resolve) => service.close(resolve))
  t.match(await run(url), { exitCode: 1, all: '/readyz did not answer: Error: connect ECONNREFUSED' })
})

function notes(overrides: Record<string, unknown>): Promise<string> {
  return runTool(
    programs,
    'helm',
    [
      ...['install', 'fastify-app', CHART, '--namespace', 'apps', '--dry-run=client'],
      ...['--values', ACCEPT_RISKS, '--values', '-'],
    ],
    JSON.stringify({ image: IMAGE, ...overrides }),
    'the notes',
  )
}

t.test('the notes explain how to reach the service', async (t) => {
  t.match(await notes({}), /2 to 10 replicas[\s\S]*port-forward service\/fastify-app 3000:80/)
  t.match(await notes({ autoscaling: { enabled: false } }), 'with 2 replicas.')
  t.match(await notes({ service: { type: 'NodePort' } }), '--namespace apps get service fastify-app')
  t.match(await notes({ service: { type: 'NodePort', nodePort: 30080 } }), 'port 30080 of every node')
  t.match(await notes({ ingress: { enabled: true } }), '--namespace apps get ingress fastify-app')
  const route = { enabled: true, parentRefs: [{ name: 'public' }] }
  t.match(await notes({ httpRoute: route }), '--namespace apps get httproute fastify-app')
  t.notMatch(await notes({ httpRoute: route }), 'port-forward')
})

t.test(
  'the notes warn of task loss, public plain HTTP and load routes behind a load balancer, on one line each',
  async (t) => {
    const warnings = async (overrides: Record<string, unknown>) =>
      (await notes(overrides)).split('\n').filter((line) => line.startsWith('WARNING: '))
    const load = { config: { loadEndpointsEnabled: true } }
    t.match(await warnings({}), [/there is no database: each pod keeps its tasks in its own memory/])
    t.match(await warnings({ secret: { name: 'x', keys: ['REDIS_URL'] } }), [/there is no database/])
    t.strictSame(await warnings(CONNECTED), [])
    t.strictSame(await warnings({ ...CONNECTED, ...load }), [])
    const internal = { enabled: true, scheme: 'internal' }
    t.match(await warnings({ ...CONNECTED, ...load, ingress: internal }), [/burn the CPU of the pods/])
    t.match(await warnings({ ...CONNECTED, ingress: { enabled: true } }), [
      /the load balancer serves plain HTTP/,
    ])
    t.strictSame(await warnings({ ...CONNECTED, ingress: EDGE }), [])
  },
)

t.test('the deploy role may create every kind in the chart', async (t) => {
  const baseline = join(
    REPOSITORY_ROOT,
    'infrastructure-hcl',
    'platform',
    'releases',
    'charts',
    'cluster-baseline',
  )
  const role = await renderChart(programs, baseline, { files: [], overrides: { deployGroup: 'deployers' } })
  const { rules } = parseAllDocuments(role)
    .map((document) => document.toJS())
    .find(({ kind }) => kind === 'Role') as V1Role
  const allowed = rules?.flatMap(({ apiGroups = [], resources = [], verbs }) =>
    verbs.includes('create') ? resources.map((resource) => `${apiGroups[0]}/${resource}`) : [],
  )
  const manifests = ['database', 'https', 'customized'].map((name) =>
    renderChart(programs, CHART, { files: [join(CHART, 'ci', `${name}-values.yaml`)], overrides: {} }),
  )
  const objects = (await Promise.all(manifests))
    .flatMap((stream) => [...parseAllDocuments(stream)])
    .map((document) => document.toJS() as { apiVersion: string; kind: string })
  const kinds = objects.map(({ apiVersion, kind }) => {
    const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : ''
    return `${group}/${plural(kind.toLowerCase())}`
  })
  t.strictSame(
    kinds.filter((kind) => allowed?.includes(kind) !== true),
    [],
  )
})

function plural(kind: string): string {
  return kind.endsWith('y') ? kind.replace(/y$/, 'ies') : kind.endsWith('s') ? `${kind}es` : `${kind}s`
}

t.test('HELM and KUBECONFORM replace the pinned programs', async (t) => {
  const env = { BOX_CACHE_DIR: '/cache' }
  t.match(readChartPrograms(env), {
    helm: /^\/cache\/tools\/helm-\w+\/helm$/,
    kubeconform: /^\/cache\/tools\/kubeconform-\w+\/kubeconform$/,
  })
  const named: ChartPrograms = { helm: '/opt/helm', kubeconform: '/opt/kubeconform' }
  t.strictSame(readChartPrograms({ ...env, HELM: named.helm, KUBECONFORM: named.kubeconform }), named)
})

t.test('a missing helm is reported with the next step', async (t) => {
  await t.rejects(
    renderChart({ ...programs, helm: '/nowhere/helm' }, CHART, { files: [], overrides: {} }),
    new ActionableError(
      'helm is not built: /nowhere/helm does not exist',
      'build it with `make tools TOOL=helm`, or set HELM to its path',
    ),
  )
})

t.test('CA certificates for PostgreSQL and Redis come from a ConfigMap, also in the migration', async (t) => {
  const { Deployment, Job } = await render({
    ...CONNECTED,
    ca: { configMap: 'authorities', databaseKey: 'rds.pem', redisKey: 'redis.pem' },
  })
  for (const pod of [Deployment.spec?.template.spec, Job?.spec?.template.spec]) {
    t.match(pod?.volumes, [{ configMap: { name: 'authorities' } }])
    const [container] = pod?.containers ?? []
    t.match(container?.volumeMounts, [
      { name: pod?.volumes?.[0]?.name, mountPath: '/etc/fastify-app/ca', readOnly: true },
    ])
    const variables = Object.fromEntries((container?.env ?? []).map(({ name, value }) => [name, value]))
    t.match(variables, {
      DATABASE_CA_FILE: '/etc/fastify-app/ca/rds.pem',
      REDIS_CA_FILE: '/etc/fastify-app/ca/redis.pem',
    })
  }
  const without = await render(CONNECTED)
  t.equal(without.Deployment.spec?.template.spec?.volumes, undefined)
  t.equal(without.Job?.spec?.template.spec?.volumes, undefined)
})
