import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import { createEntry } from './access.ts'
import type { Api } from './api.ts'
import { addUpdate } from './clusters.ts'
import { EksFailure } from './failure.ts'
import { CreateNodegroup, type Nodegroup, UpdateNodegroupConfig, UpdateNodegroupVersion } from './model.ts'
import { now, page, settlesAt, shown } from './store.ts'

const Name = Type.Object({ name: Type.String() })
const GroupPath = Type.Object({ name: Type.String(), group: Type.String() })

/** Label every node of a managed node group carries on EKS. */
const groupLabel = 'eks.amazonaws.com/nodegroup'

/** Managed node groups. The box has one machine: it carries the labels of the newest group. */
export function nodeGroups({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options
  const groups = '/clusters/:name/node-groups'

  const find = ({ name, group }: { name: string; group: string }): Nodegroup => {
    store.cluster(name)
    const found = store.state.nodegroups.find(({ nodegroupName }) => nodegroupName === group)
    if (found === undefined) {
      throw new EksFailure('ResourceNotFoundException', `No node group found for name: ${group}.`, {
        clusterName: name,
        nodegroupName: group,
      })
    }
    return found
  }
  const findActive = (path: { name: string; group: string }): Nodegroup => {
    store.activeCluster(path.name)
    const group = find(path)
    if (group.status !== 'ACTIVE') {
      throw new EksFailure('ResourceInUseException', `Nodegroup ${path.group} is ${group.status}`, {
        clusterName: path.name,
        nodegroupName: path.group,
      })
    }
    return group
  }
  const checkScaling = ({ minSize, maxSize, desiredSize }: Nodegroup['scalingConfig']) => {
    if (minSize <= desiredSize && desiredSize <= maxSize) return
    throw new EksFailure(
      'InvalidParameterException',
      `desired capacity ${desiredSize} must lie between minimum ${minSize} and maximum ${maxSize}`,
    )
  }

  app.post(groups, { schema: { params: Name, body: CreateNodegroup } }, async ({ params, body }) => {
    const cluster = store.activeCluster(params.name)
    const { nodegroupName } = body
    const details = { clusterName: cluster.name, nodegroupName }
    if (store.state.nodegroups.some((other) => other.nodegroupName === nodegroupName)) {
      throw new EksFailure(
        'ResourceInUseException',
        `NodeGroup already exists with name ${nodegroupName} and cluster name ${cluster.name}`,
        details,
      )
    }
    if ((body.version ?? box.version) !== box.version) {
      throw new EksFailure(
        'InvalidParameterException',
        `unsupported Kubernetes version ${body.version}: the box runs ${box.version}`,
        details,
      )
    }
    await options.describeSubnets(body.subnets)
    const scalingConfig = { minSize: 1, maxSize: 2, desiredSize: 2, ...body.scalingConfig }
    checkScaling(scalingConfig)
    const arn = `arn:aws:eks:${region}:${account}:nodegroup/${cluster.name}/${nodegroupName}`
    const group: Nodegroup = {
      nodegroupName,
      nodegroupArn: `${arn}/${randomUUID()}`,
      clusterName: cluster.name,
      version: box.version,
      releaseVersion: body.releaseVersion ?? `${box.patchVersion}-1`,
      createdAt: now(),
      modifiedAt: now(),
      capacityType: body.capacityType ?? 'ON_DEMAND',
      scalingConfig,
      ...(body.instanceTypes === undefined ? {} : { instanceTypes: body.instanceTypes }),
      subnets: body.subnets,
      amiType: body.amiType ?? 'AL2023_x86_64_STANDARD',
      nodeRole: body.nodeRole,
      labels: body.labels ?? {},
      taints: body.taints ?? [],
      // With a launch template the disk is the template's.
      ...(body.launchTemplate === undefined ? { diskSize: body.diskSize ?? 20 } : {}),
      updateConfig: body.updateConfig ?? { maxUnavailable: 1 },
      nodeRepairConfig: { enabled: false, ...body.nodeRepairConfig },
      ...(body.launchTemplate === undefined ? {} : { launchTemplate: body.launchTemplate }),
      resources: { autoScalingGroups: [] },
      health: { issues: [] },
      tags: body.tags ?? {},
      status: 'CREATING',
      settlesAt: settlesAt(),
    }
    await options.labelNode({ ...group.labels, [groupLabel]: nodegroupName })
    return store.change((state) => {
      state.nodegroups.push(group)
      // As on EKS: without an entry of its own the role's nodes could not join.
      if (!state.accessEntries.some(({ principalArn }) => principalArn === body.nodeRole)) {
        state.accessEntries.push(createEntry(cluster, { principalArn: body.nodeRole, type: 'EC2_LINUX' }))
      }
      return { nodegroup: shown(group) }
    })
  })

  const Paging = Type.Object({
    maxResults: Type.Optional(Type.Integer()),
    nextToken: Type.Optional(Type.String()),
  })
  app.get(groups, { schema: { params: Name, querystring: Paging } }, async ({ params, query }) => {
    store.cluster(params.name)
    const { items, nextToken } = page(
      store.state.nodegroups.map(({ nodegroupName }) => nodegroupName),
      query,
    )
    return { nodegroups: items, nextToken }
  })

  app.get(`${groups}/:group`, { schema: { params: GroupPath } }, async ({ params }) => ({
    nodegroup: shown(find(params)),
  }))

  app.post(
    `${groups}/:group/update-config`,
    { schema: { params: GroupPath, body: UpdateNodegroupConfig } },
    async ({ params, body }) => {
      const group = findActive(params)
      const scalingConfig = { ...group.scalingConfig, ...body.scalingConfig }
      checkScaling(scalingConfig)
      const removed = body.labels?.removeLabels ?? []
      const added = body.labels?.addOrUpdateLabels ?? {}
      await options.labelNode({ ...Object.fromEntries(removed.map((label) => [label, null])), ...added })
      return store.change((state) => {
        group.scalingConfig = scalingConfig
        group.updateConfig = body.updateConfig ?? group.updateConfig
        group.nodeRepairConfig = { ...group.nodeRepairConfig, ...body.nodeRepairConfig }
        group.labels = Object.fromEntries(
          Object.entries({ ...group.labels, ...added }).filter(([label]) => !removed.includes(label)),
        )
        const isSame = (a: { key: string; effect: string }) => (b: { key: string; effect: string }) =>
          a.key === b.key && a.effect === b.effect
        const { addOrUpdateTaints = [], removeTaints = [] } = body.taints ?? {}
        group.taints = [
          ...group.taints.filter((taint) => ![...addOrUpdateTaints, ...removeTaints].some(isSame(taint))),
          ...addOrUpdateTaints,
        ]
        return { update: shown(beginUpdate(state, group, 'ConfigUpdate')) }
      })
    },
  )

  app.post(
    `${groups}/:group/update-version`,
    { schema: { params: GroupPath, body: UpdateNodegroupVersion } },
    async ({ params, body }) => {
      const group = findActive(params)
      if ((body.version ?? box.version) !== box.version) {
        throw new EksFailure(
          'InvalidParameterException',
          `unsupported Kubernetes version ${body.version}: the box runs ${box.version}`,
          { clusterName: params.name, nodegroupName: params.group },
        )
      }
      return store.change((state) => {
        group.releaseVersion = body.releaseVersion ?? group.releaseVersion
        if (body.launchTemplate !== undefined) group.launchTemplate = body.launchTemplate
        return { update: shown(beginUpdate(state, group, 'VersionUpdate')) }
      })
    },
  )

  app.delete(`${groups}/:group`, { schema: { params: GroupPath } }, async ({ params }) => {
    const group = findActive(params)
    const labels = [groupLabel, ...Object.keys(group.labels)]
    await options.labelNode(Object.fromEntries(labels.map((label) => [label, null])))
    return store.change(() => {
      group.status = 'DELETING'
      group.settlesAt = settlesAt()
      return { nodegroup: shown(group) }
    })
  })
}

function beginUpdate(state: Parameters<typeof addUpdate>[0], group: Nodegroup, type: string) {
  group.modifiedAt = now()
  group.status = 'UPDATING'
  group.settlesAt = settlesAt()
  return addUpdate(state, type, group.nodegroupName)
}
