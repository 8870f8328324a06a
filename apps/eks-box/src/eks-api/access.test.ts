import t from 'tap'
import { name, policy, role, startCluster } from './testing.ts'

const entries = `/clusters/${name}/access-entries`
const entry = (principal: string) => `${entries}/${encodeURIComponent(principal)}`
const none = { authenticationMode: 'API', bootstrapClusterCreatorAdminPermissions: false }

t.test('roles and users get the default user names of EKS', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(entries, { principalArn: role('ci/deploy'), kubernetesGroups: ['deployers'] }), {
    status: 200,
    body: {
      accessEntry: {
        clusterName: name,
        principalArn: role('ci/deploy'),
        username: 'arn:aws:sts::123456789012:assumed-role/deploy/{{SessionName}}',
        kubernetesGroups: ['deployers'],
        type: 'STANDARD',
        accessEntryArn:
          /^arn:aws:eks:eu-central-1:123456789012:access-entry\/fastify-eks-cluster\/role\/123456789012\/[^/]+\/[0-9a-f-]{36}$/,
      },
    },
  })
  const user = 'arn:aws:iam::123456789012:user/jane'
  t.match(await api.post(entries, { principalArn: user }), { body: { accessEntry: { username: user } } })
  t.match((await api.get(entry(user))).body.accessEntry, { principalArn: user })
})

t.test('an entry for nodes gets the groups and user name of nodes', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(entries, { principalArn: role('node'), type: 'EC2_LINUX' }), {
    body: {
      accessEntry: { kubernetesGroups: ['system:nodes'], username: 'system:node:{{EC2PrivateDNSName}}' },
    },
  })
  t.match(
    await api.post(`${entry(role('node'))}/access-policies`, {
      policyArn: policy('AmazonEKSViewPolicy'),
      accessScope: { type: 'cluster' },
    }),
    { type: 'InvalidRequestException' },
  )
})

t.test('invalid entries are refused as on EKS', async (t) => {
  const api = await startCluster(t)
  const principalArn = role('deploy')
  for (const [input, message] of [
    [{ principalArn: 'arn:aws:sts::123456789012:assumed-role/deploy/ci' }, /principalArn parameter format/],
    [{ principalArn: 'deploy' }, /principalArn parameter format/],
    [{ principalArn, kubernetesGroups: ['system:masters'] }, /group name system:masters is invalid/],
    [{ principalArn, username: 'eks:me' }, /username eks:me is invalid/],
    [{ principalArn, type: 'EC2_LINUX', kubernetesGroups: ['nodes'] }, /must not have a username/],
    [{ principalArn, type: 'FARGATE_LINUX' }, /does not support access entries of type FARGATE_LINUX/],
    [{ principalArn: 'arn:aws:iam::123456789012:user/jane', type: 'EC2_LINUX' }, /EC2_LINUX for a user/],
    [{}, /principalArn/],
  ] as const) {
    t.match(await api.post(entries, input), {
      status: 400,
      type: 'InvalidParameterException',
      body: { message },
    })
  }
})

t.test('a principal has only one entry, regardless of the path in its ARN', async (t) => {
  const api = await startCluster(t, { accessConfig: none })
  const first = { principalArn: role('ci/deploy'), clientRequestToken: 'first' }
  t.equal((await api.post(entries, first)).status, 200)
  t.equal((await api.post(entries, first)).status, 200, 'a retry')
  t.match(await api.post(entries, { principalArn: role('deploy') }), {
    status: 409,
    type: 'ResourceInUseException',
  })
  t.strictSame((await api.get(entries)).body.accessEntries, [role('ci/deploy')])
})

t.test('an entry is updated and deleted', async (t) => {
  const api = await startCluster(t)
  const deploy = entry(role('deploy'))
  await api.post(entries, { principalArn: role('deploy') })
  t.match(await api.post(deploy, { kubernetesGroups: ['deployers'], username: 'ci:{{SessionName}}' }), {
    body: { accessEntry: { kubernetesGroups: ['deployers'], username: 'ci:{{SessionName}}' } },
  })
  t.match(await api.post(deploy, { kubernetesGroups: ['system:masters'] }), { status: 400 })
  t.strictSame(await api.delete(deploy), { status: 200, type: undefined, body: {} })
  for (const response of [await api.get(deploy), await api.post(deploy), await api.delete(deploy)]) {
    t.match(response, { status: 404, type: 'ResourceNotFoundException' })
  }
})

