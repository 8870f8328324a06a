import { type Static, type TSchema, Type } from 'typebox'

/**
 * The resources of the EKS API and the bodies of the requests that make and change them, named as in the
 * published service model (eks-2017-11-01). Of the model, what the box can honour.
 */

const strings = Type.Array(Type.String())
export const Tags = Type.Record(Type.String(), Type.String())
const optional = <Schema extends TSchema>(schema: Schema) => Type.Optional(schema)
const token = { clientRequestToken: optional(Type.String()) }

const Logging = Type.Object({
  clusterLogging: Type.Array(Type.Object({ types: strings, enabled: Type.Boolean() })),
})
const EncryptionConfig = Type.Array(
  Type.Object({ resources: strings, provider: Type.Object({ keyArn: Type.String() }) }),
)
const AuthenticationMode = Type.Union([
  Type.Literal('API'),
  Type.Literal('API_AND_CONFIG_MAP'),
  Type.Literal('CONFIG_MAP'),
])
const UpgradePolicy = Type.Object({ supportType: optional(Type.String()) })
const ZonalShift = Type.Object({ enabled: optional(Type.Boolean()) })
const VpcConfigRequest = Type.Object({
  subnetIds: optional(strings),
  securityGroupIds: optional(strings),
  endpointPublicAccess: optional(Type.Boolean()),
  endpointPrivateAccess: optional(Type.Boolean()),
  publicAccessCidrs: optional(strings),
})

export const CreateCluster = Type.Object({
  ...token,
  name: Type.String({ pattern: '^[0-9A-Za-z][A-Za-z0-9_-]*$', maxLength: 100 }),
  roleArn: Type.String(),
  version: optional(Type.String()),
  resourcesVpcConfig: VpcConfigRequest,
  kubernetesNetworkConfig: optional(
    Type.Object({ serviceIpv4Cidr: optional(Type.String()), ipFamily: optional(Type.String()) }),
  ),
  logging: optional(Logging),
  encryptionConfig: optional(EncryptionConfig),
  accessConfig: optional(
    Type.Object({
      bootstrapClusterCreatorAdminPermissions: optional(Type.Boolean()),
      authenticationMode: optional(AuthenticationMode),
    }),
  ),
  upgradePolicy: optional(UpgradePolicy),
  zonalShiftConfig: optional(ZonalShift),
  deletionProtection: optional(Type.Boolean()),
  tags: optional(Tags),
})

export const UpdateClusterConfig = Type.Object({
  ...token,
  resourcesVpcConfig: optional(VpcConfigRequest),
  logging: optional(Logging),
  accessConfig: optional(Type.Object({ authenticationMode: optional(AuthenticationMode) })),
  upgradePolicy: optional(UpgradePolicy),
  zonalShiftConfig: optional(ZonalShift),
  deletionProtection: optional(Type.Boolean()),
})

export const UpdateClusterVersion = Type.Object({ ...token, version: Type.String() })
export const AssociateEncryptionConfig = Type.Object({ ...token, encryptionConfig: EncryptionConfig })

/** What a resource is doing; `settlesAt` is when that is over, in milliseconds since 1970. */
interface Settling<Status extends string> {
  status: Status
  settlesAt?: number
}

export interface Cluster extends Settling<'CREATING' | 'ACTIVE' | 'UPDATING' | 'DELETING'> {
  name: string
  arn: string
  createdAt: number
  version: string
  platformVersion: string
  endpoint: string
  roleArn: string
  resourcesVpcConfig: Required<Static<typeof VpcConfigRequest>> & {
    clusterSecurityGroupId: string
    vpcId: string
  }
  kubernetesNetworkConfig: { serviceIpv4Cidr: string; ipFamily: 'ipv4' }
  logging: Static<typeof Logging>
  identity: { oidc: { issuer: string } }
  certificateAuthority: { data: string }
  accessConfig: { authenticationMode: Static<typeof AuthenticationMode> }
  encryptionConfig?: Static<typeof EncryptionConfig>
  upgradePolicy: { supportType: string }
  zonalShiftConfig?: Static<typeof ZonalShift>
  deletionProtection: boolean
  tags: Static<typeof Tags>
}

export interface Update {
  id: string
  status: 'InProgress' | 'Successful'
  type: string
  params: { type: string; value: string }[]
  createdAt: number
  errors: never[]
  settlesAt?: number
  /** Whose update it is: a node group's or an add-on's name, else the cluster's. */
  of?: string
}

export const CreateAccessEntry = Type.Object({
  ...token,
  principalArn: Type.String(),
  kubernetesGroups: optional(strings),
  username: optional(Type.String()),
  type: optional(Type.String()),
  tags: optional(Tags),
})

export const UpdateAccessEntry = Type.Object({
  ...token,
  kubernetesGroups: optional(strings),
  username: optional(Type.String()),
})

