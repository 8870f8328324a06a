import { readFileSync } from 'node:fs'
import t from 'tap'
import { CALLER_HEADER } from './api.ts'
import { buildEksApi } from './server.ts'
import { Store } from './store.ts'
import { callers, minimalCluster, name, policy, role, startApi, startCluster } from './testing.ts'

t.test('a cluster is CREATING, then ACTIVE with the real properties of the box', async (t) => {
  const api = await startApi(t)
  const created = await api.post('/clusters', minimalCluster)
  t.match(created, { status: 200, body: { cluster: { name, status: 'CREATING' } } })
  t.notOk(created.body.cluster.endpoint, 'no endpoint yet, as on EKS')
  api.wait()
  const { body } = await api.get(`/clusters/${name}`)
  t.match(body.cluster, {
    arn: 'arn:aws:eks:eu-central-1:123456789012:cluster/fastify-eks-cluster',
    status: 'ACTIVE',
    version: '1.35',
    endpoint: 'https://127.0.0.1:6443',
    certificateAuthority: { data: 'Y2VydGlmaWNhdGU=' },
    identity: { oidc: { issuer: 'https://127.0.0.1:6443' } },
    kubernetesNetworkConfig: { serviceIpv4Cidr: '172.20.0.0/16', ipFamily: 'ipv4' },
    resourcesVpcConfig: {
      subnetIds: ['subnet-a', 'subnet-b'],
      vpcId: 'vpc-1',
      clusterSecurityGroupId: 'sg-1',
      endpointPublicAccess: true,
      endpointPrivateAccess: false,
      publicAccessCidrs: ['0.0.0.0/0'],
    },
    accessConfig: { authenticationMode: 'API' },
    upgradePolicy: { supportType: 'EXTENDED' },
    deletionProtection: false,
  })
  t.type(body.cluster.createdAt, 'number', 'seconds since 1970')
  t.strictSame((await api.get('/clusters')).body.clusters, [name])
})

t.test('unsupported settings are refused, with the supported values', async (t) => {
  const api = await startApi(t)
  for (const [input, type, message] of [
    [{ name: 'other' }, 'ResourceLimitExceededException', /runs one cluster, fastify-eks-cluster/],
    [{ version: '1.34' }, 'InvalidParameterException', /version 1.34: the box runs 1.35/],
    [
      { kubernetesNetworkConfig: { serviceIpv4Cidr: '10.100.0.0/16' } },
      'InvalidParameterException',
      /service range 10.100.0.0\/16: the box has 172.20.0.0\/16/,
    ],
    [{ outpostConfig: {} }, 'InvalidParameterException', /does not support the parameter outpostConfig/],
    [
      { resourcesVpcConfig: { ...minimalCluster.resourcesVpcConfig, egress: true } },
      'InvalidParameterException',
      /does not support the parameter resourcesVpcConfig.egress/,
    ],
    [{ computeConfig: { enabled: true } }, 'InvalidParameterException', /computeConfig/],
    [{ roleArn: 'nobody' }, 'InvalidParameterException', /roleArn/],
    [
      { resourcesVpcConfig: { subnetIds: ['subnet-a'] } },
      'InvalidParameterException',
      /at least two different AZs/,
    ],
    [
      { resourcesVpcConfig: { subnetIds: ['subnet-a', 'subnet-b', 'subnet-other'] } },
      'InvalidParameterException',
      /one VPC/,
    ],
    [
      { resourcesVpcConfig: { subnetIds: ['subnet-a', 'subnet-none'] } },
      'InvalidParameterException',
      /'subnet-none' does not exist/,
    ],
  ] as const) {
    t.match(await api.post('/clusters', { ...minimalCluster, ...input }), {
      status: 400,
      type,
      body: { message },
    })
  }
  t.strictSame((await api.get('/clusters')).body.clusters, [])
  t.equal(api.securityGroups.size, 0)
})

t.test('a second cluster with the same name is refused, but a retry succeeds', async (t) => {
  const api = await startCluster(t, { clientRequestToken: 'first' })
  t.match(await api.post('/clusters', { ...minimalCluster, clientRequestToken: 'second' }), {
    status: 409,
    type: 'ResourceInUseException',
    body: { clusterName: name },
  })
  t.match(await api.post('/clusters', { ...minimalCluster, clientRequestToken: 'first' }), {
    status: 200,
    body: { cluster: { status: 'ACTIVE' } },
  })
})

t.test(
  'only one of two concurrent requests creates the cluster, and the other leaves nothing behind',
  async (t) => {
    const api = await startApi(t)
    const responses = await Promise.all([
      api.post('/clusters', minimalCluster),
      api.post('/clusters', minimalCluster),
    ])
    t.strictSame(responses.map(({ status }) => status).sort(), [200, 409])
    t.equal(api.securityGroups.size, 1)
  },
)

