import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { buildEksApi } from './server.ts'
import { Store } from './store.ts'
import { name, role, startCluster, type TestApi } from './testing.ts'

const addons = `/clusters/${name}/addons`

/** Waits until the transition of the add-on has nothing left to do. */
async function settled({ store }: Pick<TestApi, 'store'>): Promise<void> {
  const isPending = () => {
    const [addon] = store.state.addons
    return addon !== undefined && addon.status !== 'ACTIVE' && addon.settlesAt === undefined
  }
  while (isPending()) await sleep(10)
}

t.test(
  'an add-on is CREATING, then ACTIVE, and has the default version unless the request has another',
  async (t) => {
    const api = await startCluster(t)
    t.match(await api.post(addons, { addonName: 'coredns' }), {
      status: 200,
      body: { addon: { addonName: 'coredns', addonVersion: 'v1.13.1-eksbuild.1', status: 'CREATING' } },
    })
    api.wait()
    t.match((await api.get(`${addons}/coredns`)).body.addon, {
      clusterName: name,
      status: 'ACTIVE',
      addonArn: /^arn:aws:eks:eu-central-1:123456789012:addon\/fastify-eks-cluster\/coredns\/[0-9a-f-]{36}$/,
      health: { issues: [] },
      publisher: 'eks',
      owner: 'aws',
    })
    t.strictSame((await api.get(addons)).body.addons, ['coredns'])
  },
)

t.test('unknown add-ons, versions and settings are refused', async (t) => {
  const api = await startCluster(t)
  for (const [input, message] of [
    [{ addonName: 'doom' }, /Addon doom specified is not supported/],
    [
      { addonName: 'coredns', addonVersion: 'v0' },
      /version v0 specified is not supported; coredns has v1.13.1/,
    ],
    [{ addonName: 'coredns', configurationValues: '{"a":' }, /not valid JSON or YAML/],
    [{ addonName: 'coredns', configurationValues: 'a' }, /not valid JSON or YAML/],
    [{ addonName: 'coredns', resolveConflicts: 'FIGHT' }, /resolveConflicts/],
  ] as const) {
    t.match(await api.post(addons, input), {
      status: 400,
      type: 'InvalidParameterException',
      body: { message },
    })
  }
})

t.test('a cluster has an add-on only once', async (t) => {
  const api = await startCluster(t)
  await api.post(addons, { addonName: 'coredns', clientRequestToken: 'first' })
  t.equal((await api.post(addons, { addonName: 'coredns', clientRequestToken: 'first' })).status, 200)
  t.match(await api.post(addons, { addonName: 'coredns', clientRequestToken: 'second' }), {
    status: 409,
    type: 'ResourceInUseException',
    body: { message: 'Addon already exists.', addonName: 'coredns' },
  })
})

t.test('updates of an add-on are listed by its name', async (t) => {
  const api = await startCluster(t)
  await api.post(addons, { addonName: 'coredns' })
  t.match(await api.post(`${addons}/coredns/update`), { type: 'ResourceInUseException' }, 'still CREATING')
  api.wait()
  const { body } = await api.post(`${addons}/coredns/update`, {
    addonVersion: 'v1.13.2-eksbuild.1',
    configurationValues: 'replicaCount: 3',
  })
  t.match(body.update, {
    type: 'AddonUpdate',
    params: [
      { type: 'AddonVersion', value: 'v1.13.2-eksbuild.1' },
      { type: 'ConfigurationValues', value: 'replicaCount: 3' },
    ],
  })
  api.wait()
  const update = `/clusters/${name}/updates/${body.update.id}`
  t.equal((await api.get(`${update}?addonName=coredns`)).body.update.status, 'Successful')
  t.match(await api.get(update), { type: 'ResourceNotFoundException' }, 'not an update of the cluster')
  t.strictSame((await api.get(`/clusters/${name}/updates?addonName=coredns`)).body.updateIds, [
    body.update.id,
  ])
  t.match((await api.get(`${addons}/coredns`)).body.addon, {
    status: 'ACTIVE',
    addonVersion: 'v1.13.2-eksbuild.1',
    configurationValues: 'replicaCount: 3',
  })
})

t.test('pod identity associations of an add-on are created and deleted with it', async (t) => {
  const api = await startCluster(t)
  const associations = `/clusters/${name}/pod-identity-associations`
  const listed = async () => (await api.get(associations)).body.associations
  await api.post(addons, {
    addonName: 'vpc-cni',
    podIdentityAssociations: [{ serviceAccount: 'aws-node', roleArn: role('cni') }],
  })
  api.wait()
  const { addon } = (await api.get(`${addons}/vpc-cni`)).body
  t.match(await listed(), [
    { namespace: 'kube-system', serviceAccount: 'aws-node', ownerArn: addon.addonArn },
  ])
  t.strictSame(addon.podIdentityAssociations, [(await listed())[0].associationArn])

  await api.post(`${addons}/vpc-cni/update`, {
    podIdentityAssociations: [{ serviceAccount: 'cni-metrics', roleArn: role('cni') }],
  })
  t.match(await listed(), [{ serviceAccount: 'cni-metrics' }])
  t.equal((await listed()).length, 1)
  t.equal((await api.delete(`${addons}/vpc-cni`)).body.addon.status, 'DELETING')
  t.strictSame(await listed(), [])
  api.wait()
  t.match(await api.get(`${addons}/vpc-cni`), {
    status: 404,
    type: 'ResourceNotFoundException',
    body: { message: 'No addon: vpc-cni found in cluster: fastify-eks-cluster', addonName: 'vpc-cni' },
  })
})

