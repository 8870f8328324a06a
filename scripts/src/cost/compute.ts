/** The cost of the cluster, its nodes, the NAT instance and the images. */
import { ActionableError } from 'shared/errors'
import { type CostLine, line } from './bill.ts'
import { moduleOf, type PlannedResource, required } from './plan.ts'
import { type Context, gp3Only, priceOf } from './pricing-rule.ts'
import { whileAwake } from './sleep.ts'

/** Default root volume of the AL2023 image, which Karpenter's nodes use too. */
export const DEFAULT_ROOT_GIB = 20

/** A cluster, whose price rises when the standard support of its version ends. */
export function controlPlane(cluster: PlannedResource, { prices, day }: Context): CostLine[] {
  const version = required(cluster.values['version'] as string | undefined, cluster, 'the Kubernetes version')
  const end = prices.standardSupportEnds[version]
  if (end === undefined) {
    throw new ActionableError(
      `prices.json does not say when standard support of Kubernetes ${version} ends`,
      'add the date from the EKS release calendar to standardSupportEnds in shared/src/prices.json',
    )
  }
  const [policy] = (cluster.values['upgrade_policy'] ?? []) as { support_type?: string }[]
  // With STANDARD, EKS upgrades the cluster at the end of standard support instead of charging for extended support.
  return day > end && policy?.support_type !== 'STANDARD'
    ? [line(`EKS control plane ${version}, extended support`, 1, prices.prices.eksExtendedSupport)]
    : [line(`EKS control plane ${version}, standard support to ${end}`, 1, prices.prices.eksStandardSupport)]
}

interface NodeGroupValues {
  capacity_type?: string
  instance_types?: string[]
  scaling_config?: { desired_size?: number }[]
}

/** The nodes of a node group and their volumes. */
export function nodeGroup(group: PlannedResource, context: Context): CostLine[] {
  const { capacity_type, instance_types, scaling_config } = group.values as NodeGroupValues
  if (capacity_type !== 'ON_DEMAND') {
    throw new ActionableError(
      `${group.address} is not on demand, and spot prices change all the time`,
      'plan it with capacity_type ON_DEMAND to get an upper bound',
    )
  }
  const type = required(instance_types?.[0], group, 'the instance type')
  const nodes = required(scaling_config?.[0]?.desired_size, group, 'the desired size')
  const { prices } = context
  const size = nodes * rootGib(group, context)
  return [
    line(`nodes, ${type} on demand`, nodes, priceOf('instances', type, prices)),
    line('root volumes of the nodes, gp3', size, prices.prices.gp3),
  ].map((entry) => whileAwake(entry, 'system-nodes', context))
}

interface BlockDevice {
  ebs?: { volume_size?: number; volume_type?: string }[]
}

/** Total size of a node's volumes, from the launch template in the same module with the same key. */
function rootGib(group: PlannedResource, { resources }: Context): number {
  const home = moduleOf(group)
  const template = resources.find(
    (other) =>
      other.type === 'aws_launch_template' && moduleOf(other) === home && other.index === group.index,
  )
  const devices = (template?.values['block_device_mappings'] ?? []) as BlockDevice[]
  if (template === undefined || devices.length === 0) return DEFAULT_ROOT_GIB
  return devices
    .flatMap(({ ebs = [] }) => ebs)
    .reduce((total, { volume_size, volume_type }) => {
      gp3Only(template, volume_type)
      return total + required(volume_size, template, 'the size of a volume')
    }, 0)
}

/** An instance that is no node, such as NAT, and its volume. */
export function instance(resource: PlannedResource, { prices }: Context): CostLine[] {
  const { address, values } = resource
  const type = required(values['instance_type'] as string | undefined, resource, 'the instance type')
  const [root] = (values['root_block_device'] ?? []) as { volume_size?: number; volume_type?: string }[]
  const gib = required(root?.volume_size, resource, 'the size of the root volume')
  return [
    line(`${address}, ${type} on demand`, 1, priceOf('instances', type, prices)),
    line(`root volume of ${address}, ${gp3Only(resource, root?.volume_type)}`, gib, prices.prices.gp3),
  ]
}

/** The service's image: 54 MB compressed (docs/deploy.md), for two platforms. */
const IMAGE_GB = 2 * 0.054

interface LifecyclePolicy {
  rules: { selection: { tagStatus: string; countType: string; countNumber: number } }[]
}

/** The images that a repository keeps. */
export function images(repository: PlannedResource, { resources, prices }: Context): CostLine[] {
  const policy = resources.find(
    ({ type, values }) =>
      type === 'aws_ecr_lifecycle_policy' && values['repository'] === repository.values['name'],
  )
  const json = required(
    policy?.values['policy'] as string | undefined,
    repository,
    'the number of images to keep',
  )
  const kept = (JSON.parse(json) as LifecyclePolicy).rules.find(
    ({ selection }) => selection.tagStatus === 'tagged' && selection.countType === 'imageCountMoreThan',
  )?.selection.countNumber
  const count = required(kept, repository, 'the number of tagged images to keep')
  return [
    line(
      `ECR, ${count} images`,
      count * IMAGE_GB,
      prices.prices.ecrStored,
      `${IMAGE_GB * 1000} MB per image for its two platforms, without shared layers`,
    ),
  ]
}