export const AccessScope = Type.Object({
  type: Type.Union([Type.Literal('cluster'), Type.Literal('namespace')]),
  namespaces: optional(strings),
})

export const AssociateAccessPolicy = Type.Object({ policyArn: Type.String(), accessScope: AccessScope })

export interface AssociatedPolicy {
  policyArn: string
  accessScope: { type: 'cluster' | 'namespace'; namespaces: string[] }
  associatedAt: number
  modifiedAt: number
}

export interface AccessEntry {
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

const AddonPodIdentity = Type.Array(Type.Object({ serviceAccount: Type.String(), roleArn: Type.String() }))
const addonSettings = {
  ...token,
  addonVersion: optional(Type.String()),
  serviceAccountRoleArn: optional(Type.String()),
  resolveConflicts: optional(Type.String()),
  configurationValues: optional(Type.String()),
  podIdentityAssociations: optional(AddonPodIdentity),
}

export const CreateAddon = Type.Object({
  ...addonSettings,
  addonName: Type.String(),
  tags: optional(Tags),
})
export const UpdateAddon = Type.Object(addonSettings)

export interface Addon extends Settling<'CREATING' | 'ACTIVE' | 'UPDATING' | 'DELETING'> {
  addonName: string
  clusterName: string
  addonVersion: string
  addonArn: string
  createdAt: number
  modifiedAt: number
  serviceAccountRoleArn?: string
  configurationValues?: string
  tags: Static<typeof Tags>
  health: { issues: never[] }
  publisher: 'eks'
  owner: 'aws'
  podIdentityAssociations: string[]
}

export const CreatePodIdentityAssociation = Type.Object({
  ...token,
  namespace: Type.String(),
  serviceAccount: Type.String(),
  roleArn: Type.String(),
  disableSessionTags: optional(Type.Boolean()),
  targetRoleArn: optional(Type.String()),
  tags: optional(Tags),
})

export const UpdatePodIdentityAssociation = Type.Object({
  ...token,
  roleArn: optional(Type.String()),
  disableSessionTags: optional(Type.Boolean()),
  targetRoleArn: optional(Type.String()),
})

export interface PodIdentityAssociation {
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
}

const Scaling = Type.Object({
  minSize: optional(Type.Integer({ minimum: 0 })),
  maxSize: optional(Type.Integer({ minimum: 1 })),
  desiredSize: optional(Type.Integer({ minimum: 0 })),
})
const Taint = Type.Object({
  key: Type.String(),
  value: optional(Type.String()),
  effect: Type.String(),
})
const UpdateConfig = Type.Object({
  maxUnavailable: optional(Type.Integer({ minimum: 1 })),
  maxUnavailablePercentage: optional(Type.Integer({ minimum: 1, maximum: 100 })),
  updateStrategy: optional(Type.String()),
})
const LaunchTemplate = Type.Object({
  name: optional(Type.String()),
  version: optional(Type.String()),
  id: optional(Type.String()),
})
const NodeRepair = Type.Object({ enabled: optional(Type.Boolean()) })

export const CreateNodegroup = Type.Object({
  ...token,
  nodegroupName: Type.String({ maxLength: 63 }),
  scalingConfig: optional(Scaling),
  diskSize: optional(Type.Integer()),
  subnets: Type.Array(Type.String(), { minItems: 1 }),
  instanceTypes: optional(strings),
  amiType: optional(Type.String()),
  nodeRole: Type.String(),
  labels: optional(Tags),
  taints: optional(Type.Array(Taint)),
  tags: optional(Tags),
  launchTemplate: optional(LaunchTemplate),
  updateConfig: optional(UpdateConfig),
  nodeRepairConfig: optional(NodeRepair),
  capacityType: optional(Type.String()),
  version: optional(Type.String()),
  releaseVersion: optional(Type.String()),
})

export const UpdateNodegroupConfig = Type.Object({
  ...token,
  labels: optional(Type.Object({ addOrUpdateLabels: optional(Tags), removeLabels: optional(strings) })),
  taints: optional(
    Type.Object({
      addOrUpdateTaints: optional(Type.Array(Taint)),
      removeTaints: optional(Type.Array(Taint)),
    }),
  ),
  scalingConfig: optional(Scaling),
  updateConfig: optional(UpdateConfig),
  nodeRepairConfig: optional(NodeRepair),
})

export const UpdateNodegroupVersion = Type.Object({
  ...token,
  version: optional(Type.String()),
  releaseVersion: optional(Type.String()),
  launchTemplate: optional(LaunchTemplate),
  force: optional(Type.Boolean()),
})

export interface Nodegroup extends Settling<'CREATING' | 'ACTIVE' | 'UPDATING' | 'DELETING'> {
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
  resources: { autoScalingGroups: never[] }
  health: { issues: never[] }
  tags: Static<typeof Tags>
}
