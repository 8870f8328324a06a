import { type Static, type TProperties, type TSchema, Type } from 'typebox'

/**
 * The resources of the EKS API and the bodies of requests, with the names of the published service model
 * (eks-2017-11-01). They contain only what the box supports. The API refuses everything else: if it ignored a setting
 * silently, its effect would first appear on AWS.
 */

const optional = <Schema extends TSchema>(schema: Schema) => Type.Optional(schema)
const members = <Properties extends TProperties>(properties: Properties) =>
  Type.Object(properties, { additionalProperties: false })

const strings = Type.Array(Type.String())
const token = { clientRequestToken: optional(Type.String()) }
/** A feature that the box does not have; clients may only disable it. */
const Off = members({ enabled: Type.Literal(false) })
const Role = Type.String({ pattern: '^arn:aws[a-z-]*:iam::\\d{12}:role/.+$' })
export const Tags = Type.Record(Type.String(), Type.String())

/** Query parameters of paginated lists. */
export const Paging = {
  maxResults: optional(Type.Integer({ minimum: 1, maximum: 100 })),
  nextToken: optional(Type.String({ pattern: '^\\d+$' })),
}

export const LOG_TYPES = ['api', 'audit', 'authenticator', 'controllerManager', 'scheduler'] as const
const Logging = members({
  clusterLogging: Type.Array(
    members({ types: Type.Array(Type.Enum([...LOG_TYPES])), enabled: Type.Boolean() }),
  ),
})
const EncryptionConfig = Type.Array(
  members({
    resources: Type.Array(Type.Literal('secrets'), { minItems: 1, maxItems: 1 }),
    provider: members({ keyArn: Type.String() }),
  }),
  { minItems: 1, maxItems: 1 },
)

const AuthenticationMode = Type.Enum(['CONFIG_MAP', 'API_AND_CONFIG_MAP', 'API'])
const UpgradePolicy = members({ supportType: Type.Enum(['STANDARD', 'EXTENDED']) })
const ZonalShift = members({ enabled: Type.Boolean() })
const VpcConfigRequest = members({
  subnetIds: optional(strings),
  securityGroupIds: optional(strings),
  endpointPublicAccess: optional(Type.Boolean()),
  endpointPrivateAccess: optional(Type.Boolean()),
  publicAccessCidrs: optional(strings),
})

export const CreateCluster = members({
  ...token,
  name: Type.String({ pattern: '^[0-9A-Za-z][A-Za-z0-9_-]*$', maxLength: 100 }),
  roleArn: Role,
  version: optional(Type.String()),
  resourcesVpcConfig: VpcConfigRequest,
  kubernetesNetworkConfig: optional(
    members({
      serviceIpv4Cidr: optional(Type.String()),
      ipFamily: optional(Type.Literal('ipv4')),
      elasticLoadBalancing: optional(Off),
    }),
  ),
  logging: optional(Logging),
  encryptionConfig: optional(EncryptionConfig),
  accessConfig: optional(
    members({
      bootstrapClusterCreatorAdminPermissions: optional(Type.Boolean()),
      authenticationMode: optional(AuthenticationMode),
    }),
  ),
  upgradePolicy: optional(UpgradePolicy),
  zonalShiftConfig: optional(ZonalShift),
  deletionProtection: optional(Type.Boolean()),
  bootstrapSelfManagedAddons: optional(Type.Boolean()),
  computeConfig: optional(Off),
  storageConfig: optional(members({ blockStorage: Off })),
  controlPlaneScalingConfig: optional(members({ tier: Type.Literal('standard') })),
  tags: optional(Tags),
})

export const UpdateClusterConfig = members({
  ...token,
  resourcesVpcConfig: optional(VpcConfigRequest),
  logging: optional(Logging),
  accessConfig: optional(members({ authenticationMode: AuthenticationMode })),
  upgradePolicy: optional(UpgradePolicy),
  zonalShiftConfig: optional(ZonalShift),
  deletionProtection: optional(Type.Boolean()),
})

export const UpdateClusterVersion = members({
  ...token,
  version: Type.String(),
  force: optional(Type.Boolean()),
})
export const AssociateEncryptionConfig = members({ ...token, encryptionConfig: EncryptionConfig })

