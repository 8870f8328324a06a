import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import { createEntry, isSamePrincipal } from './access.ts'
import type { Api } from './api.ts'
import { EksException } from './exception.ts'
import {
  CreateNodegroup,
  type Nodegroup,
  Paging,
  UpdateNodegroupConfig,
  UpdateNodegroupVersion,
} from './model.ts'
import { FleetError } from './node-group-fleet.ts'
import { isRetry, now, page, type State, settlesAt, toResponse } from './store.ts'
import { beginUpdate, failUpdates, settleUpdates } from './updates.ts'

const Name = Type.Object({ name: Type.String() })
const GroupPath = Type.Object({ name: Type.String(), group: Type.String() })

/** Managed node groups. A change takes effect in the background, and completes when the group's nodes are ready. */
export function nodeGroups({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options
  const groups = '/clusters/:name/node-groups'

  /** Carries out the group's current transition. */
  const follow = async (group: Nodegroup): Promise<void> => {
    try {
      if (group.status === 'DELETING') await options.fleet.remove(group)
      else group.resources = { autoScalingGroups: [{ name: await options.fleet.converge(group) }] }
      store.change((state) => {
        group.health = { issues: [] }
        delete group.removed
        group.settlesAt = settlesAt()
        settleUpdates(state, group.nodegroupName)
      })
    } catch (error) {
      if (!(error instanceof FleetError)) throw error
      console.error(`node group ${group.nodegroupName}: ${error.message}`)
      store.change((state) => {
        group.health = { issues: [{ code: error.code, message: error.message, resourceIds: [] }] }
        group.status = group.status === 'CREATING' ? 'CREATE_FAILED' : 'DEGRADED'
        failUpdates(state, group.nodegroupName, error.code, error.message)
      })
    }
  }
  const followInBackground = (group: Nodegroup) => {
    follow(group).catch((error: unknown) => console.error(`node group ${group.nodegroupName}:`, error))
  }
  // Continues what a previous process had begun.
  for (const group of store.state.nodegroups) {
    const isInTransition = ['CREATING', 'UPDATING', 'DELETING'].includes(group.status)
    if (isInTransition && group.settlesAt === undefined) followInBackground(group)
  }

  const find = ({ name, group }: { name: string; group: string }): Nodegroup => {
    store.cluster(name)
    const found = store.state.nodegroups.find(({ nodegroupName }) => nodegroupName === group)
    if (found === undefined) {
      throw new EksException('ResourceNotFoundException', `No node group found for name: ${group}.`, {
        clusterName: name,
        nodegroupName: group,
      })
    }
    return found
  }
  const findSettled = (path: { name: string; group: string }): Nodegroup => {
    store.liveCluster(path.name)
    const group = find(path)
    if (!['ACTIVE', 'DEGRADED', 'CREATE_FAILED'].includes(group.status)) {
      throw new EksException('ResourceInUseException', `Nodegroup ${path.group} is ${group.status}`, {
        clusterName: path.name,
        nodegroupName: path.group,
      })
    }
    return group
  }
  const checkVersion = (
    version: string | undefined,
    details: { clusterName: string; nodegroupName: string },
  ) => {
    if (version === undefined || version === box.version) return
    throw new EksException(
      'InvalidParameterException',
      `unsupported Kubernetes version ${version}: the box runs ${box.version}`,
      details,
    )
  }
  const checkScaling = ({ minSize, maxSize, desiredSize }: Nodegroup['scalingConfig']) => {
    if (minSize <= desiredSize && desiredSize <= maxSize) return
    throw new EksException(
      'InvalidParameterException',
      `desired capacity ${desiredSize} must lie between minimum ${minSize} and maximum ${maxSize}`,
    )
  }

  app.post(groups, { schema: { params: Name, body: CreateNodegroup } }, async ({ params, body }) => {
    const cluster = store.liveCluster(params.name)
    const { nodegroupName } = body
    const details = { clusterName: cluster.name, nodegroupName }
    checkVersion(body.version, details)
    if (body.launchTemplate !== undefined && body.diskSize !== undefined) {
      throw new EksException(
        'InvalidParameterException',
        'Disk size must be specified within the launch template.',
        details,
      )
    }
    if (!(await options.principalExists(body.nodeRole))) {
      throw new EksException(
        'InvalidParameterException',
        `The role ${body.nodeRole} cannot be found.`,
        details,
      )
    }
    const subnets = await options.describeSubnets(body.subnets)
    const stray = subnets.find(({ vpcId }) => vpcId !== cluster.resourcesVpcConfig.vpcId)
    if (stray !== undefined) {
      throw new EksException(
        'InvalidParameterException',
        `The subnet ${stray.id} is not in the cluster's VPC ${cluster.resourcesVpcConfig.vpcId}`,
        details,
      )
    }
    const amiType = body.amiType ?? 'AL2023_x86_64_STANDARD'
    // The default of EKS. A launch template may set another type.
    const instanceTypes = body.instanceTypes ?? (body.launchTemplate === undefined ? ['t3.medium'] : [])
    const mismatch = instanceTypes.find(
      (type) => amiType !== 'CUSTOM' && isArm(type) !== /ARM_64/.test(amiType),
    )
    if (mismatch !== undefined) {
      throw new EksException(
        'InvalidParameterException',
        `[${mismatch}] is not a valid instance type for requested amiType ${amiType}`,
        details,
      )
    }
    // Last, because no request may create the group between this check and the change.
    const existing = store.state.nodegroups.find((other) => other.nodegroupName === nodegroupName)
    if (existing !== undefined && isRetry(existing, body)) return { nodegroup: toResponse(existing) }
    if (existing !== undefined) {
      throw new EksException(
        'ResourceInUseException',
        `NodeGroup already exists with name ${nodegroupName} and cluster name ${cluster.name}`,
        details,
      )
    }
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
      ...(instanceTypes.length === 0 ? {} : { instanceTypes }),
      subnets: body.subnets,
      amiType,
      nodeRole: body.nodeRole,
      labels: body.labels ?? {},
      taints: body.taints ?? [],
      // A launch template defines the disk itself.
      ...(body.launchTemplate === undefined ? { diskSize: body.diskSize ?? 20 } : {}),
      updateConfig: body.updateConfig ?? { maxUnavailable: 1 },
      nodeRepairConfig: { enabled: false, ...body.nodeRepairConfig },
      ...(body.launchTemplate === undefined ? {} : { launchTemplate: body.launchTemplate }),
      resources: { autoScalingGroups: [] },
      health: { issues: [] },
      tags: body.tags ?? {},
      status: 'CREATING',
      ...(body.clientRequestToken === undefined ? {} : { clientRequestToken: body.clientRequestToken }),
    }
    store.change((state) => {
      state.nodegroups.push(group)
      // As on EKS: nodes need an access entry for their role to join the cluster.
      if (!state.accessEntries.some(({ principalArn }) => isSamePrincipal(principalArn, body.nodeRole))) {
        state.accessEntries.push(createEntry(cluster, { principalArn: body.nodeRole, type: 'EC2_LINUX' }))
      }
    })
    followInBackground(group)
    return { nodegroup: toResponse(group) }
  })

  const List = Type.Object(Paging)
  app.get(groups, { schema: { params: Name, querystring: List } }, async ({ params, query }) => {
    store.cluster(params.name)
    const { items, nextToken } = page(
      store.state.nodegroups.map(({ nodegroupName }) => nodegroupName),
      query,
    )
    return { nodegroups: items, nextToken }
  })

  app.get(`${groups}/:group`, { schema: { params: GroupPath } }, async ({ params }) => ({
    nodegroup: toResponse(find(params)),
  }))

  app.post(
    `${groups}/:group/update-config`,
    { schema: { params: GroupPath, body: UpdateNodegroupConfig } },
    async ({ params, body }) => {
      const group = findSettled(params)
      const scalingConfig = { ...group.scalingConfig, ...body.scalingConfig }
      checkScaling(scalingConfig)
      const removed = body.labels?.removeLabels ?? []
      const added = body.labels?.addOrUpdateLabels ?? {}
      const labels = Object.fromEntries(
        Object.entries({ ...group.labels, ...added }).filter(([label]) => !removed.includes(label)),
      )
      const response = store.change((state) => {
        group.scalingConfig = scalingConfig
        group.updateConfig = body.updateConfig ?? group.updateConfig
        group.nodeRepairConfig = { ...group.nodeRepairConfig, ...body.nodeRepairConfig }
        group.labels = labels
        const isSame = (a: { key: string; effect: string }) => (b: { key: string; effect: string }) =>
          a.key === b.key && a.effect === b.effect
        const { addOrUpdateTaints = [], removeTaints = [] } = body.taints ?? {}
        group.removed = { labels: removed, taints: removeTaints }
        group.taints = [
          ...group.taints.filter((taint) => ![...addOrUpdateTaints, ...removeTaints].some(isSame(taint))),
          ...addOrUpdateTaints,
        ]
        return begin(state, group, 'ConfigUpdate', {
          MinSize: body.scalingConfig?.minSize,
          MaxSize: body.scalingConfig?.maxSize,
          DesiredSize: body.scalingConfig?.desiredSize,
          LabelsToAdd: body.labels?.addOrUpdateLabels,
          LabelsToRemove: body.labels?.removeLabels,
          TaintsToAdd: body.taints?.addOrUpdateTaints,
          TaintsToRemove: body.taints?.removeTaints,
          MaxUnavailable: body.updateConfig?.maxUnavailable,
          MaxUnavailablePercentage: body.updateConfig?.maxUnavailablePercentage,
          NodeRepairEnabled: body.nodeRepairConfig?.enabled,
        })
      })
      followInBackground(group)
      return response
    },
  )

  app.post(
    `${groups}/:group/update-version`,
    { schema: { params: GroupPath, body: UpdateNodegroupVersion } },
    async ({ params, body }) => {
      const group = findSettled(params)
      checkVersion(body.version, { clusterName: params.name, nodegroupName: params.group })
      const response = store.change((state) => {
        group.releaseVersion = body.releaseVersion ?? group.releaseVersion
        if (body.launchTemplate !== undefined) group.launchTemplate = body.launchTemplate
        // EC2 reports the time of a launch in seconds.
        group.nodesSince = Math.floor(now()) * 1000
        return begin(state, group, 'VersionUpdate', {
          Version: box.version,
          ReleaseVersion: group.releaseVersion,
          LaunchTemplateName: body.launchTemplate?.name,
          LaunchTemplateVersion: body.launchTemplate?.version,
        })
      })
      followInBackground(group)
      return response
    },
  )

  app.delete(`${groups}/:group`, { schema: { params: GroupPath } }, async ({ params }) => {
    const group = findSettled(params)
    const others = store.state.nodegroups.filter((other) => other !== group && other.status !== 'DELETING')
    store.change((state) => {
      if (!others.some(({ nodeRole }) => isSamePrincipal(nodeRole, group.nodeRole))) {
        state.accessEntries = state.accessEntries.filter(
          ({ type, principalArn }) => type !== 'EC2_LINUX' || !isSamePrincipal(principalArn, group.nodeRole),
        )
      }
      group.status = 'DELETING'
    })
    followInBackground(group)
    return { nodegroup: toResponse(group) }
  })
}

function begin(state: State, group: Nodegroup, type: string, params: Readonly<Record<string, unknown>>) {
  group.modifiedAt = now()
  group.status = 'UPDATING'
  return beginUpdate(state, type, params, group.nodegroupName)
}

/** Whether an instance type has Graviton processors: its family has a g after the generation, or is a1. */
function isArm(instanceType: string): boolean {
  return /^(a1|[a-z]+\d+[a-z]*g[a-z]*)\./.test(instanceType)
}
