import { randomUUID } from 'node:crypto'
import {
  CreateTagsCommand,
  DescribeLaunchTemplateVersionsCommand,
  type EC2Client,
  EC2ServiceException,
  type LaunchTemplateTagSpecification,
  type ResponseLaunchTemplateData,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  type Tag,
  type TagSpecification,
} from '@aws-sdk/client-ec2'
import { AwsError, escapeXml } from '../aws-error.ts'
import { type AwsRequest, type AwsResponse, parameterList } from '../request.ts'
import { xmlResponse } from '../xml.ts'
import { onDemandPrices, spotPrice } from './instance-catalogue.ts'

export interface FleetsOptions {
  /** Launches instances. Must not retry: another attempt may find another pool. */
  ec2: EC2Client
  /** Why this machine cannot run an instance of the type; undefined if it can. */
  unsuitable: (type: string) => Promise<string | undefined>
}

/** A launch template with one of its overrides: what EC2 calls a capacity pool. */
interface Pool {
  template: Template
  override: Override
}

interface Template {
  id: string
  name: string
  version: string
  data: ResponseLaunchTemplateData
}

/** As in the request, by its names there. */
type Override = Readonly<Record<string, string>>

interface LaunchError {
  code: string
  message: string
}

type Lifecycle = 'on-demand' | 'spot'

/**
 * Creates fleets of the type `instant`. The emulator's fleets take the first override at any price, and leave out the
 * security groups, the instance profile, the metadata options and the disks of the launch template.
 */
export class Fleets {
  readonly #options: FleetsOptions

  constructor(options: FleetsOptions) {
    this.#options = options
  }

  /**
   * Launches the instances of a fleet: each in the pool that the allocation strategy prefers, or in the next one when
   * that fails. Pools that failed are reported, even if others had room.
   *
   * @returns undefined for the other types of fleets.
   * @throws AwsError for a dry run or a launch template that does not exist.
   */
  async create(request: AwsRequest): Promise<AwsResponse | undefined> {
    const parameters = new URLSearchParams(request.body.toString())
    if (parameters.get('Type') !== 'instant') return undefined
    const target = (name: string) => parameters.get(`TargetCapacitySpecification.${name}`)
    const lifecycle: Lifecycle = target('DefaultTargetCapacityType') === 'spot' ? 'spot' : 'on-demand'
    const pools = await this.#pools(parameters)
    if (parameters.get('DryRun') === 'true') throw dryRun()
    pools.sort(byPreference(lifecycle, allocationStrategy(parameters, lifecycle)))
    const fleetId = `fleet-${randomUUID()}`
    const tags = tagSpecifications(parameters, fleetId)
    const launched = new Map<Pool, string[]>()
    const failed = new Map<Pool, LaunchError>()
    for (let count = 0; count < Number(target('TotalTargetCapacity')); count++) {
      for (const pool of pools) {
        if (failed.has(pool)) continue
        const result = await this.#launch(pool, lifecycle, tags)
        if (typeof result === 'string') {
          launched.set(pool, [...(launched.get(pool) ?? []), result])
          break
        }
        failed.set(pool, result)
      }
    }
    return createFleetResponse(fleetId, lifecycle, launched, failed)
  }