/** Internal fields of a resource, which responses do not contain. */
export interface Internal {
  /** Token of the request that created the resource, to recognise retries. */
  clientRequestToken?: string
  /** When the current transition completes, in milliseconds since 1970; undefined while that is unknown. */
  settlesAt?: number
  /** What an update took away from the nodes of a group. */
  removed?: { labels: string[]; taints: { key: string; effect: string }[] }
  /** The last version update of a group, in milliseconds since 1970: instances launched earlier are replaced. */
  nodesSince?: number
}

interface Transitioning extends Internal {
  status: 'CREATING' | 'ACTIVE' | 'UPDATING' | 'DELETING'
}

/** A problem of a node group or an add-on, as EKS reports it. */
export interface Issue {
  code: string
  message: string
  resourceIds: string[]
}

/** The cluster's stored settings. Its version and endpoint are not stored, because a newer box may have others. */
export interface Cluster extends Transitioning {
  name: string
  arn: string
  createdAt: number
  roleArn: string
  resourcesVpcConfig: Required<Static<typeof VpcConfigRequest>> & {
    clusterSecurityGroupId: string
    vpcId: string
  }
  logging: Static<typeof Logging>
  accessConfig: { authenticationMode: 'API' }
  encryptionConfig?: Static<typeof EncryptionConfig>
  upgradePolicy: { supportType: string }
  zonalShiftConfig?: Static<typeof ZonalShift>
  deletionProtection: boolean
  tags: Static<typeof Tags>
}

export interface Update extends Internal {
  id: string
  status: 'InProgress' | 'Successful' | 'Failed'
  type: string
  params: { type: string; value: string }[]
  createdAt: number
  errors: { errorCode: string; errorMessage: string }[]
  /** Name of the updated node group or add-on; undefined for an update of the cluster. */
  of?: string
}

export const CreateAccessEntry = members({
  ...token,
  principalArn: Type.String(),
  kubernetesGroups: optional(strings),
  username: optional(Type.String()),
  type: optional(Type.String()),
  tags: optional(Tags),
})

export const UpdateAccessEntry = members({
  ...token,
  kubernetesGroups: optional(strings),
  username: optional(Type.String()),
})

export const AccessScope = members({
  type: Type.Enum(['cluster', 'namespace']),
  namespaces: optional(strings),
})

export const AssociateAccessPolicy = members({ policyArn: Type.String(), accessScope: AccessScope })

export interface AssociatedPolicy {
  policyArn: string
  accessScope: { type: 'cluster' | 'namespace'; namespaces: string[] }
  associatedAt: number
  modifiedAt: number
}

export interface AccessEntry extends Internal {
  clusterName: string
  principalArn: string
  kubernetesGroups: string[]
  accessEntryArn: string
  createdAt: number
  modifiedAt: number
  tags: Static<typeof Tags>
  username: string
  type: string
  policies: AssociatedPolicy[]
}

const AddonPodIdentity = Type.Array(members({ serviceAccount: Type.String(), roleArn: Role }))
const addonSettings = {
  ...token,
  addonVersion: optional(Type.String()),
  serviceAccountRoleArn: optional(Role),
  resolveConflicts: optional(Type.Enum(['OVERWRITE', 'NONE', 'PRESERVE'])),
  configurationValues: optional(Type.String()),
  podIdentityAssociations: optional(AddonPodIdentity),
}

export const CreateAddon = members({
  ...addonSettings,
  addonName: Type.String(),
  tags: optional(Tags),
})
export const UpdateAddon = members(addonSettings)

export interface Addon extends Omit<Transitioning, 'status'> {
  status: Transitioning['status'] | 'DEGRADED'
  addonName: string
  clusterName: string
  addonVersion: string
  addonArn: string
  createdAt: number
  modifiedAt: number
  serviceAccountRoleArn?: string
  configurationValues?: string
  tags: Static<typeof Tags>
  health: { issues: Issue[] }
  publisher: 'eks'
  owner: 'aws'
  podIdentityAssociations: string[]
}

