import {
  AutoScalingClient,
  CreateAutoScalingGroupCommand,
  DeleteAutoScalingGroupCommand,
  DescribeAutoScalingGroupsCommand,
  TerminateInstanceInAutoScalingGroupCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import {
  CreateLaunchTemplateCommand,
  DeleteLaunchTemplateCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand,
  EC2Client,
  type _InstanceType as InstanceTypeName,
  type RequestLaunchTemplateData,
} from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  DeleteInstanceProfileCommand,
  IAMClient,
  RemoveRoleFromInstanceProfileCommand,
} from '@aws-sdk/client-iam'
import type { AccessKey } from 'shared/box'
import { stringify } from 'yaml'
import type { Nodegroup } from '../eks-api/model.ts'
import { FleetError, type NodeGroupFleet } from '../eks-api/node-group-fleet.ts'
import type { Capacity } from './capacity.ts'

/** Pause between two looks at a group, in milliseconds. */
const interval = 1000

/** A node, as its Node object reports it. */
export interface NodeState {
  name: string
  instanceId: string
  isReady: boolean
  taints: { key: string; effect: string }[]
}

export interface NodeGroupInstancesOptions {
  endpoint: string
  region: string
  credentials: AccessKey
  cluster: { name: string; endpoint: string; certificateAuthority: string; serviceCidr: string }
  capacity: Capacity
  /** From the launch of a group's last instance until its node is ready, in milliseconds. */
  readyTimeout: number
  /** Runs kubectl as administrator and returns its output. */
  kubectl: (...args: string[]) => Promise<string>
}

/** Labels of every node of a managed node group on EKS. */
const groupLabel = 'eks.amazonaws.com/nodegroup'
const capacityLabel = 'eks.amazonaws.com/capacityType'

/**
 * The instances of managed node groups: for each group, EKS creates a launch template, an instance profile and an Auto
 * Scaling group in the account.
 */
export class NodeGroupInstances implements NodeGroupFleet {
  readonly #options: NodeGroupInstancesOptions
  readonly #autoScaling: AutoScalingClient
  readonly #ec2: EC2Client
  readonly #iam: IAMClient

  constructor(options: NodeGroupInstancesOptions) {
    this.#options = options
    const { endpoint, region, credentials } = options
    this.#autoScaling = new AutoScalingClient({ endpoint, region, credentials })
    this.#ec2 = new EC2Client({ endpoint, region, credentials })
    this.#iam = new IAMClient({ endpoint, region, credentials })
  }

  async converge(group: Nodegroup): Promise<string> {
    let deadline = Date.now() + this.#options.readyTimeout
    let isTemplateCurrent = false
    let cause = 'no node has joined'
    while (true) {
      try {
        if (!isTemplateCurrent) await this.#updateTemplate(group)
        isTemplateCurrent = true
        const launched = await this.#scale(group)
        if (launched) deadline = Date.now() + this.#options.readyTimeout
        const unready = await this.#unready(group)
        if (!launched && unready.length === 0) {
          await this.#label(group)
          return nameOf(group)
        }
        cause = `instances that have not joined as ready nodes: ${unready.join(', ')}`
      } catch (error) {
        if (error instanceof FleetError) throw error
        // The emulator or the API server may be restarting.
        cause = error instanceof Error ? error.message : String(error)
      }
      if (Date.now() > deadline) throw new FleetError('NodeCreationFailure', cause)
      await pause()
    }
  }

