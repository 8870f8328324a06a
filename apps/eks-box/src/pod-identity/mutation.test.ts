import t from 'tap'
import { AWS_ENDPOINT } from '../cluster.ts'
import { type Container, mutate, type Pod, type ServiceAccount } from './mutation.ts'

const role = 'arn:aws:iam::123456789012:role/controller'
const annotated = (annotations: Record<string, string> = {}): ServiceAccount => ({
  annotations: { 'eks.amazonaws.com/role-arn': role, ...annotations },
  isAssociated: false,
})
const associated = (annotations: Record<string, string> = {}): ServiceAccount => ({
  annotations,
  isAssociated: true,
})
const pod = (changed: Partial<Pod['spec']> = {}, annotations: Record<string, string> = {}): Pod => ({
  metadata: { annotations },
  spec: { containers: [{ name: 'app' }], ...changed },
})
/** Applies a patch. */
function after(before: Pod, account: ServiceAccount) {
  const spec = structuredClone(before.spec)
  for (const { path, value } of mutate(before, account)) {
    Object.assign(spec, { [path.replace('/spec/', '')]: value })
  }
  return spec
}
const variablesOf = (container: Container | undefined) =>
  Object.fromEntries((container?.env ?? []).map(({ name, value }) => [name, value]))
const tokenOf = (spec: Pod['spec']) => spec.volumes?.[0]?.projected?.sources[0]?.serviceAccountToken

const common = {
  AWS_DEFAULT_REGION: 'eu-central-1',
  AWS_REGION: 'eu-central-1',
  AWS_STS_REGIONAL_ENDPOINTS: 'regional',
  AWS_ENDPOINT_URL: AWS_ENDPOINT,
  AWS_ENDPOINT_URL_STS: AWS_ENDPOINT,
}

t.test('a pod whose service account has neither annotation nor association stays as it is', async (t) => {
  t.strictSame(mutate(pod(), { annotations: {}, isAssociated: false }), [])
  t.strictSame(mutate(pod(), annotated({ 'eks.amazonaws.com/role-arn': '' })), [])
})

t.test('an annotated service account gives a token for STS', async (t) => {
  const spec = after(pod(), annotated())
  t.strictSame(variablesOf(spec.containers[0]), {
    ...common,
    AWS_ROLE_ARN: role,
    AWS_WEB_IDENTITY_TOKEN_FILE: '/var/run/secrets/eks.amazonaws.com/serviceaccount/token',
  })
  t.strictSame(spec.containers[0]?.volumeMounts, [
    { name: 'aws-iam-token', mountPath: '/var/run/secrets/eks.amazonaws.com/serviceaccount', readOnly: true },
  ])
  t.equal(spec.volumes?.[0]?.name, 'aws-iam-token')
  t.strictSame(tokenOf(spec), { audience: 'sts.amazonaws.com', expirationSeconds: 86_400, path: 'token' })
})

t.test('an association gives a token for the agent, even with an annotation', async (t) => {
  const spec = after(pod(), { ...annotated(), isAssociated: true })
  const mountPath = '/var/run/secrets/pods.eks.amazonaws.com/serviceaccount'
  t.strictSame(variablesOf(spec.containers[0]), {
    ...common,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.170.23/v1/credentials',
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: `${mountPath}/eks-pod-identity-token`,
  })
  t.strictSame(spec.containers[0]?.volumeMounts, [
    { name: 'eks-pod-identity-token', mountPath, readOnly: true },
  ])
  t.strictSame(tokenOf(spec), {
    audience: 'pods.eks.amazonaws.com',
    expirationSeconds: 86_400,
    path: 'eks-pod-identity-token',
  })
})

t.test('annotations change the audience, the expiration and the endpoint of STS', async (t) => {
  const audience = annotated({ 'eks.amazonaws.com/audience': 'other' })
  t.equal(tokenOf(after(pod(), audience))?.audience, 'other')
  t.equal(
    tokenOf(after(pod(), associated({ 'eks.amazonaws.com/audience': 'other' })))?.audience,
    'pods.eks.amazonaws.com',
    'only for STS',
  )
  const expiration = (account?: string, ofPod?: string) => {
    const annotation = (value?: string) =>
      value === undefined ? {} : { 'eks.amazonaws.com/token-expiration': value }
    return tokenOf(after(pod({}, annotation(ofPod)), annotated(annotation(account))))?.expirationSeconds
  }
  t.equal(expiration('3600'), 3600)
  t.equal(expiration('3600', '7200'), 7200, "the pod's outranks the service account's")
  t.equal(expiration('3600', 'soon'), 3600, 'not a number')
  t.equal(expiration('60'), 600, 'the least that Kubernetes issues')
  for (const account of [annotated, associated]) {
    const regional = (value: string) =>
      variablesOf(after(pod(), account({ 'eks.amazonaws.com/sts-regional-endpoints': value })).containers[0])[
        'AWS_STS_REGIONAL_ENDPOINTS'
      ]
    t.equal(regional('false'), undefined)
    t.equal(regional('true'), 'regional')
  }
})

t.test('init containers are changed as well, and skipped containers are not', async (t) => {
  const names = ['first', 'second'].map((name) => ({ name }))
  const before = pod(
    { initContainers: names, containers: [{ name: 'app' }, { name: 'sidecar' }] },
    { 'eks.amazonaws.com/skip-containers': 'first, sidecar' },
  )
  const spec = after(before, annotated())
  const changed = [...(spec.initContainers ?? []), ...spec.containers]
    .filter(({ env }) => env !== undefined)
    .map(({ name }) => name)
  t.strictSame(changed, ['second', 'app'])
})

t.test('what a container already has is kept', async (t) => {
  const own = [
    { name: 'AWS_REGION', value: 'us-east-1' },
    { name: 'AWS_ROLE_ARN', value: 'own' },
    { name: 'AWS_STS_REGIONAL_ENDPOINTS', value: 'legacy' },
    { name: 'AWS_ENDPOINT_URL', value: 'http://own' },
    { name: 'OTHER' },
  ]
  t.strictSame(after(pod({ containers: [{ name: 'app', env: own }] }), annotated()).containers[0]?.env, own)
  const uri = [{ name: 'AWS_CONTAINER_CREDENTIALS_FULL_URI', value: 'http://own' }]
  const { env = [] } =
    after(pod({ containers: [{ name: 'app', env: uri }] }), associated()).containers[0] ?? {}
  t.notOk(env.some(({ name }) => name === 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'))
  const mounted = pod({
    containers: [{ name: 'app', volumeMounts: [{ name: 'aws-iam-token', mountPath: '/own' }] }],
    volumes: [{ name: 'aws-iam-token' }, { name: 'data' }],
  })
  const spec = after(mounted, annotated())
  t.strictSame(spec.containers[0]?.volumeMounts, mounted.spec.containers[0]?.volumeMounts)
  t.strictSame(spec.volumes, mounted.spec.volumes)
})

t.test('a second call changes nothing', async (t) => {
  for (const account of [annotated(), associated()]) {
    const spec = after(pod({ volumes: [{ name: 'data' }] }), account)
    t.equal(spec.volumes?.length, 2)
    t.strictSame(after({ spec }, account), spec)
  }
})