export const CreatePodIdentityAssociation = members({
  ...token,
  namespace: Type.String(),
  serviceAccount: Type.String(),
  roleArn: Role,
  disableSessionTags: optional(Type.Boolean()),
  targetRoleArn: optional(Role),
  tags: optional(Tags),
})

export const UpdatePodIdentityAssociation = members({
  ...token,
  roleArn: optional(Role),
  disableSessionTags: optional(Type.Boolean()),
  targetRoleArn: optional(Role),
})

export interface PodIdentityAssociation extends Internal {
  clusterName: string
  namespace: string
  serviceAccount: string
  roleArn: string
  associationArn: string
  associationId: string
  tags: Static<typeof Tags>
  createdAt: number
  modifiedAt: number
  disableSessionTags: boolean
  targetRoleArn?: string
  externalId?: string
  /** The add-on that owns the association. */
  ownerArn?: string
}

const Scaling = members({
  minSize: optional(Type.Integer({ minimum: 0 })),
  maxSize: optional(Type.Integer({ minimum: 1 })),
  desiredSize: optional(Type.Integer({ minimum: 0 })),
})
const Taint = members({
  key: Type.String(),
  value: optional(Type.String()),
  effect: Type.Enum(['NO_SCHEDULE', 'NO_EXECUTE', 'PREFER_NO_SCHEDULE']),
})
const UpdateConfig = members({
  maxUnavailable: optional(Type.Integer({ minimum: 1 })),
  maxUnavailablePercentage: optional(Type.Integer({ minimum: 1, maximum: 100 })),
  updateStrategy: optional(Type.Enum(['DEFAULT', 'MINIMAL'])),
})
const LaunchTemplate = members({
  name: optional(Type.String()),
  version: optional(Type.String()),
  id: optional(Type.String()),
})
const NodeRepair = members({ enabled: optional(Type.Boolean()) })

export const CreateNodegroup = members({
  ...token,
  nodegroupName: Type.String({ maxLength: 63 }),
  scalingConfig: optional(Scaling),
  diskSize: optional(Type.Integer()),
  subnets: Type.Array(Type.String(), { minItems: 1 }),
  instanceTypes: optional(strings),
  amiType: optional(Type.String()),
  nodeRole: Role,
  labels: optional(Tags),
  taints: optional(Type.Array(Taint)),
  tags: optional(Tags),
  launchTemplate: optional(LaunchTemplate),
  updateConfig: optional(UpdateConfig),
  nodeRepairConfig: optional(NodeRepair),
  capacityType: optional(Type.Enum(['ON_DEMAND', 'SPOT'])),
  version: optional(Type.String()),
  releaseVersion: optional(Type.String()),
})

export const UpdateNodegroupConfig = members({
  ...token,
  labels: optional(members({ addOrUpdateLabels: optional(Tags), removeLabels: optional(strings) })),
  taints: optional(
    members({
      addOrUpdateTaints: optional(Type.Array(Taint)),
      removeTaints: optional(Type.Array(Taint)),
    }),
  ),
  scalingConfig: optional(Scaling),
  updateConfig: optional(UpdateConfig),
  nodeRepairConfig: optional(NodeRepair),
})

export const UpdateNodegroupVersion = members({
  ...token,
  version: optional(Type.String()),
  releaseVersion: optional(Type.String()),
  launchTemplate: optional(LaunchTemplate),
  force: optional(Type.Boolean()),
})

export interface Nodegroup extends Internal {
  status: Transitioning['status'] | 'CREATE_FAILED' | 'DEGRADED'
  nodegroupName: string
  nodegroupArn: string
  clusterName: string
  version: string
  releaseVersion: string
  createdAt: number
  modifiedAt: number
  capacityType: string
  scalingConfig: Required<Static<typeof Scaling>>
  instanceTypes?: string[]
  subnets: string[]
  amiType: string
  nodeRole: string
  labels: Static<typeof Tags>
  taints: Static<typeof Taint>[]
  diskSize?: number
  updateConfig: Static<typeof UpdateConfig>
  nodeRepairConfig: Static<typeof NodeRepair>
  launchTemplate?: Static<typeof LaunchTemplate>
  resources: { autoScalingGroups: { name: string }[] }
  health: { issues: Issue[] }
  tags: Static<typeof Tags>
}