  async remove(group: Nodegroup): Promise<void> {
    while (true) {
      try {
        await this.#removeOnce(group)
        if ((await this.#nodes(group)).length === 0) return
      } catch (error) {
        console.error(`node group ${group.nodegroupName}:`, error instanceof Error ? error.message : error)
      }
      await pause()
    }
  }

  /** Gives the group's future instances its present settings. */
  async #updateTemplate(group: Nodegroup): Promise<void> {
    if ((await this.#instances(group)) === undefined) return
    const LaunchTemplateName = nameOf(group)
    const { LaunchTemplateVersions = [] } = await this.#ec2.send(
      new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateName, Versions: ['$Latest'] }),
    )
    const [current] = LaunchTemplateVersions
    const LaunchTemplateData = await this.#launchTemplate(group)
    const isOutdated = (current?.CreateTime?.getTime() ?? 0) < (group.nodesSince ?? 0)
    if (!isOutdated && current?.LaunchTemplateData?.UserData === LaunchTemplateData.UserData) return
    // The emulator cannot launch instances from a second version that has user data.
    await this.#ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateName }))
    await this.#ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName, LaunchTemplateData }))
    await this.#autoScaling.send(
      new UpdateAutoScalingGroupCommand({
        AutoScalingGroupName: LaunchTemplateName,
        LaunchTemplate: { LaunchTemplateName, Version: '$Latest' },
      }),
    )
  }

  /**
   * Launches or terminates one instance if the group needs it; returns whether it did. A version update launches a new
   * instance before it drains an old one.
   */
  async #scale(group: Nodegroup): Promise<boolean> {
    const AutoScalingGroupName = nameOf(group)
    const { minSize, maxSize, desiredSize } = group.scalingConfig
    const instances = (await this.#instances(group)) ?? (await this.#create(group))
    const [outdated] = instances.filter(({ launchedAt }) => launchedAt < (group.nodesSince ?? 0))
    const wanted = outdated === undefined ? desiredSize : desiredSize + 1
    const sizes = { AutoScalingGroupName, MinSize: minSize, MaxSize: Math.max(maxSize, wanted) }
    if (instances.length < wanted) {
      await this.#requireCapacity()
      await this.#autoScaling.send(
        new UpdateAutoScalingGroupCommand({
          ...sizes,
          DesiredCapacity: instances.length + 1,
          // The emulator launches every instance in the first subnet.
          VPCZoneIdentifier: leastUsedFirst(
            group.subnets,
            instances.map(({ subnet }) => subnet),
          ).join(','),
        }),
      )
      return true
    }
    await this.#autoScaling.send(new UpdateAutoScalingGroupCommand(sizes))
    const surplus = outdated ?? instances.at(desiredSize)
    if (surplus === undefined) return false
    if (outdated !== undefined && (await this.#unready(group)).length > 0) return false
    await this.#drain(group, drainSeconds.scaleIn, surplus.id)
    await this.#autoScaling.send(
      new TerminateInstanceInAutoScalingGroupCommand({
        InstanceId: surplus.id,
        ShouldDecrementDesiredCapacity: true,
      }),
    )
    return true
  }

  /** The group's instances; undefined when its Auto Scaling group does not exist. */
  async #instances(group: Nodegroup) {
    const { AutoScalingGroups = [] } = await this.#autoScaling.send(
      new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [nameOf(group)] }),
    )
    const [found] = AutoScalingGroups
    if (found === undefined) return undefined
    const ids = (found.Instances ?? []).map(({ InstanceId = '' }) => InstanceId)
    if (ids.length === 0) return []
    const { Reservations = [] } = await this.#ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }))
    return Reservations.flatMap(({ Instances = [] }) => Instances)
      .map(({ InstanceId = '', SubnetId = '', LaunchTime }) => ({
        id: InstanceId,
        subnet: SubnetId,
        launchedAt: LaunchTime?.getTime() ?? 0,
      }))
      .sort((a, b) => a.launchedAt - b.launchedAt)
  }

  async #create(group: Nodegroup): Promise<[]> {
    const name = nameOf(group)
    const { cluster } = this.#options
    await ignoring('EntityAlreadyExists', () =>
      this.#iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name })),
    )
    await ignoring('LimitExceeded', () =>
      this.#iam.send(
        new AddRoleToInstanceProfileCommand({
          InstanceProfileName: name,
          RoleName: group.nodeRole.split('/').at(-1),
        }),
      ),
    )
    const LaunchTemplateData = await this.#launchTemplate(group)
    await ignoring('InvalidLaunchTemplateName.AlreadyExistsException', () =>
      this.#ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: name, LaunchTemplateData })),
    )
    await ignoring('AlreadyExists', () =>
      this.#autoScaling.send(
        new CreateAutoScalingGroupCommand({
          AutoScalingGroupName: name,
          LaunchTemplate: { LaunchTemplateName: name, Version: '$Latest' },
          MinSize: 0,
          DesiredCapacity: 0,
          MaxSize: group.scalingConfig.maxSize,
          VPCZoneIdentifier: group.subnets.join(','),
          Tags: Object.entries({
            'eks:cluster-name': cluster.name,
            'eks:nodegroup-name': group.nodegroupName,
            [`kubernetes.io/cluster/${cluster.name}`]: 'owned',
          }).map(([Key, Value]) => ({ Key, Value, PropagateAtLaunch: true })),
        }),
      ),
    )
    return []
  }

  /** The user's launch template, completed as EKS does. */
  async #launchTemplate(group: Nodegroup): Promise<RequestLaunchTemplateData> {
    const { launchTemplate } = group
    let data: RequestLaunchTemplateData = {}
    if (launchTemplate !== undefined) {
      const { LaunchTemplateVersions = [] } = await this.#ec2.send(
        new DescribeLaunchTemplateVersionsCommand({
          LaunchTemplateId: launchTemplate.id,
          LaunchTemplateName: launchTemplate.id === undefined ? launchTemplate.name : undefined,
          Versions: [launchTemplate.version ?? '$Default'],
        }),
      )
      data = (LaunchTemplateVersions[0]?.LaunchTemplateData ?? {}) as RequestLaunchTemplateData
    }
    const [type = data.InstanceType ?? 't3.medium'] = group.instanceTypes ?? []
    return {
      ...data,
      InstanceType: type as InstanceTypeName,
      ImageId: data.ImageId ?? (await this.#image(group)),
      UserData: Buffer.from(
        mergeUserData(
          Buffer.from(data.UserData ?? '', 'base64').toString(),
          nodeConfig(group, this.#options.cluster),
        ),
      ).toString('base64'),
    }
  }

  /** The newest image of Amazon Linux 2023 for the group's architecture; it only has to exist. */
  async #image({ amiType }: Nodegroup): Promise<string> {
    const architecture = /ARM_64/.test(amiType) ? 'arm64' : 'x86_64'
    const { Images = [] } = await this.#ec2.send(
      new DescribeImagesCommand({
        Owners: ['amazon'],
        Filters: [
          { Name: 'name', Values: ['al2023-ami-*'] },
          { Name: 'architecture', Values: [architecture] },
        ],
      }),
    )
    const [image] = Images.sort((a, b) => (b.CreationDate ?? '').localeCompare(a.CreationDate ?? ''))
    if (image?.ImageId === undefined)
      throw new Error(`EC2 has no image of Amazon Linux 2023 for ${architecture}`)
    return image.ImageId
  }

  /** @throws FleetError when this machine has no room for another node. */
  async #requireCapacity(): Promise<void> {
    const shortage = await this.#options.capacity.shortage(1)
    if (shortage === undefined) return
    throw new FleetError(
      'AsgInstanceLaunchFailures',
      `Could not launch On-Demand Instances. InsufficientInstanceCapacity - ${shortage}. Launching EC2 instance failed.`,
    )
  }

  /** The instances of a group that are not ready nodes. */
  async #unready(group: Nodegroup): Promise<string[]> {
    const ready = new Set(
      (await this.#nodes(group)).filter(({ isReady }) => isReady).map(({ instanceId }) => instanceId),
    )
    const instances = (await this.#instances(group)) ?? []
    return instances.map(({ id }) => id).filter((id) => !ready.has(id))
  }

  async #nodes(group: Nodegroup): Promise<NodeState[]> {
    const selector = `${groupLabel}=${group.nodegroupName}`
    const output = await this.#options.kubectl('get', 'nodes', '--selector', selector, '--output=json')
    const { items } = JSON.parse(output) as {
      items: {
        metadata: { name: string }
        spec: { providerID?: string; taints?: NodeState['taints'] }
        status: { conditions?: { type: string; status: string }[] }
      }[]
    }
    return items.map(({ metadata, spec, status }) => ({
      name: metadata.name,
      instanceId: spec.providerID?.split('/').at(-1) ?? '',
      isReady: status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false,
      taints: spec.taints ?? [],
    }))
  }

  /** Sets the labels and taints of the group on its nodes, because an update does not replace them. */
  async #label(group: Nodegroup): Promise<void> {
    const { kubectl } = this.#options
    const { labels: removedLabels = [], taints: removedTaints = [] } = group.removed ?? {}
    for (const node of await this.#nodes(group)) {
      const labels = [
        ...Object.entries(group.labels).map(([key, value]) => `${key}=${value}`),
        ...removedLabels.map((key) => `${key}-`),
      ]
      if (labels.length > 0) await kubectl('label', '--overwrite', `node/${node.name}`, ...labels)
      const taints = [
        ...group.taints.map(taintOf),
        // kubectl refuses to remove a taint that the node does not have.
        ...removedTaints
          .filter(({ key, effect }) =>
            node.taints.some((taint) => taint.key === key && taint.effect === effects[effect]),
          )
          .map(({ key, effect }) => `${key}:${effects[effect]}-`),
      ]
      if (taints.length > 0) await kubectl('taint', '--overwrite', 'node', node.name, ...taints)
    }
  }

  /**
   * Drains the group's nodes, or the node of one instance. A pod that a disruption budget protects for longer than
   * `seconds` ends with its node.
   */
  async #drain(group: Nodegroup, seconds: number, instanceId?: string): Promise<void> {
    const nodes = (await this.#nodes(group)).filter(
      (node) => instanceId === undefined || node.instanceId === instanceId,
    )
    if (nodes.length === 0) return
    await this.#options
      .kubectl(
        'drain',
        ...nodes.map(({ name }) => name),
        ...['--ignore-daemonsets', '--delete-emptydir-data', '--force', `--timeout=${seconds}s`],
      )
      .catch((error: unknown) => console.error(error instanceof Error ? error.message : error))
  }

  async #removeOnce(group: Nodegroup): Promise<void> {
    const name = nameOf(group)
    if ((await this.#instances(group)) !== undefined) {
      await this.#drain(group, drainSeconds.removal)
      await this.#autoScaling.send(
        new DeleteAutoScalingGroupCommand({ AutoScalingGroupName: name, ForceDelete: true }),
      )
    }
    const { LaunchTemplates = [] } = await this.#ec2.send(
      new DescribeLaunchTemplatesCommand({ Filters: [{ Name: 'launch-template-name', Values: [name] }] }),
    )
    for (const { LaunchTemplateId } of LaunchTemplates) {
      await this.#ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId }))
    }
    await ignoring('NoSuchEntity', () =>
      this.#iam.send(
        new RemoveRoleFromInstanceProfileCommand({
          InstanceProfileName: name,
          RoleName: group.nodeRole.split('/').at(-1),
        }),
      ),
    )
    await ignoring('NoSuchEntity', () =>
      this.#iam.send(new DeleteInstanceProfileCommand({ InstanceProfileName: name })),
    )
  }
}

