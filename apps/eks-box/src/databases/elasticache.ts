import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ACCOUNT, REGION } from 'shared/box'
import { AwsError, escapeXml } from '../aws/aws-error.ts'
import { type AwsRequest, type AwsResponse, operation } from '../aws/request.ts'
import { type Cache, tokenHash } from './cache-server.ts'

interface SubnetGroup {
  name: string
  description: string
  subnetIds: string[]
  tags: Record<string, string>
}

interface ReplicationGroup {
  id: string
  description: string
  nodeType: string
  engine: string
  engineVersion: string
  parameterGroup: string
  subnetGroup: string
  securityGroupIds: string[]
  port: number
  nodes: number
  automaticFailover: boolean
  multiAz: boolean
  atRestEncryption: boolean
  transitEncryption: boolean
  transitEncryptionMode: string
  autoMinorVersionUpgrade: boolean
  maintenanceWindow: string
  snapshotWindow: string
  snapshotRetention: number
  createdAt: string
  /** SHA-256 of the tokens, the newest first. */
  tokens: string[]
  tokenRequired: boolean
  tokenModifiedAt?: string
  tags: Record<string, string>
}

interface State {
  subnetGroups: SubnetGroup[]
  /** At most one, because the box has one cache server. */
  replicationGroup?: ReplicationGroup
}

export interface ElastiCacheOptions {
  /** File with the state. */
  file: string
  describeSubnets: (ids: readonly string[]) => Promise<{ id: string; vpcId: string; zone: string }[]>
  /** Makes the server the replication group, or, without one, empties it. */
  apply: (cache: (Cache & { subnetId: string }) | undefined) => Promise<void>
}

/** Part of every endpoint, in place of the random part that AWS chooses for an account. */
const ENDPOINT_DOMAIN = 'box000.euc1.cache.amazonaws.com'

const defaults = { maintenanceWindow: 'sun:23:00-mon:01:30', snapshotWindow: '03:00-04:00' }

/** The only operations that the box supports: what Terraform's resources, and a change of the token, need. */
const operations: Readonly<Record<string, (api: ElastiCache, input: URLSearchParams) => Promise<string>>> = {
  CreateCacheSubnetGroup: (api, input) => api.createSubnetGroup(input),
  ModifyCacheSubnetGroup: (api, input) => api.modifySubnetGroup(input),
  DescribeCacheSubnetGroups: (api, input) => api.describeSubnetGroups(input),
  DeleteCacheSubnetGroup: (api, input) => api.deleteSubnetGroup(input),
  CreateReplicationGroup: (api, input) => api.createReplicationGroup(input),
  ModifyReplicationGroup: (api, input) => api.modifyReplicationGroup(input),
  DescribeReplicationGroups: (api, input) => api.describeReplicationGroups(input),
  DeleteReplicationGroup: (api, input) => api.deleteReplicationGroup(input),
  DescribeCacheClusters: (api, input) => api.describeCacheClusters(input),
  ListTagsForResource: (api, input) => api.listTags(input),
  AddTagsToResource: (api, input) => api.addTags(input),
  RemoveTagsFromResource: (api, input) => api.removeTags(input),
}

/**
 * ElastiCache, for one replication group without shards, which is the box's cache server. Every change is complete when
 * the response is sent. The emulator's ElastiCache lacks tokens, nodes and changes.
 */
export class ElastiCache {
  readonly #options: ElastiCacheOptions
  #state: State
  #work: Promise<unknown> = Promise.resolve()

  constructor(options: ElastiCacheOptions) {
    this.#options = options
    this.#state = read(options.file)
  }

  /** Applies the replication group to the server, after a start of the box. */
  async restore(): Promise<void> {
    await this.#apply(this.#state.replicationGroup)
  }

  /** Forgets everything, for a new account. */
  async clear(): Promise<void> {
    await this.#change({ subnetGroups: [] })
  }

