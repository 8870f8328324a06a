import t, { type Test } from 'tap'
import { presignedToken } from '../aws/testing.ts'
import type { PolicyRule } from './authorizer.ts'
import { name, policy, role, signerOf, startCluster, verifyToken } from './testing.ts'
import { buildWebhooks, type WebhookOptions } from './webhooks.ts'

const entries = `/clusters/${name}/access-entries`
/** A new token of the owner of an access key. */
const token = (accessKeyId: string, cluster = name) => presignedToken(signerOf(accessKeyId), cluster)

const view: PolicyRule[] = [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }]

/** A cluster and its webhooks. The role `deploy` has an access entry with groups and may view the namespace apps. */
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
    changes: () => '1',
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

t.test('a session of a role gets the user name and groups of the role’s access entry', async (t) => {
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

t.test('an IAM user gets the user name of its access entry', async (t) => {
  const { authenticate } = await start(t)
  t.match(await authenticate(await token('AKIAOPERATOR')), {
    authenticated: true,
    user: { username: 'arn:aws:iam::123456789012:user/operator', groups: [] },
  })
})

t.test('the template of a user name is filled in', async (t) => {
  const { api, authenticate } = await start(t)
  await api.post(`${entries}/${encodeURIComponent(role('ci/deploy'))}`, {
    username: '{{AccountID}}:{{SessionNameRaw}}',
  })
  t.equal((await authenticate(await token('ASIADEPLOY'))).user.username, '123456789012:ci@main')
})

t.test('a session of a node role gets the user name and groups of a node', async (t) => {
  const { api, authenticate } = await start(t)
  const deploy = `${entries}/${encodeURIComponent(role('ci/deploy'))}`
  await api.delete(deploy)
  await api.post(entries, { principalArn: role('deploy'), type: 'EC2_LINUX' })
  t.match((await authenticate(await token('ASIADEPLOY'))).user, {
    username: 'system:node:ci@main',
    groups: ['system:bootstrappers', 'system:nodes'],
  })
})

t.test('any other token is refused, and the reason is logged', async (t) => {
  const { api, authenticate } = await start(t)
  const logged = t.capture(console, 'error')
  const refusal = async (token: string) => {
    const { authenticated, error } = await authenticate(token)
    t.equal(authenticated, false)
    return error
  }
  t.equal(await refusal('eyJhbGciOiJSUzI1NiJ9'), undefined, 'not a token of EKS')
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
  t.match(await refusal(await presignedToken(old, name)), /Signature expired/, 'an expired token')
  const recent = { ...signerOf('AKIAOPERATOR'), signingDate: new Date(Date.now() - 14 * 60_000) }
  t.match(await authenticate(await presignedToken(recent, name)), { authenticated: true })
  await api.delete(`${entries}/${encodeURIComponent(role('ci/deploy'))}`)
  t.equal(await refusal(await token('ASIADEPLOY')), `${role('deploy')} has no access entry`)
  await api.delete(`/clusters/${name}`)
  t.equal(await refusal(await token('AKIAOPERATOR')), 'the cluster does not exist or is not active')
  t.match(logged().at(-1), { args: ['token refused: the cluster does not exist or is not active'] })
})

t.test('a token is refused when STS is unavailable', async (t) => {
  t.capture(console, 'error')
  const { authenticate } = await start(t, {
    verify: async () => {
      throw new Error('STS responded with 500')
    },
  })
  t.strictSame(await authenticate(await token('AKIAOPERATOR')), {
    authenticated: false,
    error: 'STS responded with 500',
  })
})

t.test('an access policy allows what it covers, and has no opinion on other requests', async (t) => {
  const { authorize } = await start(t)
  const pods = { namespace: 'apps', verb: 'get', group: '', version: 'v1', resource: 'pods', name: 'one' }
  const review = (resourceAttributes: object, extra: object = { canonicalarn: [role('ci/deploy')] }) =>
    authorize({ user: 'someone', groups: ['deployers'], uid: '1', extra, resourceAttributes })
  t.strictSame(await review(pods), {
    allowed: true,
    reason: `EKS Access Policy: allowed by ${policy('AmazonEKSViewPolicy')}`,
  })
  t.equal((await review(pods, { canonicalArn: [role('ci/deploy')] })).allowed, true)
  const noOpinion = { allowed: false }
  t.strictSame(await review({ ...pods, namespace: 'kube-system' }), noOpinion)
  t.strictSame(await review({ ...pods, verb: 'delete' }), noOpinion)
  t.strictSame(await review(pods, {}), noOpinion, 'a user of another kind')
  t.strictSame(await review(pods, { canonicalarn: [role('other')] }), noOpinion)
  t.strictSame(await authorize({ user: 'someone' }), noOpinion)
})

t.test('a change of an access policy takes effect immediately', async (t) => {
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

t.test('access is not allowed when the rules cannot be read', async (t) => {
  t.capture(console, 'error')
  const { authorize } = await start(t, {
    clusterRoleRules: async () => {
      throw new Error('the API server is unavailable')
    },
  })
  t.strictSame(
    await authorize({
      extra: { canonicalarn: [role('ci/deploy')] },
      resourceAttributes: { namespace: 'apps', verb: 'get', group: '', resource: 'pods' },
    }),
    { allowed: false, evaluationError: 'the API server is unavailable' },
  )
})

t.test('/healthz responds with 200', async (t) => {
  const { app } = await start(t)
  t.equal((await app.inject('/healthz')).statusCode, 200)
})