t.test('supported versions are listed from newest to oldest, with the default marked', async (t) => {
  const api = await startCluster(t)
  const versions = '/addons/supported-versions'
  const { addons: all } = (await api.get(`${versions}?addonName=coredns&kubernetesVersion=1.35`)).body
  t.match(all, [
    {
      addonName: 'coredns',
      addonVersions: [
        { addonVersion: 'v1.13.2-eksbuild.1', compatibilities: [{ defaultVersion: false }] },
        {
          addonVersion: 'v1.13.1-eksbuild.1',
          architecture: ['amd64', 'arm64'],
          compatibilities: [{ clusterVersion: '1.35', defaultVersion: true }],
        },
      ],
    },
  ])
  t.equal((await api.get(versions)).body.addons.length, 3)
  t.strictSame((await api.get(`${versions}?kubernetesVersion=1.20`)).body.addons, [])
  t.match(await api.get(`${versions}?addonName=doom`), { type: 'InvalidParameterException' })
  t.match(await api.get(`${versions}?sizes=large`), {
    body: { message: /does not support the parameter sizes/ },
  })
  const schemas = '/addons/configuration-schemas?addonName=coredns&addonVersion'
  t.match(JSON.parse((await api.get(`${schemas}=v1.13.1-eksbuild.1`)).body.configurationSchema), {
    type: 'object',
  })
  t.match(await api.get(`${schemas}=v0`), { type: 'InvalidParameterException' })
})

t.test('names of JavaScript’s built-in properties are not add-ons', async (t) => {
  const api = await startCluster(t)
  for (const addonName of ['constructor', '__proto__', 'toString']) {
    t.match(
      await api.post(addons, { addonName }),
      { status: 400, type: 'InvalidParameterException' },
      addonName,
    )
    t.match(await api.get(`/addons/supported-versions?addonName=${addonName}`), { status: 400 })
  }
})

t.test('supported versions are filtered by type, publisher and owner', async (t) => {
  const api = await startCluster(t)
  const listed = async (query: string) =>
    (await api.get(`/addons/supported-versions?${query}`)).body.addons.map(
      ({ addonName }: { addonName: string }) => addonName,
    )
  t.strictSame(await listed('types=networking'), ['coredns', 'vpc-cni'])
  t.strictSame(await listed('types=storage&types=networking&owners=aws'), [
    'coredns',
    'vpc-cni',
    'aws-ebs-csi-driver',
  ])
  t.strictSame(await listed('publishers=somebody'), [])
})

t.test('an add-on is CREATING until its pods are available', async (t) => {
  const api = await startCluster(t)
  api.workloads.failure = new Error('no node')
  await api.post(addons, { addonName: 'coredns' })
  await sleep(0)
  t.equal(api.store.state.addons[0]?.settlesAt, undefined)
  delete api.workloads.failure
  await settled(api)
  api.wait()
  t.equal((await api.get(`${addons}/coredns`)).body.addon.status, 'ACTIVE')
  t.ok(api.workloads.installed.every((installed) => installed === 'coredns v1.13.1-eksbuild.1'))
})

t.test('an add-on whose pods do not become available is DEGRADED until they are', async (t) => {
  const api = await startCluster(t)
  t.capture(console, 'error')
  api.workloads.failure = new Error('no node')
  await api.post(addons, { addonName: 'coredns' })
  await sleep(0)
  api.wait()
  while ((await api.get(`${addons}/coredns`)).body.addon.status !== 'DEGRADED') await sleep(10)
  t.match((await api.get(`${addons}/coredns`)).body.addon.health.issues, [
    { code: 'InsufficientNumberOfReplicas', message: 'no node' },
  ])
  delete api.workloads.failure
  await settled(api)
  api.wait()
  t.match((await api.get(`${addons}/coredns`)).body.addon, { status: 'ACTIVE', health: { issues: [] } })
})

t.test('a new process continues an installation', async (t) => {
  const api = await startCluster(t)
  api.workloads.failure = new Error('no node')
  await api.post(addons, { addonName: 'coredns' })
  await sleep(0)
  const restarted = new Store(api.stateFile)
  delete api.workloads.failure
  const app = await buildEksApi(restarted, api.options)
  t.teardown(() => app.close())
  await settled({ store: restarted })
})

t.test('the objects of an add-on are removed with it, unless they are preserved', async (t) => {
  const api = await startCluster(t)
  await api.post(addons, { addonName: 'coredns' })
  await settled(api)
  api.wait()
  t.match(await api.delete(`${addons}/coredns?preserve=perhaps`), { status: 400 })
  t.equal((await api.delete(`${addons}/coredns?preserve=true`)).body.addon.status, 'DELETING')
  api.wait()
  t.match(await api.get(`${addons}/coredns`), { type: 'ResourceNotFoundException' })
  t.strictSame(api.workloads.removed, [])

  await api.post(addons, { addonName: 'coredns' })
  t.equal((await api.delete(`${addons}/coredns`)).body.addon.status, 'DELETING')
  await settled(api)
  api.wait()
  t.match(await api.get(`${addons}/coredns`), { type: 'ResourceNotFoundException' })
  t.strictSame(api.workloads.removed, ['coredns'], 'after its installation has ended')
})

t.test('preserved objects are removed with the cluster', async (t) => {
  const api = await startCluster(t)
  await api.post(addons, { addonName: 'coredns' })
  await settled(api)
  api.wait()
  await api.delete(`${addons}/coredns?preserve=true`)
  api.wait()
  t.equal((await api.delete(`/clusters/${name}`)).status, 200)
  t.match(api.workloads.removed, ['coredns'])
})