/**
 * How long nodes are drained before their instances are terminated. EKS waits for five minutes (EKS user guide, "delete
 * a managed node group"). When a group is removed, evicted pods have no other node, so disruption budgets would make
 * each removal take all of that time.
 */
const drainSeconds = { scaleIn: 300, removal: 30 }

/** EKS's name of what it creates for a group. */
function nameOf({ nodegroupArn }: Nodegroup): string {
  return `eks-${nodegroupArn.split('/').at(-1)}`
}

/** The effects of taints, as EKS and as Kubernetes name them. */
const effects: Readonly<Record<string, string>> = {
  NO_SCHEDULE: 'NoSchedule',
  NO_EXECUTE: 'NoExecute',
  PREFER_NO_SCHEDULE: 'PreferNoSchedule',
}

function taintOf({ key, value, effect }: Nodegroup['taints'][number]): string {
  return `${key}=${value ?? ''}:${effects[effect]}`
}

/** The NodeConfig that EKS adds to a group's user data (nodeadm, node.eks.aws/v1alpha1). */
export function nodeConfig(group: Nodegroup, cluster: NodeGroupInstancesOptions['cluster']): string {
  const labels = { ...group.labels, [groupLabel]: group.nodegroupName, [capacityLabel]: group.capacityType }
  const flags = [
    `--node-labels=${Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(',')}`,
    ...(group.taints.length === 0 ? [] : [`--register-with-taints=${group.taints.map(taintOf).join(',')}`]),
  ]
  return stringify({
    apiVersion: 'node.eks.aws/v1alpha1',
    kind: 'NodeConfig',
    spec: {
      cluster: {
        name: cluster.name,
        apiServerEndpoint: cluster.endpoint,
        certificateAuthority: cluster.certificateAuthority,
        cidr: cluster.serviceCidr,
      },
      kubelet: { flags },
    },
  })
}