t.test('the creator of a cluster is its administrator unless disabled', async (t) => {
  const operator = 'arn:aws:iam::123456789012:user/operator'
  const api = await startCluster(t)
  t.strictSame((await api.get(`/clusters/${name}/access-entries`)).body.accessEntries, [operator])
  const url = `/clusters/${name}/access-entries/${encodeURIComponent(operator)}/access-policies`
  t.match((await api.get(url)).body.associatedAccessPolicies, [
    { policyArn: policy('AmazonEKSClusterAdminPolicy'), accessScope: { type: 'cluster' } },
  ])

  const closed = await startCluster(t, {
    accessConfig: { authenticationMode: 'API', bootstrapClusterCreatorAdminPermissions: false },
  })
  t.strictSame((await closed.get(`/clusters/${name}/access-entries`)).body.accessEntries, [])
})

t.test('a change of the configuration is an update, which completes', async (t) => {
  const api = await startCluster(t)
  for (const [input, type, param] of [
    [
      { logging: { clusterLogging: [{ types: ['audit'], enabled: true }] } },
      'LoggingUpdate',
      'ClusterLogging',
    ],
    [
      { resourcesVpcConfig: { endpointPrivateAccess: true } },
      'EndpointAccessUpdate',
      'EndpointPrivateAccess',
    ],
    [{ resourcesVpcConfig: { subnetIds: ['subnet-b', 'subnet-a'] } }, 'VpcConfigUpdate', 'Subnets'],
    [{ upgradePolicy: { supportType: 'STANDARD' } }, 'UpgradePolicyUpdate', 'UpgradePolicy'],
    [{ zonalShiftConfig: { enabled: true } }, 'ZonalShiftConfigUpdate', 'ZonalShiftConfig'],
    [{ deletionProtection: true }, 'DeletionProtectionUpdate', 'DeletionProtection'],
  ] as const) {
    const { status, body } = await api.post(`/clusters/${name}/update-config`, input)
    t.match({ status, body }, { status: 200, body: { update: { status: 'InProgress', type } } })
    t.match(body.update.params, [{ type: param, value: String }])
    const update = `/clusters/${name}/updates/${body.update.id}`
    t.equal((await api.get(`/clusters/${name}`)).body.cluster.status, 'UPDATING')
    t.match(await api.post(`/clusters/${name}/update-config`, input), { type: 'ResourceInUseException' })
    api.wait()
    t.equal((await api.get(update)).body.update.status, 'Successful')
  }
  t.match((await api.get(`/clusters/${name}`)).body.cluster, {
    status: 'ACTIVE',
    logging: { clusterLogging: [{ types: ['audit'], enabled: true }, { enabled: false }] },
    resourcesVpcConfig: {
      endpointPublicAccess: true,
      endpointPrivateAccess: true,
      subnetIds: ['subnet-b', 'subnet-a'],
    },
    upgradePolicy: { supportType: 'STANDARD' },
    deletionProtection: true,
  })
  t.equal((await api.get(`/clusters/${name}/updates`)).body.updateIds.length, 6)
})

t.test('an update must have exactly one kind of change and change something', async (t) => {
  const api = await startCluster(t)
  const url = `/clusters/${name}/update-config`
  for (const input of [
    {},
    { deletionProtection: true, zonalShiftConfig: { enabled: true } },
    { deletionProtection: false },
    { logging: { clusterLogging: [{ types: ['audit'], enabled: false }] } },
    { logging: { clusterLogging: [{ types: ['gossip'], enabled: true }] } },
    { resourcesVpcConfig: { endpointPublicAccess: true } },
  ]) {
    t.match(await api.post(url, input), { status: 400, type: 'InvalidParameterException' })
  }
})

t.test('authentication modes with the ConfigMap aws-auth are refused, including the default', async (t) => {
  const api = await startApi(t)
  const message = /unsupported authentication mode .*CONFIG_MAP: the box supports access entries only/
  for (const accessConfig of [
    {},
    { authenticationMode: 'CONFIG_MAP' },
    { authenticationMode: 'API_AND_CONFIG_MAP' },
  ]) {
    t.match(await api.post('/clusters', { ...minimalCluster, accessConfig }), {
      type: 'InvalidParameterException',
      body: { message },
    })
  }
  await api.post('/clusters', minimalCluster)
  api.wait()
  const update = (authenticationMode: string) =>
    api.post(`/clusters/${name}/update-config`, { accessConfig: { authenticationMode } })
  t.match((await update('API_AND_CONFIG_MAP')).body, { message })
  t.match((await update('API')).body, { message: /No changes needed/ })
})