  async #pools(parameters: URLSearchParams): Promise<Pool[]> {
    const pools: Pool[] = []
    for (const config of parameterList(parameters, 'LaunchTemplateConfigs')) {
      const template = await this.#template(config)
      const overrides = parameterList(config, 'Overrides').map((override) => Object.fromEntries(override))
      for (const override of overrides.length === 0 ? [{}] : overrides) pools.push({ template, override })
    }
    return pools
  }

  async #template(config: URLSearchParams): Promise<Template> {
    const specification = (name: string) => config.get(`LaunchTemplateSpecification.${name}`) ?? undefined
    try {
      const { LaunchTemplateVersions = [] } = await this.#options.ec2.send(
        new DescribeLaunchTemplateVersionsCommand({
          LaunchTemplateId: specification('LaunchTemplateId'),
          LaunchTemplateName: specification('LaunchTemplateName'),
          Versions: [specification('Version') ?? '$Default'],
        }),
      )
      const [found] = LaunchTemplateVersions
      return {
        id: found?.LaunchTemplateId ?? '',
        name: found?.LaunchTemplateName ?? '',
        version: String(found?.VersionNumber ?? ''),
        data: found?.LaunchTemplateData ?? {},
      }
    } catch (error) {
      if (error instanceof EC2ServiceException && error.name.includes('NotFound')) {
        throw new AwsError('noLaunchTemplate', error.message)
      }
      throw error
    }
  }

  /** Launches an instance; returns its id, or why it failed. */
  async #launch(
    { template, override }: Pool,
    lifecycle: Lifecycle,
    tags: TagSpecification[],
  ): Promise<string | LaunchError> {
    const { ec2, unsuitable } = this.#options
    const type = override['InstanceType'] ?? template.data.InstanceType ?? ''
    const reason = await unsuitable(type)
    if (reason !== undefined) return { code: 'InsufficientInstanceCapacity', message: reason }
    const all = mergeTags(template.data.TagSpecifications ?? [], tags)
    try {
      const { Instances = [] } = await ec2.send(
        new RunInstancesCommand(instanceOf(template, override, lifecycle, all)),
      )
      const { InstanceId = '', NetworkInterfaces = [] } = Instances[0] ?? {}
      // The emulator does not tag network interfaces at launch.
      const networkTags = all.find(({ ResourceType }) => ResourceType === 'network-interface')?.Tags ?? []
      const interfaces = NetworkInterfaces.map(({ NetworkInterfaceId = '' }) => NetworkInterfaceId)
      if (networkTags.length > 0)
        await ec2.send(new CreateTagsCommand({ Resources: interfaces, Tags: networkTags }))
      return InstanceId
    } catch (error) {
      if (!(error instanceof EC2ServiceException)) throw error
      return { code: error.name, message: error.message }
    }
  }
}

function dryRun(): AwsError {
  return new AwsError('dryRun', 'Request would have succeeded, but DryRun flag is set.')
}

/** The defaults are those of EC2. */
function allocationStrategy(parameters: URLSearchParams, lifecycle: Lifecycle): string {
  return lifecycle === 'spot'
    ? (parameters.get('SpotOptions.AllocationStrategy') ?? 'lowest-price')
    : (parameters.get('OnDemandOptions.AllocationStrategy') ?? 'lowest-price')
}

/**
 * The order in which pools are tried. The box knows no difference in spare capacity between pools, so strategies that
 * consider it choose by price. Pools with the same rank keep the order of the request.
 */
function byPreference(lifecycle: Lifecycle, strategy: string): (a: Pool, b: Pool) => number {
  const rank = ({ template, override }: Pool): number => {
    if (/prioritized$/.test(strategy)) return Number(override['Priority'] ?? Infinity)
    const type = override['InstanceType'] ?? template.data.InstanceType ?? ''
    return (lifecycle === 'spot' ? spotPrice(type) : onDemandPrices.get(type)) ?? Number.MAX_VALUE
  }
  return (a, b) => {
    const [first, second] = [rank(a), rank(b)]
    return first === second ? 0 : first - second
  }
}

/** The tags of the request, and the one that EC2 adds to instances of a fleet. */
function tagSpecifications(parameters: URLSearchParams, fleetId: string): TagSpecification[] {
  const requested = parameterList(parameters, 'TagSpecification').map((specification) => ({
    ResourceType: (specification.get('ResourceType') ?? '') as NonNullable<TagSpecification['ResourceType']>,
    Tags: parameterList(specification, 'Tag').map((tag) => ({
      Key: tag.get('Key') ?? '',
      Value: tag.get('Value') ?? '',
    })),
  }))
  return mergeTags(requested, [
    { ResourceType: 'instance', Tags: [{ Key: 'aws:ec2:fleet-id', Value: fleetId }] },
  ])
}

