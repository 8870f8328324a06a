import t from 'tap'
import { FleetError } from './node-group-fleet.ts'
import { buildEksApi } from './server.ts'
import { Store } from './store.ts'
import { name, role, startCluster } from './testing.ts'

const groups = `/clusters/${name}/node-groups`
const system = {
  nodegroupName: 'system',
  nodeRole: role('node'),
  subnets: ['subnet-a'],
  instanceTypes: ['t4g.small'],
  amiType: 'AL2023_ARM_64_STANDARD',
  labels: { role: 'system' },
}

t.test('a node group is CREATING, then ACTIVE, with the defaults of EKS', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(groups, system), { status: 200, body: { nodegroup: { status: 'CREATING' } } })
  api.wait()
  t.match((await api.get(`${groups}/system`)).body.nodegroup, {
    nodegroupArn: /^arn:aws:eks:eu-central-1:123456789012:nodegroup\/fastify-eks-cluster\/system\//,
    status: 'ACTIVE',
    version: '1.35',
    releaseVersion: /^1\.35\.4-/,
    capacityType: 'ON_DEMAND',
    scalingConfig: { minSize: 1, maxSize: 2, desiredSize: 2 },
    diskSize: 20,
    updateConfig: { maxUnavailable: 1 },
    health: { issues: [] },
  })
  t.strictSame((await api.get(groups)).body.nodegroups, ['system'])
})