t.test('policies are associated with a scope, which can be changed, and disassociated', async (t) => {
  const api = await startCluster(t)
  await api.post(entries, { principalArn: role('deploy') })
  const policies = `${entry(role('deploy'))}/access-policies`
  const policyArn = policy('AmazonEKSEditPolicy')
  t.match(await api.post(policies, { policyArn, accessScope: { type: 'cluster' } }), {
    body: {
      clusterName: name,
      principalArn: role('deploy'),
      associatedAccessPolicy: { policyArn, accessScope: { type: 'cluster', namespaces: [] } },
    },
  })
  await api.post(policies, { policyArn, accessScope: { type: 'namespace', namespaces: ['dev-*'] } })
  t.match((await api.get(policies)).body.associatedAccessPolicies, [
    { policyArn, accessScope: { type: 'namespace', namespaces: ['dev-*'] } },
  ])
  const of = `${entries}?associatedPolicyArn=${encodeURIComponent(policyArn)}`
  t.strictSame((await api.get(of)).body.accessEntries, [role('deploy')])
  const one = `${policies}/${encodeURIComponent(policyArn)}`
  t.equal((await api.delete(one)).status, 200)
  t.match(await api.delete(one), { type: 'ResourceNotFoundException' })
})

t.test('unknown policies and invalid scopes are refused', async (t) => {
  const api = await startCluster(t)
  await api.post(entries, { principalArn: role('deploy') })
  const policies = `${entry(role('deploy'))}/access-policies`
  const policyArn = policy('AmazonEKSViewPolicy')
  for (const input of [
    { policyArn: policy('AmazonEKSOwnerPolicy'), accessScope: { type: 'cluster' } },
    { policyArn, accessScope: { type: 'namespace' } },
    { policyArn, accessScope: { type: 'cluster', namespaces: ['dev'] } },
    { policyArn, accessScope: { type: 'node' } },
  ]) {
    t.match(await api.post(policies, input), { status: 400, type: 'InvalidParameterException' })
  }
})

t.test('an access entry requires an existing user or role', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(entries, { principalArn: role('missing') }), {
    type: 'InvalidParameterException',
    body: { message: 'The specified principalArn is invalid: invalid principal.' },
  })
})

t.test('only one of two concurrent requests creates an entry', async (t) => {
  const api = await startCluster(t)
  const created = await Promise.all([1, 2].map(() => api.post(entries, { principalArn: role('deploy') })))
  t.strictSame(created.map(({ status }) => status).sort(), [200, 409])
})

t.test('lists are paginated', async (t) => {
  const api = await startCluster(t, { accessConfig: none })
  for (const one of ['a', 'b', 'c']) await api.post(entries, { principalArn: role(one) })
  const first = await api.get(`${entries}?maxResults=2`)
  t.strictSame(first.body.accessEntries, [role('a'), role('b')])
  const second = await api.get(`${entries}?maxResults=2&nextToken=${first.body.nextToken}`)
  t.strictSame(second.body, { accessEntries: [role('c')] })
  for (const query of ['nextToken=soon', 'maxResults=0', 'maxResults=101']) {
    t.match(await api.get(`${entries}?${query}`), { status: 400, type: 'InvalidParameterException' }, query)
  }
  t.match((await api.get('/access-policies')).body.accessPolicies, [
    { name: 'AmazonEKSClusterAdminPolicy', arn: policy('AmazonEKSClusterAdminPolicy') },
    { name: 'AmazonEKSAdminPolicy' },
    { name: 'AmazonEKSEditPolicy' },
    { name: 'AmazonEKSViewPolicy' },
    { name: 'AmazonEKSAdminViewPolicy' },
  ])
})
