import t, { type Test } from 'tap'
import { presignedToken } from '../aws/testing.ts'
import type { PolicyRule } from './authorizer.ts'
import { name, policy, role, signerOf, startCluster, verifyToken } from './testing.ts'
import { buildWebhooks, type WebhookOptions } from './webhooks.ts'

const entries = `/clusters/${name}/access-entries`
/** A token that the owner of an access key asked for just now. */
const token = (accessKeyId: string, cluster = name) => presignedToken(signerOf(accessKeyId), cluster)

const view: PolicyRule[] = [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }]

/** A cluster and its webhooks; `deploy` has an entry with groups and may view the namespace apps. */
async function start(t: Test, changed: Partial<WebhookOptions> = {}) {
  const api = await startCluster(t)
  await api.post(entries, { principalArn: role('ci/deploy'), kubernetesGroups: ['deployers'] })
  await api.post(`${entries}/${encodeURIComponent(role('ci/deploy'))}/access-policies`, {
    policyArn: policy('AmazonEKSViewPolicy'),
    accessScope: { type: 'namespace', namespaces: ['apps'] },
  })
  const app = await buildWebhooks(api.store, {
    stsHosts: ['sts.eu-central-1.amazonaws.com'],
    cluster: name,
    verify: verifyToken,
    clusterRoleRules: async () => view,
    ...changed,
  })
  t.teardown(() => app.close())
  const post = async (url: string, spec: object) => {
    const response = await app.inject({ method: 'POST', url, payload: { spec } })
    t.equal(response.statusCode, 200)
    return response.json().status
  }
  return {
    api,
    app,
    authenticate: (token: string) => post('/authenticate', { token }),
    authorize: (spec: object) => post('/authorize', spec),
  }
}

t.test('a session of a role is the user and groups of the role’s access entry', async (t) => {
  const { authenticate } = await start(t)
  t.strictSame(await authenticate(await token('ASIADEPLOY')), {
    authenticated: true,
    user: {
      username: 'arn:aws:sts::123456789012:assumed-role/deploy/ci-main',
      uid: 'aws-iam-authenticator:123456789012:AROADEPLOY:ci@main',
      groups: ['deployers'],
      extra: {
        accesskeyid: ['ASIADEPLOY'],
        arn: ['arn:aws:sts::123456789012:assumed-role/deploy/ci@main'],
        canonicalarn: [role('ci/deploy')],
        principalid: ['AROADEPLOY:ci@main'],
        sessionname: ['ci@main'],
      },
    },
  })
})

t.test('a user is the user of its access entry', async (t) => {
  const { authenticate } = await start(t)
  t.match(await authenticate(await token('AKIAOPERATOR')), {
    authenticated: true,
    user: { username: 'arn:aws:iam::123456789012:user/operator', groups: [] },
  })
})

t.test('an entry’s own username is filled in', async (t) => {
  const { api, authenticate } = await start(t)
  await api.post(`${entries}/${encodeURIComponent(role('ci/deploy'))}`, {
    username: '{{AccountID}}:{{SessionNameRaw}}',
  })
  t.equal((await authenticate(await token('ASIADEPLOY'))).user.username, '123456789012:ci@main')
})

t.test('a node’s role is a node', async (t) => {
  const { api, authenticate } = await start(t)
  const deploy = `${entries}/${encodeURIComponent(role('ci/deploy'))}`
  await api.delete(deploy)
  await api.post(entries, { principalArn: role('deploy'), type: 'EC2_LINUX' })
  t.match((await authenticate(await token('ASIADEPLOY'))).user, {
    username: 'system:node:ci@main',
    groups: ['system:bootstrappers', 'system:nodes'],
  })
})