  /** @throws AwsError when the request is invalid. */
  handle(request: AwsRequest): Promise<AwsResponse> {
    const name = operation(request) ?? ''
    const handler = operations[name]
    if (handler === undefined) {
      throw new AwsError('invalid', `The box does not support the ElastiCache operation ${name}`)
    }
    const response = this.#work.then(async () => {
      const input = new URLSearchParams(request.body.toString())
      return respond(name, await handler(this, input))
    })
    // One after the other, because each change depends on the state before.
    this.#work = response.catch(() => {})
    return response
  }

  async createSubnetGroup(input: URLSearchParams): Promise<string> {
    const name = required(input, 'CacheSubnetGroupName').toLowerCase()
    if (this.#state.subnetGroups.some((group) => group.name === name)) {
      throw new AwsError('cacheSubnetGroupExists', `Cache subnet group ${name} already exists.`)
    }
    const group: SubnetGroup = {
      name,
      description: required(input, 'CacheSubnetGroupDescription'),
      subnetIds: list(input, 'SubnetIds', 'SubnetIdentifier'),
      tags: tagsOf(input),
    }
    const xml = await this.#subnetGroupXml(group)
    await this.#change({ ...this.#state, subnetGroups: [...this.#state.subnetGroups, group] })
    return xml
  }

  async modifySubnetGroup(input: URLSearchParams): Promise<string> {
    const group = this.#subnetGroup(required(input, 'CacheSubnetGroupName'))
    const subnetIds = list(input, 'SubnetIds', 'SubnetIdentifier')
    const changed: SubnetGroup = {
      ...group,
      description: input.get('CacheSubnetGroupDescription') ?? group.description,
      subnetIds: subnetIds.length > 0 ? subnetIds : group.subnetIds,
    }
    const xml = await this.#subnetGroupXml(changed)
    await this.#change({
      ...this.#state,
      subnetGroups: this.#state.subnetGroups.map((other) => (other === group ? changed : other)),
    })
    return xml
  }

  async describeSubnetGroups(input: URLSearchParams): Promise<string> {
    const name = input.get('CacheSubnetGroupName')
    const groups = name === null ? this.#state.subnetGroups : [this.#subnetGroup(name)]
    const described = await Promise.all(groups.map((group) => this.#subnetGroupXml(group)))
    return `<CacheSubnetGroups>${described.join('')}</CacheSubnetGroups>`
  }

  async deleteSubnetGroup(input: URLSearchParams): Promise<string> {
    const group = this.#subnetGroup(required(input, 'CacheSubnetGroupName'))
    if (this.#state.replicationGroup?.subnetGroup === group.name) {
      throw new AwsError('cacheSubnetGroupInUse', `Cache subnet group ${group.name} is in use.`)
    }
    await this.#change({
      ...this.#state,
      subnetGroups: this.#state.subnetGroups.filter((other) => other !== group),
    })
    return ''
  }

  async createReplicationGroup(input: URLSearchParams): Promise<string> {
    const id = required(input, 'ReplicationGroupId').toLowerCase()
    const present = this.#state.replicationGroup
    if (present?.id === id) {
      throw new AwsError('replicationGroupExists', `Replication group ${id} already exists.`)
    }
    if (present !== undefined) {
      throw new AwsError(
        'cacheQuota',
        `The box has one cache server, which serves the replication group ${present.id}: delete that one first.`,
      )
    }
    if (Number(input.get('NumNodeGroups') ?? 1) > 1) {
      throw new AwsError('invalid', 'The box does not support replication groups with several shards')
    }
    const subnetGroup = this.#subnetGroup(required(input, 'CacheSubnetGroupName')).name
    const engine = input.get('Engine') ?? 'redis'
    const engineVersion = input.get('EngineVersion') ?? '8.0'
    const token = input.get('AuthToken')
    const transitEncryption = input.get('TransitEncryptionEnabled') === 'true'
    if (!transitEncryption) {
      throw new AwsError(
        'invalid',
        'The box supports only replication groups with TransitEncryptionEnabled: its cache server uses TLS',
      )
    }
    const now = new Date().toISOString()
    const group: ReplicationGroup = {
      id,
      description: required(input, 'ReplicationGroupDescription'),
      nodeType: required(input, 'CacheNodeType'),
      engine,
      engineVersion: engineVersion.split('.').length < 3 ? `${engineVersion}.0` : engineVersion,
      parameterGroup:
        input.get('CacheParameterGroupName') ?? `default.${engine}${engineVersion.split('.')[0]}`,
      subnetGroup,
      securityGroupIds: list(input, 'SecurityGroupIds', 'SecurityGroupId'),
      port: Number(input.get('Port') ?? 6379),
      nodes: Number(input.get('NumCacheClusters') ?? 1),
      automaticFailover: input.get('AutomaticFailoverEnabled') === 'true',
      multiAz: input.get('MultiAZEnabled') === 'true',
      atRestEncryption: input.get('AtRestEncryptionEnabled') === 'true',
      transitEncryption,
      transitEncryptionMode: input.get('TransitEncryptionMode') ?? 'required',
      autoMinorVersionUpgrade: input.get('AutoMinorVersionUpgrade') !== 'false',
      maintenanceWindow: input.get('PreferredMaintenanceWindow') ?? defaults.maintenanceWindow,
      snapshotWindow: input.get('SnapshotWindow') ?? defaults.snapshotWindow,
      snapshotRetention: Number(input.get('SnapshotRetentionLimit') ?? 0),
      createdAt: now,
      tokens: token === null ? [] : [tokenHash(checkToken(token))],
      tokenRequired: token !== null,
      ...(token === null ? {} : { tokenModifiedAt: now }),
      tags: tagsOf(input),
    }
    await this.#change({ ...this.#state, replicationGroup: group })
    return groupXml(group)
  }

  async modifyReplicationGroup(input: URLSearchParams): Promise<string> {
    const group = this.#replicationGroup(required(input, 'ReplicationGroupId'))
    const securityGroupIds = list(input, 'SecurityGroupIds', 'SecurityGroupId')
    const flag = (name: string, present: boolean) => (input.has(name) ? input.get(name) === 'true' : present)
    const changed: ReplicationGroup = {
      ...group,
      description: input.get('ReplicationGroupDescription') ?? group.description,
      nodeType: input.get('CacheNodeType') ?? group.nodeType,
      engineVersion: input.get('EngineVersion') ?? group.engineVersion,
      parameterGroup: input.get('CacheParameterGroupName') ?? group.parameterGroup,
      securityGroupIds: securityGroupIds.length > 0 ? securityGroupIds : group.securityGroupIds,
      automaticFailover: flag('AutomaticFailoverEnabled', group.automaticFailover),
      multiAz: flag('MultiAZEnabled', group.multiAz),
      autoMinorVersionUpgrade: flag('AutoMinorVersionUpgrade', group.autoMinorVersionUpgrade),
      maintenanceWindow: input.get('PreferredMaintenanceWindow') ?? group.maintenanceWindow,
      snapshotWindow: input.get('SnapshotWindow') ?? group.snapshotWindow,
      snapshotRetention: Number(input.get('SnapshotRetentionLimit') ?? group.snapshotRetention),
      ...changedToken(group, input),
    }
    await this.#change({ ...this.#state, replicationGroup: changed })
    return groupXml(changed)
  }

  async describeReplicationGroups(input: URLSearchParams): Promise<string> {
    const id = input.get('ReplicationGroupId')
    const groups = id === null ? [this.#state.replicationGroup ?? []].flat() : [this.#replicationGroup(id)]
    return `<ReplicationGroups>${groups.map((group) => groupXml(group)).join('')}</ReplicationGroups>`
  }

  async deleteReplicationGroup(input: URLSearchParams): Promise<string> {
    const group = this.#replicationGroup(required(input, 'ReplicationGroupId'))
    if (input.has('FinalSnapshotIdentifier')) {
      throw new AwsError('invalid', 'The box does not support snapshots of caches')
    }
    await this.#change({ subnetGroups: this.#state.subnetGroups })
    return groupXml({ ...group }, 'deleting')
  }

  async describeCacheClusters(input: URLSearchParams): Promise<string> {
    const id = input.get('CacheClusterId')
    const group = this.#state.replicationGroup
    const members = group === undefined ? [] : membersOf(group).filter((name) => id === null || name === id)
    if (id !== null && members.length === 0) {
      throw new AwsError('noCacheCluster', `CacheCluster not found: ${id}`)
    }
    const described = group === undefined ? [] : members.map((name) => memberXml(group, name))
    return `<CacheClusters>${described.join('')}</CacheClusters>`
  }

  async listTags(input: URLSearchParams): Promise<string> {
    return tagListXml(this.#tagged(required(input, 'ResourceName')).tags)
  }

  async addTags(input: URLSearchParams): Promise<string> {
    const tags = { ...this.#tagged(required(input, 'ResourceName')).tags, ...tagsOf(input) }
    await this.#tag(required(input, 'ResourceName'), tags)
    return tagListXml(tags)
  }

  async removeTags(input: URLSearchParams): Promise<string> {
    const removed = list(input, 'TagKeys', 'member')
    const { tags: present } = this.#tagged(required(input, 'ResourceName'))
    const tags = Object.fromEntries(Object.entries(present).filter(([key]) => !removed.includes(key)))
    await this.#tag(required(input, 'ResourceName'), tags)
    return tagListXml(tags)
  }

  async #change(state: State): Promise<void> {
    if (state.replicationGroup !== this.#state.replicationGroup) await this.#apply(state.replicationGroup)
    const { file } = this.#options
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(`${file}.new`, JSON.stringify(state), { mode: 0o600 })
    renameSync(`${file}.new`, file)
    this.#state = state
  }

  async #apply(group: ReplicationGroup | undefined): Promise<void> {
    await this.#options.apply(
      group && {
        hosts: endpointsOf(group),
        tokens: group.tokens,
        tokenRequired: group.tokenRequired,
        subnetId: this.#subnetGroup(group.subnetGroup).subnetIds[0] ?? '',
      },
    )
  }

  #subnetGroup(name: string): SubnetGroup {
    const group = this.#state.subnetGroups.find((other) => other.name === name.toLowerCase())
    if (group !== undefined) return group
    throw new AwsError('noCacheSubnetGroup', `Cache subnet group ${name} not found.`)
  }

  #replicationGroup(id: string): ReplicationGroup {
    const group = this.#state.replicationGroup
    if (group?.id === id.toLowerCase()) return group
    throw new AwsError('noReplicationGroup', `ReplicationGroup ${id} not found.`)
  }

  #tagged(arn: string): SubnetGroup | ReplicationGroup {
    const { replicationGroup, subnetGroups } = this.#state
    if (replicationGroup !== undefined) {
      const own = [
        groupArn(replicationGroup),
        ...membersOf(replicationGroup).map((name) => arnOf('cluster', name)),
      ]
      if (own.includes(arn)) return replicationGroup
    }
    const subnetGroup = subnetGroups.find(({ name }) => arnOf('subnetgroup', name) === arn)
    if (subnetGroup !== undefined) return subnetGroup
    throw new AwsError('noReplicationGroup', `${arn} not found.`)
  }

  async #tag(arn: string, tags: Record<string, string>): Promise<void> {
    const resource = this.#tagged(arn)
    if ('subnetIds' in resource) {
      const subnetGroups = this.#state.subnetGroups.map((other) =>
        other === resource ? { ...resource, tags } : other,
      )
      return this.#change({ ...this.#state, subnetGroups })
    }
    return this.#change({ ...this.#state, replicationGroup: { ...resource, tags } })
  }

  async #subnetGroupXml({ name, description, subnetIds }: SubnetGroup): Promise<string> {
    const subnets = await this.#options.describeSubnets(subnetIds)
    return element('CacheSubnetGroup', [
      text('CacheSubnetGroupName', name),
      text('CacheSubnetGroupDescription', description),
      text('VpcId', subnets[0]?.vpcId ?? ''),
      element(
        'Subnets',
        subnets.map(({ id, zone }) =>
          element('Subnet', [
            text('SubnetIdentifier', id),
            element('SubnetAvailabilityZone', [text('Name', zone)]),
          ]),
        ),
      ),
      text('ARN', arnOf('subnetgroup', name)),
    ])
  }
}