/** Tags by type of resource; those of `over` override those of `base`. */
function mergeTags(
  base: readonly LaunchTemplateTagSpecification[],
  over: readonly TagSpecification[],
): TagSpecification[] {
  const merged = new Map<TagSpecification['ResourceType'], Map<string, Tag>>()
  for (const { ResourceType, Tags = [] } of [...base, ...over]) {
    const tags = merged.get(ResourceType) ?? new Map<string, Tag>()
    for (const tag of Tags) tags.set(tag.Key ?? '', tag)
    merged.set(ResourceType, tags)
  }
  return [...merged].map(([ResourceType, tags]) => ({ ResourceType, Tags: [...tags.values()] }))
}

/** The launch template with its override, in parameters that the emulator honours. */
function instanceOf(
  { id, version, data }: Template,
  override: Override,
  lifecycle: Lifecycle,
  tags: TagSpecification[],
): RunInstancesCommandInput {
  const [network] = data.NetworkInterfaces ?? []
  const { State: _state, ...metadata } = data.MetadataOptions ?? {}
  return {
    MinCount: 1,
    MaxCount: 1,
    LaunchTemplate: { LaunchTemplateId: id, Version: version },
    ImageId: override['ImageId'] ?? data.ImageId,
    InstanceType: (override['InstanceType'] ?? data.InstanceType) as RunInstancesCommandInput['InstanceType'],
    UserData: data.UserData,
    IamInstanceProfile: data.IamInstanceProfile,
    MetadataOptions: metadata,
    Monitoring: { Enabled: data.Monitoring?.Enabled ?? false },
    BlockDeviceMappings: data.BlockDeviceMappings,
    // AWS wants the groups in the network interface, but the emulator then reports the instance without groups.
    SecurityGroupIds: network?.Groups ?? data.SecurityGroupIds,
    NetworkInterfaces: [
      {
        DeviceIndex: 0,
        SubnetId: override['SubnetId'] ?? network?.SubnetId,
        AssociatePublicIpAddress: network?.AssociatePublicIpAddress,
      },
    ],
    ...(lifecycle === 'spot' ? { InstanceMarketOptions: { MarketType: 'spot' } } : {}),
    TagSpecifications: tags.filter(({ ResourceType }) => /^(instance|volume)$/.test(ResourceType ?? '')),
  }
}

function createFleetResponse(
  fleetId: string,
  lifecycle: Lifecycle,
  launched: ReadonlyMap<Pool, string[]>,
  failed: ReadonlyMap<Pool, LaunchError>,
): AwsResponse {
  const errors = [...failed].map(
    ([pool, { code, message }]) =>
      `<item>${describe(pool, lifecycle)}<errorCode>${escapeXml(code)}</errorCode>` +
      `<errorMessage>${escapeXml(message)}</errorMessage></item>`,
  )
  const instances = [...launched].map(
    ([pool, ids]) =>
      `<item>${describe(pool, lifecycle)}<instanceIds>${ids.map((id) => `<item>${id}</item>`).join('')}</instanceIds>` +
      `<instanceType>${escapeXml(pool.override['InstanceType'] ?? pool.template.data.InstanceType ?? '')}</instanceType></item>`,
  )
  return xmlResponse(
    'CreateFleet',
    `<fleetId>${fleetId}</fleetId><errorSet>${errors.join('')}</errorSet>` +
      `<fleetInstanceSet>${instances.join('')}</fleetInstanceSet>`,
  )
}

const describedOverrides = ['InstanceType', 'SubnetId', 'AvailabilityZone', 'ImageId', 'Priority'] as const

function describe({ template, override }: Pool, lifecycle: Lifecycle): string {
  const overrides = describedOverrides.map((name) => {
    const value = override[name]
    const element = `${name.charAt(0).toLowerCase()}${name.slice(1)}`
    return value === undefined ? '' : `<${element}>${escapeXml(value)}</${element}>`
  })
  return (
    `<launchTemplateAndOverrides><launchTemplateSpecification><launchTemplateId>${template.id}</launchTemplateId>` +
    `<version>${template.version}</version></launchTemplateSpecification>` +
    `<overrides>${overrides.join('')}</overrides></launchTemplateAndOverrides><lifecycle>${lifecycle}</lifecycle>`
  )
}