t.test('nobody else gets in, and the log says why', async (t) => {
  const { api, authenticate } = await start(t)
  const logged = t.capture(console, 'error')
  const refusal = async (token: string) => {
    const { authenticated, error } = await authenticate(token)
    t.equal(authenticated, false)
    return error
  }
  t.equal(await refusal('eyJhbGciOiJSUzI1NiJ9'), undefined, 'no token of ours is none of our business')
  t.match(await refusal((await token('ASIADEPLOY')).slice(0, 60)), /./)
  t.equal(
    await refusal(await token('AKIASTRANGER')),
    'The security token included in the request is invalid.',
  )
  const mismatch = /signature we calculated does not match/
  t.match(
    await refusal(await token('AKIAOPERATOR', 'another-cluster')),
    mismatch,
    'a token for another cluster',
  )
  const guessed = { ...signerOf('AKIAOPERATOR'), secretAccessKey: 'guessed' }
  t.match(await refusal(await presignedToken(guessed, name)), mismatch, 'an access key id alone')
  const { sessionToken: _token, ...withoutSession } = signerOf('ASIADEPLOY')
  t.match(await refusal(await presignedToken(withoutSession, name)), /security token/)
  const old = { ...signerOf('AKIAOPERATOR'), signingDate: new Date(Date.now() - 16 * 60_000) }
  t.match(
    await refusal(await presignedToken(old, name)),
    /Signature expired/,
    'a token of a quarter of an hour ago',
  )
  const recent = { ...signerOf('AKIAOPERATOR'), signingDate: new Date(Date.now() - 14 * 60_000) }
  t.match(await authenticate(await presignedToken(recent, name)), { authenticated: true })
  await api.delete(`${entries}/${encodeURIComponent(role('ci/deploy'))}`)
  t.equal(await refusal(await token('ASIADEPLOY')), `${role('deploy')} has no access entry`)
  await api.delete(`/clusters/${name}`)
  t.equal(await refusal(await token('AKIAOPERATOR')), 'there is no cluster')
  t.match(logged().at(-1), { args: ['token refused: there is no cluster'] })
})

t.test('an STS that does not answer is a refusal, not a failure', async (t) => {
  t.capture(console, 'error')
  const { authenticate } = await start(t, {
    verify: async () => {
      throw new Error('STS answers 500')
    },
  })
  t.strictSame(await authenticate(await token('AKIAOPERATOR')), {
    authenticated: false,
    error: 'STS answers 500',
  })
})

t.test('an access policy allows what it covers; about all else it has no opinion', async (t) => {
  const { authorize } = await start(t)
  const pods = { namespace: 'apps', verb: 'get', group: '', version: 'v1', resource: 'pods', name: 'one' }
  const ask = (resourceAttributes: object, extra: object = { canonicalarn: [role('ci/deploy')] }) =>
    authorize({ user: 'someone', groups: ['deployers'], uid: '1', extra, resourceAttributes })
  t.strictSame(await ask(pods), {
    allowed: true,
    reason: `EKS Access Policy: allowed by ${policy('AmazonEKSViewPolicy')}`,
  })
  t.equal((await ask(pods, { canonicalArn: [role('ci/deploy')] })).allowed, true)
  const noOpinion = { allowed: false }
  t.strictSame(await ask({ ...pods, namespace: 'kube-system' }), noOpinion)
  t.strictSame(await ask({ ...pods, verb: 'delete' }), noOpinion)
  t.strictSame(await ask(pods, {}), noOpinion, 'a user of another kind')
  t.strictSame(await ask(pods, { canonicalarn: [role('other')] }), noOpinion)
  t.strictSame(await authorize({ user: 'someone' }), noOpinion)
})

t.test('a change of an access policy holds at once', async (t) => {
  const { api, authorize } = await start(t)
  const policies = `${entries}/${encodeURIComponent(role('ci/deploy'))}/access-policies`
  await api.delete(`${policies}/${encodeURIComponent(policy('AmazonEKSViewPolicy'))}`)
  t.strictSame(
    await authorize({
      extra: { canonicalarn: [role('ci/deploy')] },
      resourceAttributes: { namespace: 'apps', verb: 'get', group: '', resource: 'pods' },
    }),
    { allowed: false },
  )
})

t.test('rules that cannot be read allow nothing', async (t) => {
  t.capture(console, 'error')
  const { authorize } = await start(t, {
    clusterRoleRules: async () => {
      throw new Error('the API server is away')
    },
  })
  t.strictSame(
    await authorize({
      extra: { canonicalarn: [role('ci/deploy')] },
      resourceAttributes: { namespace: 'apps', verb: 'get', group: '', resource: 'pods' },
    }),
    { allowed: false, evaluationError: 'the API server is away' },
  )
})

t.test('it is healthy once it listens', async (t) => {
  const { app } = await start(t)
  t.equal((await app.inject('/healthz')).statusCode, 200)
})