/** Adds a NodeConfig to the user data of a launch template, which is empty or a multi-part document. */
export function mergeUserData(userData: string, config: string): string {
  const boundary = /boundary="?([^"\r\n]+)"?/.exec(userData)?.[1] ?? 'EKS'
  const parts = userData
    .replaceAll('\r\n', '\n')
    .split(`\n--${boundary}`)
    .slice(1)
    .filter((part) => !part.startsWith('--'))
  const own = `\nContent-Type: application/node.eks.aws\n\n${config}`
  return [
    `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="${boundary}"\n`,
    ...[...parts, own].map((part) => `\n--${boundary}${part.startsWith('\n') ? part : `\n${part}`}`),
    `\n--${boundary}--\n`,
  ].join('')
}

/** The subnets in the order of their use by existing instances. */
function leastUsedFirst(subnets: readonly string[], used: readonly string[]): string[] {
  const uses = (subnet: string) => used.filter((one) => one === subnet).length
  return [...subnets].sort((a, b) => uses(a) - uses(b))
}

/** Runs an action that may already have been done: ignores the error with this name. */
async function ignoring(name: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action()
  } catch (error) {
    const names = error instanceof Error ? [error.name, 'Code' in error ? error.Code : undefined] : []
    if (!names.some((one) => String(one).startsWith(name))) throw error
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, interval))
}