t.test('node groups that EKS would refuse are refused', async (t) => {
  const api = await startCluster(t)
  for (const [input, message] of [
    [{ amiType: 'AL2023_x86_64_STANDARD' }, /\[t4g.small\] is not a valid instance type/],
    [{ instanceTypes: ['m7i.large'] }, /\[m7i.large\] is not a valid instance type/],
    [{ instanceTypes: ['g4dn.xlarge'] }, /\[g4dn.xlarge\] is not a valid instance type/],
    [{ version: '1.34' }, /version 1.34: the box runs 1.35/],
    [{ subnets: ['subnet-other'] }, /subnet-other is not in the cluster's VPC/],
    [{ subnets: ['subnet-none'] }, /'subnet-none' does not exist/],
    [{ scalingConfig: { minSize: 3 } }, /between minimum 3 and maximum 2/],
    [{ launchTemplate: { id: 'lt-1' }, diskSize: 20 }, /Disk size/],
    [{ taints: [{ key: 'a', effect: 'NoSchedule' }] }, /taints/],
    [{ remoteAccess: {} }, /does not support the parameter remoteAccess/],
  ] as const) {
    t.match(await api.post(groups, { ...system, ...input }), {
      status: 400,
      type: 'InvalidParameterException',
      body: { message },
    })
  }
  t.strictSame(api.fleet.converged, [])
})

t.test('the name of a node group is unique', async (t) => {
  const api = await startCluster(t)
  await api.post(groups, { ...system, clientRequestToken: 'first' })
  t.equal((await api.post(groups, { ...system, clientRequestToken: 'first' })).status, 200)
  t.match(await api.post(groups, { ...system, clientRequestToken: 'second' }), {
    status: 409,
    type: 'ResourceInUseException',
    body: { clusterName: name, nodegroupName: 'system' },
  })
})

t.test('a group is ACTIVE when its nodes are ready, and gone when they are', async (t) => {
  const api = await startCluster(t)
  const { promise, resolve } = Promise.withResolvers<string>()
  const { converge } = api.options.fleet
  api.options.fleet.converge = () => promise
  await api.post(groups, system)
  api.wait()
  t.equal((await api.get(`${groups}/system`)).body.nodegroup.status, 'CREATING', 'nodes are not ready yet')
  resolve('eks-1')
  await promise
  api.wait()
  t.match((await api.get(`${groups}/system`)).body.nodegroup, {
    status: 'ACTIVE',
    resources: { autoScalingGroups: [{ name: 'eks-1' }] },
  })
  api.options.fleet.converge = converge
  await api.post(`${groups}/system/update-config`, {
    labels: { addOrUpdateLabels: { tier: '1' }, removeLabels: ['role'] },
  })
  t.match(api.fleet.converged, [{ labels: { tier: '1' }, removed: { labels: ['role'] } }])
  api.wait()
  t.notHas((await api.get(`${groups}/system`)).body.nodegroup, { removed: {} })
  await api.delete(`${groups}/system`)
  t.strictSame(api.fleet.removed, ['system'])
  api.wait()
  t.strictSame((await api.get(groups)).body.nodegroups, [])
})

t.test(
  'a group whose instances cannot be launched is CREATE_FAILED, says why and can be deleted',
  async (t) => {
    const api = await startCluster(t)
    t.capture(console, 'error')
    api.fleet.failure = new FleetError('AsgInstanceLaunchFailures', 'InsufficientInstanceCapacity')
    await api.post(groups, system)
    t.match((await api.get(`${groups}/system`)).body.nodegroup, {
      status: 'CREATE_FAILED',
      health: { issues: [{ code: 'AsgInstanceLaunchFailures', message: 'InsufficientInstanceCapacity' }] },
    })
    t.equal((await api.delete(`${groups}/system`)).status, 200)
  },
)

t.test('an update that fails says why, and the group is DEGRADED', async (t) => {
  const api = await startCluster(t)
  t.capture(console, 'error')
  await api.post(groups, system)
  api.wait()
  api.fleet.failure = new FleetError('NodeCreationFailure', 'no node has joined')
  const { body } = await api.post(`${groups}/system/update-config`, { scalingConfig: { desiredSize: 1 } })
  const update = await api.get(`/clusters/${name}/updates/${body.update.id}?nodegroupName=system`)
  t.match(update.body.update, { status: 'Failed', errors: [{ errorCode: 'NodeCreationFailure' }] })
  t.equal((await api.get(`${groups}/system`)).body.nodegroup.status, 'DEGRADED')
})

t.test('a restart continues the transition of a group', async (t) => {
  const api = await startCluster(t)
  api.options.fleet.converge = () => new Promise(() => {})
  await api.post(groups, system)
  const asked: string[] = []
  await buildEksApi(new Store(api.stateFile), {
    ...api.options,
    fleet: {
      converge: async ({ nodegroupName }) => {
        asked.push(nodegroupName)
        return 'eks-1'
      },
      remove: async () => {},
    },
  })
  t.strictSame(asked, ['system'])
})

t.test('a node role has an access entry while a group uses it', async (t) => {
  const api = await startCluster(t)
  const entry = `/clusters/${name}/access-entries/${encodeURIComponent(role('node'))}`
  await api.post(groups, system)
  await api.post(groups, { ...system, nodegroupName: 'other' })
  t.equal((await api.get(entry)).body.accessEntry.type, 'EC2_LINUX')
  api.wait()
  await api.delete(`${groups}/system`)
  t.equal((await api.get(entry)).status, 200)
  await api.delete(`${groups}/other`)
  t.equal((await api.get(entry)).status, 404)
})

t.test('changes of configuration and version are updates of the group', async (t) => {
  const api = await startCluster(t)
  await api.post(groups, { ...system, taints: [{ key: 'old', effect: 'NO_SCHEDULE' }] })
  t.match(await api.post(`${groups}/system/update-config`), { type: 'ResourceInUseException' }, 'CREATING')
  api.wait()
  const { body } = await api.post(`${groups}/system/update-config`, {
    scalingConfig: { maxSize: 4 },
    taints: {
      addOrUpdateTaints: [{ key: 'new', effect: 'NO_EXECUTE' }],
      removeTaints: [{ key: 'old', effect: 'NO_SCHEDULE' }],
    },
  })
  t.match(body.update, { type: 'ConfigUpdate', status: 'InProgress' })
  api.wait()
  const update = `/clusters/${name}/updates/${body.update.id}`
  t.equal((await api.get(`${update}?nodegroupName=system`)).body.update.status, 'Successful')
  t.match(await api.post(`${groups}/system/update-version`, { releaseVersion: '1.35.4-20260601' }), {
    body: { update: { type: 'VersionUpdate' } },
  })
  t.match((await api.get(`${groups}/system`)).body.nodegroup, {
    status: 'UPDATING',
    releaseVersion: '1.35.4-20260601',
    scalingConfig: { minSize: 1, maxSize: 4, desiredSize: 2 },
    taints: [{ key: 'new', effect: 'NO_EXECUTE' }],
  })
  const { modifiedAt } = (await api.get(`${groups}/system`)).body.nodegroup
  t.match(
    api.fleet.converged.at(-1),
    { nodesSince: Math.floor(modifiedAt) * 1000 },
    'older nodes are replaced',
  )
  api.wait()
  t.match(await api.post(`${groups}/system/update-version`, { version: '1.36' }), { status: 400 })
  t.match(await api.post(`${groups}/system/update-config`, { scalingConfig: { minSize: 9 } }), {
    status: 400,
  })
})

t.test('a cluster with node groups cannot be deleted', async (t) => {
  const api = await startCluster(t)
  await api.post(groups, system)
  t.match(await api.delete(`/clusters/${name}`), { status: 409, type: 'ResourceInUseException' })
  api.wait()
  await api.delete(`${groups}/system`)
  t.equal((await api.get(`${groups}/system`)).body.nodegroup.status, 'DELETING')
  api.wait()
  t.match(await api.get(`${groups}/system`), {
    status: 404,
    type: 'ResourceNotFoundException',
    body: { message: 'No node group found for name: system.', nodegroupName: 'system' },
  })
  t.equal((await api.delete(`/clusters/${name}`)).status, 200)
})

t.test('only one of several concurrent requests creates a group', async (t) => {
  const api = await startCluster(t)
  const responses = await Promise.all([1, 2, 3].map(() => api.post(groups, system)))
  t.strictSame(responses.map(({ status }) => status).sort(), [200, 409, 409])
  t.strictSame((await api.get(groups)).body.nodegroups, ['system'])
})

t.test('a refused request does not block the next one', async (t) => {
  const api = await startCluster(t)
  const [refused, created] = await Promise.all([
    api.post(groups, { ...system, nodeRole: role('missing') }),
    api.post(groups, system),
  ])
  t.match(refused, { type: 'InvalidParameterException', body: { message: /role\/missing cannot be found/ } })
  t.equal(created?.status, 200)
})