t.test('a cluster requires an existing role', async (t) => {
  const api = await startApi(t)
  t.match(await api.post('/clusters', { ...minimalCluster, roleArn: role('missing') }), {
    type: 'InvalidParameterException',
    body: { message: /role\/missing, could not be assumed because it does not exist/ },
  })
})

t.test('log types that a request omits stay unchanged', async (t) => {
  const api = await startCluster(t, {
    logging: { clusterLogging: [{ types: ['api', 'audit'], enabled: true }] },
  })
  await api.post(`/clusters/${name}/update-config`, {
    logging: { clusterLogging: [{ types: ['api'], enabled: false }] },
  })
  t.strictSame((await api.get(`/clusters/${name}`)).body.cluster.logging.clusterLogging, [
    { types: ['audit'], enabled: true },
    { types: ['api', 'authenticator', 'controllerManager', 'scheduler'], enabled: false },
  ])
})

t.test('the box supports only its own version', async (t) => {
  const api = await startCluster(t)
  const url = `/clusters/${name}/updates`
  t.match(await api.post(url, { version: '1.36' }), {
    type: 'InvalidParameterException',
    body: { message: 'unsupported Kubernetes version 1.36: the box runs 1.35' },
  })
  t.match(await api.post(url, { version: '1.35' }), { type: 'InvalidParameterException' })
  t.match((await api.get('/cluster-versions')).body.clusterVersions, [
    { clusterVersion: '1.35', versionStatus: 'STANDARD_SUPPORT', defaultVersion: true },
  ])
  for (const filter of ['defaultOnly=true', 'includeAll=true', 'maxResults=1']) {
    t.equal((await api.get(`/cluster-versions?${filter}`)).body.clusterVersions.length, 1, filter)
  }
  for (const filter of ['versionStatus=EXTENDED_SUPPORT', 'clusterVersions=1.34', 'clusterType=eks-local']) {
    t.strictSame((await api.get(`/cluster-versions?${filter}`)).body.clusterVersions, [], filter)
  }
})

t.test('encryption of secrets can be enabled later, but only once', async (t) => {
  const api = await startCluster(t)
  const url = `/clusters/${name}/encryption-config/associate`
  const encryptionConfig = [{ resources: ['secrets'], provider: { keyArn: 'arn:aws:kms:::key/1' } }]
  t.match(await api.post(url, { encryptionConfig }), {
    body: { update: { type: 'AssociateEncryptionConfig' } },
  })
  api.wait()
  t.strictSame((await api.get(`/clusters/${name}`)).body.cluster.encryptionConfig, encryptionConfig)
  t.match(await api.post(url, { encryptionConfig }), { type: 'InvalidRequestException' })
})

t.test('a cluster is DELETING, then deleted with everything that belonged to it', async (t) => {
  const api = await startCluster(t)
  t.match(await api.delete(`/clusters/${name}`), { status: 200, body: { cluster: { status: 'DELETING' } } })
  t.equal((await api.get(`/clusters/${name}`)).body.cluster.status, 'DELETING')
  api.wait()
  t.match(await api.get(`/clusters/${name}`), {
    status: 404,
    type: 'ResourceNotFoundException',
    body: { message: `No cluster found for name: ${name}.`, clusterName: name },
  })
  t.equal(api.securityGroups.size, 0)
  t.equal((await api.post('/clusters', minimalCluster)).status, 200)
  t.strictSame(api.store.state.updates, [])
})

t.test('a cluster with deletion protection is not deleted', async (t) => {
  const api = await startCluster(t, { deletionProtection: true })
  t.match(await api.delete(`/clusters/${name}`), { status: 400, type: 'InvalidRequestException' })
})

t.test('a security group in use does not prevent the deletion of the cluster', async (t) => {
  const api = await startCluster(t)
  const errors = t.capture(console, 'error')
  api.options.deleteSecurityGroup = async () => {
    throw new Error('DependencyViolation')
  }
  t.equal((await api.delete(`/clusters/${name}`)).status, 200)
  t.match(errors(), [{ args: [/sg-1 was not deleted/, /DependencyViolation/] }])
})

t.test('after a restart, the cluster has its settings and the current properties of the box', async (t) => {
  const api = await startApi(t)
  await api.post('/clusters', minimalCluster)
  api.wait()
  t.notMatch(readFileSync(api.stateFile, 'utf8'), /6443/)
  const restarted = await buildEksApi(new Store(api.stateFile), {
    ...api.options,
    cluster: { ...api.options.cluster, endpoint: 'https://127.0.0.1:7443' },
  })
  t.teardown(() => restarted.close())
  const response = await restarted.inject({
    url: `/clusters/${name}`,
    headers: { [CALLER_HEADER]: JSON.stringify(callers['AKIAOPERATOR']) },
  })
  t.match(response.json(), { cluster: { status: 'ACTIVE', endpoint: 'https://127.0.0.1:7443' } })
})
