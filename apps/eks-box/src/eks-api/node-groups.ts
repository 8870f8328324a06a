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
import { isRetry, now, page, type State, settlesAt, toResponse } from './store.ts'
import { beginUpdate } from './updates.ts'

const Name = Type.Object({ name: Type.String() })
const GroupPath = Type.Object({ name: Type.String(), group: Type.String() })

/** Labels of every node of a managed node group on EKS. */
const groupLabel = 'eks.amazonaws.com/nodegroup'
const capacityLabel = 'eks.amazonaws.com/capacityType'

/** Managed node groups. The box has only one node, which has the labels of the newest group. */
export function nodeGroups({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options
  const groups = '/clusters/:name/node-groups'
  // Changes read the groups, label the node and only then write the groups, so they must not run concurrently.
  const serialise = queue()

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
  const findActive = (path: { name: string; group: string }): Nodegroup => {
    store.liveCluster(path.name)
    const group = find(path)
    if (group.status !== 'ACTIVE') {
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
  /** Replaces the node's labels of the previously newest group with those of the newest of `groups`. */
  const label = async (groups: readonly Nodegroup[]) => {
    const previous = labelsOf(store.state.nodegroups)
    const removed = Object.fromEntries(Object.keys(previous).map((name) => [name, null]))
    await options.labelNode({ ...removed, ...labelsOf(groups) })
  }
  const checkScaling = ({ minSize, maxSize, desiredSize }: Nodegroup['scalingConfig']) => {
    if (minSize <= desiredSize && desiredSize <= maxSize) return
    throw new EksException(
      'InvalidParameterException',
      `desired capacity ${desiredSize} must lie between minimum ${minSize} and maximum ${maxSize}`,
    )
  }

  app.post(groups, { schema: { params: Name, body: CreateNodegroup } }, async ({ params, body }) =>
    serialise(async () => {
      const cluster = store.liveCluster(params.name)
      const { nodegroupName } = body
      const details = { clusterName: cluster.name, nodegroupName }
      const existing = store.state.nodegroups.find((other) => other.nodegroupName === nodegroupName)
      if (existing !== undefined && isRetry(existing, body)) return { nodegroup: toResponse(existing) }
      if (existing !== undefined) {
        throw new EksException(
          'ResourceInUseException',
          `NodeGroup already exists with name ${nodegroupName} and cluster name ${cluster.name}`,
          details,
        )
      }
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
        settlesAt: settlesAt(),
        ...(body.clientRequestToken === undefined ? {} : { clientRequestToken: body.clientRequestToken }),
      }
      await label([...store.state.nodegroups, group])
      return store.change((state) => {
        state.nodegroups.push(group)
        // As on EKS: nodes need an access entry for their role to join the cluster.
        if (!state.accessEntries.some(({ principalArn }) => isSamePrincipal(principalArn, body.nodeRole))) {
          state.accessEntries.push(createEntry(cluster, { principalArn: body.nodeRole, type: 'EC2_LINUX' }))
        }
        return { nodegroup: toResponse(group) }
      })
    }),
  )

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
    async ({ params, body }) =>
      serialise(async () => {
        const group = findActive(params)
        const scalingConfig = { ...group.scalingConfig, ...body.scalingConfig }
        checkScaling(scalingConfig)
        const removed = body.labels?.removeLabels ?? []
        const added = body.labels?.addOrUpdateLabels ?? {}
        const labels = Object.fromEntries(
          Object.entries({ ...group.labels, ...added }).filter(([label]) => !removed.includes(label)),
        )
        await label(store.state.nodegroups.map((other) => (other === group ? { ...group, labels } : other)))
        return store.change((state) => {
          group.scalingConfig = scalingConfig
          group.updateConfig = body.updateConfig ?? group.updateConfig
          group.nodeRepairConfig = { ...group.nodeRepairConfig, ...body.nodeRepairConfig }
          group.labels = labels
          const isSame = (a: { key: string; effect: string }) => (b: { key: string; effect: string }) =>
            a.key === b.key && a.effect === b.effect
          const { addOrUpdateTaints = [], removeTaints = [] } = body.taints ?? {}
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
      }),
  )

  app.post(
    `${groups}/:group/update-version`,
    { schema: { params: GroupPath, body: UpdateNodegroupVersion } },
    async ({ params, body }) => {
      const group = findActive(params)
      checkVersion(body.version, { clusterName: params.name, nodegroupName: params.group })
      return store.change((state) => {
        group.releaseVersion = body.releaseVersion ?? group.releaseVersion
        if (body.launchTemplate !== undefined) group.launchTemplate = body.launchTemplate
        return begin(state, group, 'VersionUpdate', {
          Version: box.version,
          ReleaseVersion: group.releaseVersion,
          LaunchTemplateName: body.launchTemplate?.name,
          LaunchTemplateVersion: body.launchTemplate?.version,
        })
      })
    },
  )

  app.delete(`${groups}/:group`, { schema: { params: GroupPath } }, async ({ params }) =>
    serialise(async () => {
      const group = findActive(params)
      const others = store.state.nodegroups.filter((other) => other !== group && other.status !== 'DELETING')
      await label(others)
      return store.change((state) => {
        if (!others.some(({ nodeRole }) => isSamePrincipal(nodeRole, group.nodeRole))) {
          state.accessEntries = state.accessEntries.filter(
            ({ type, principalArn }) =>
              type !== 'EC2_LINUX' || !isSamePrincipal(principalArn, group.nodeRole),
          )
        }
        group.status = 'DELETING'
        group.settlesAt = settlesAt()
        return { nodegroup: toResponse(group) }
      })
    }),
  )
}

/** Returns a function that runs actions one at a time, in the order of its calls. */
function queue() {
  let last: Promise<unknown> = Promise.resolve()
  return <Result>(action: () => Promise<Result>): Promise<Result> => {
    const result = last.then(action)
    last = result.catch(() => {})
    return result
  }
}

function begin(state: State, group: Nodegroup, type: string, params: Readonly<Record<string, unknown>>) {
  group.modifiedAt = now()
  group.status = 'UPDATING'
  group.settlesAt = settlesAt()
  return beginUpdate(state, type, params, group.nodegroupName)
}

/** The labels that nodes of the newest of these groups have. */
function labelsOf(groups: readonly Nodegroup[]): Record<string, string> {
  const newest = groups.filter(({ status }) => status !== 'DELETING').at(-1)
  if (newest === undefined) return {}
  return { ...newest.labels, [groupLabel]: newest.nodegroupName, [capacityLabel]: newest.capacityType }
}

/** Whether an instance type has Graviton processors: its family has a g after the generation, or is a1. */
function isArm(instanceType: string): boolean {
  return /^(a1|[a-z]+\d+[a-z]*g[a-z]*)\./.test(instanceType)
}