/** A change of the token (API reference, ModifyReplicationGroup). */
function changedToken(group: ReplicationGroup, input: URLSearchParams): Partial<ReplicationGroup> {
  const token = input.get('AuthToken')
  const strategy = input.get('AuthTokenUpdateStrategy') ?? 'ROTATE'
  if (token === null && !input.has('AuthTokenUpdateStrategy')) return {}
  if (token === null || !['ROTATE', 'SET'].includes(strategy)) {
    throw new AwsError(
      'invalid',
      `The box does not support the strategy ${strategy} without or with this token`,
    )
  }
  const hash = tokenHash(checkToken(token))
  const tokenModifiedAt = new Date().toISOString()
  if (strategy === 'SET') return { tokens: [hash], tokenRequired: true, tokenModifiedAt }
  // The former token stays valid. A group without one continues to accept clients without a token.
  const [former] = group.tokens.filter((other) => other !== hash)
  return { tokens: former === undefined ? [hash] : [hash, former], tokenModifiedAt }
}

function checkToken(token: string): string {
  if (/^[\x21-\x7e]{16,128}$/.test(token) && !/["@/]/.test(token)) return token
  throw new AwsError('invalid', 'AuthToken must have 16 to 128 printable characters other than ", @ and /')
}

const arnOf = (kind: string, name: string) => `arn:aws:elasticache:${REGION}:${ACCOUNT}:${kind}:${name}`
const groupArn = ({ id }: ReplicationGroup) => arnOf('replicationgroup', id)

/** The node groups' primary and reader endpoints, in the form of groups with TLS, and the nodes' own. */
function endpointsOf(group: ReplicationGroup): string[] {
  const own = membersOf(group).map((member) => `${member}.${group.id}.${ENDPOINT_DOMAIN}`)
  return [primaryOf(group), readerOf(group), ...own]
}

const primaryOf = ({ id }: ReplicationGroup) => `master.${id}.${ENDPOINT_DOMAIN}`
const readerOf = ({ id }: ReplicationGroup) => `replica.${id}.${ENDPOINT_DOMAIN}`

function membersOf({ id, nodes }: ReplicationGroup): string[] {
  return Array.from({ length: nodes }, (_, index) => `${id}-${String(index + 1).padStart(3, '0')}`)
}

const endpoint = (name: string, address: string, port: number) =>
  element(name, [text('Address', address), text('Port', String(port))])

function groupXml(group: ReplicationGroup, status = 'available'): string {
  const { id, port } = group
  return element('ReplicationGroup', [
    text('ReplicationGroupId', id),
    text('Description', group.description),
    text('Status', status),
    element('PendingModifiedValues', []),
    element(
      'MemberClusters',
      membersOf(group).map((member) => text('ClusterId', member)),
    ),
    element('NodeGroups', [
      element('NodeGroup', [
        text('NodeGroupId', '0001'),
        text('Status', status),
        endpoint('PrimaryEndpoint', primaryOf(group), port),
        endpoint('ReaderEndpoint', readerOf(group), port),
        element(
          'NodeGroupMembers',
          membersOf(group).map((member, index) =>
            element('NodeGroupMember', [
              text('CacheClusterId', member),
              text('CacheNodeId', '0001'),
              endpoint('ReadEndpoint', `${member}.${id}.${ENDPOINT_DOMAIN}`, port),
              text('PreferredAvailabilityZone', `${REGION}${'abc'[index % 3]}`),
              text('CurrentRole', index === 0 ? 'primary' : 'replica'),
            ]),
          ),
        ),
      ]),
    ]),
    text('AutomaticFailover', group.automaticFailover ? 'enabled' : 'disabled'),
    text('MultiAZ', group.multiAz ? 'enabled' : 'disabled'),
    text('SnapshotRetentionLimit', String(group.snapshotRetention)),
    text('SnapshotWindow', group.snapshotWindow),
    text('ClusterEnabled', 'false'),
    text('ClusterMode', 'disabled'),
    text('CacheNodeType', group.nodeType),
    text('AuthTokenEnabled', String(group.tokens.length > 0)),
    ...(group.tokenModifiedAt === undefined
      ? []
      : [text('AuthTokenLastModifiedDate', group.tokenModifiedAt)]),
    text('TransitEncryptionEnabled', String(group.transitEncryption)),
    text('TransitEncryptionMode', group.transitEncryptionMode),
    text('AtRestEncryptionEnabled', String(group.atRestEncryption)),
    text('ARN', groupArn(group)),
    text('ReplicationGroupCreateTime', group.createdAt),
    text('DataTiering', 'disabled'),
    text('AutoMinorVersionUpgrade', String(group.autoMinorVersionUpgrade)),
    text('NetworkType', 'ipv4'),
    text('IpDiscovery', 'ipv4'),
    text('Engine', group.engine),
  ])
}

function memberXml(group: ReplicationGroup, member: string): string {
  return element('CacheCluster', [
    text('CacheClusterId', member),
    text('ReplicationGroupId', group.id),
    text('CacheClusterStatus', 'available'),
    text('CacheNodeType', group.nodeType),
    text('Engine', group.engine),
    text('EngineVersion', group.engineVersion),
    text('NumCacheNodes', '1'),
    text('PreferredMaintenanceWindow', group.maintenanceWindow),
    text('SnapshotRetentionLimit', String(group.snapshotRetention)),
    text('SnapshotWindow', group.snapshotWindow),
    element('CacheParameterGroup', [
      text('CacheParameterGroupName', group.parameterGroup),
      text('ParameterApplyStatus', 'in-sync'),
    ]),
    text('CacheSubnetGroupName', group.subnetGroup),
    element(
      'SecurityGroups',
      group.securityGroupIds.map((id) =>
        element('member', [text('SecurityGroupId', id), text('Status', 'active')]),
      ),
    ),
    text('AutoMinorVersionUpgrade', String(group.autoMinorVersionUpgrade)),
    text('CacheClusterCreateTime', group.createdAt),
    text('AuthTokenEnabled', String(group.tokens.length > 0)),
    text('TransitEncryptionEnabled', String(group.transitEncryption)),
    text('TransitEncryptionMode', group.transitEncryptionMode),
    text('AtRestEncryptionEnabled', String(group.atRestEncryption)),
    text('ARN', arnOf('cluster', member)),
    text('NetworkType', 'ipv4'),
    text('IpDiscovery', 'ipv4'),
  ])
}

const tagListXml = (tags: Record<string, string>) =>
  element(
    'TagList',
    Object.entries(tags).map(([key, value]) => element('Tag', [text('Key', key), text('Value', value)])),
  )

function text(name: string, content: string): string {
  return `<${name}>${escapeXml(content)}</${name}>`
}

function element(name: string, content: readonly string[]): string {
  return `<${name}>${content.join('')}</${name}>`
}

function respond(name: string, result: string): AwsResponse {
  const requestId = randomUUID()
  return {
    status: 200,
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': requestId },
    body: Buffer.from(
      `<${name}Response xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/"><${name}Result>${result}</${name}Result><ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${name}Response>`,
    ),
  }
}

function required(input: URLSearchParams, name: string): string {
  const value = input.get(name)
  if (value !== null && value !== '') return value
  throw new AwsError('invalid', `The parameter ${name} must be provided.`)
}

/** A list of texts: `<name>.<item>.1`, `<name>.<item>.2` and so on. Some clients send `member` as the item's name. */
function list(input: URLSearchParams, name: string, item: string): string[] {
  const items: string[] = []
  while (true) {
    const place = items.length + 1
    const value = input.get(`${name}.${item}.${place}`) ?? input.get(`${name}.member.${place}`)
    if (value === null) return items
    items.push(value)
  }
}

function tagsOf(input: URLSearchParams): Record<string, string> {
  const tags: Record<string, string> = {}
  for (let place = 1; ; place++) {
    const at = (part: string) =>
      input.get(`Tags.Tag.${place}.${part}`) ?? input.get(`Tags.member.${place}.${part}`)
    const key = at('Key')
    if (key === null) return tags
    tags[key] = at('Value') ?? ''
  }
}

function read(file: string): State {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as State
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { subnetGroups: [] }
    throw error
  }
}
