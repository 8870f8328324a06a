import { isDeepStrictEqual } from 'node:util'
import { type Static, Type } from 'typebox'
import { createEntry } from './access.ts'
import { type Api, callerOf } from './api.ts'
import { EksException } from './exception.ts'
import {
  AssociateEncryptionConfig,
  type Cluster,
  CreateCluster,
  LOG_TYPES,
  Paging,
  UpdateClusterConfig,
  UpdateClusterVersion,
} from './model.ts'
import { isRetry, now, page, settlesAt, toResponse } from './store.ts'
import { beginUpdate } from './updates.ts'

const Name = Type.Object({ name: Type.String() })

/** EKS numbers its builds of a minor version; the box has only one. */
const platformVersion = 'eks.1'

/** Clusters. There is only the box's cluster, which runs even if the API has not created it. */
export function clusters({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options

  const describe = (cluster: Cluster) => ({
    ...toResponse(cluster),
    version: box.version,
    platformVersion,
    health: { issues: [] },
    kubernetesNetworkConfig: {
      serviceIpv4Cidr: box.serviceCidr,
      ipFamily: 'ipv4',
      elasticLoadBalancing: { enabled: false },
    },
    ...(cluster.status === 'CREATING'
      ? {}
      : {
          endpoint: box.endpoint,
          certificateAuthority: { data: box.certificateAuthority },
          identity: { oidc: { issuer: box.oidcIssuer } },
        }),
  })

  const refuseVersion = (version: string, name: string): never => {
    throw new EksException(
      'InvalidParameterException',
      `unsupported Kubernetes version ${version}: the box runs ${box.version}`,
      { clusterName: name },
    )
  }

  const checkSubnets = async (ids: readonly string[], name: string) => {
    const subnets = await options.describeSubnets(ids)
    const [first] = subnets
    if (first === undefined || new Set(subnets.map(({ zone }) => zone)).size < 2) {
      throw new EksException(
        'InvalidParameterException',
        'Subnets specified must be in at least two different AZs',
        { clusterName: name },
      )
    }
    if (subnets.some(({ vpcId }) => vpcId !== first.vpcId)) {
      throw new EksException('InvalidParameterException', 'Subnets specified must be in one VPC', {
        clusterName: name,
      })
    }
    return first.vpcId
  }

  app.post('/clusters', { schema: { body: CreateCluster } }, async (request) => {
    const { body } = request
    const details = { clusterName: body.name }
    if (body.name !== box.name) {
      throw new EksException(
        'ResourceLimitExceededException',
        `The box runs one cluster, ${box.name}; it cannot create ${body.name}.`,
        details,
      )
    }
    const refuseSecond = () => {
      if (store.state.cluster === undefined) return
      throw new EksException(
        'ResourceInUseException',
        `Cluster already exists with name: ${body.name}`,
        details,
      )
    }
    if (store.state.cluster !== undefined && isRetry(store.state.cluster, body)) {
      return { cluster: describe(store.state.cluster) }
    }
    refuseSecond()
    if (body.version !== undefined && body.version !== box.version) refuseVersion(body.version, body.name)
    const range = body.kubernetesNetworkConfig?.serviceIpv4Cidr
    if (range !== undefined && range !== box.serviceCidr) {
      throw new EksException(
        'InvalidParameterException',
        `unsupported service range ${range}: the box has ${box.serviceCidr}`,
        details,
      )
    }
    // The default of EKS is CONFIG_MAP.
    const authenticationMode = checkMode(body.accessConfig?.authenticationMode ?? 'CONFIG_MAP', details)
    if (!(await options.principalExists(body.roleArn))) {
      throw new EksException(
        'InvalidParameterException',
        `Role with arn: ${body.roleArn}, could not be assumed because it does not exist or the trusted entity is not correct`,
        details,
      )
    }
    const { subnetIds = [], ...vpc } = body.resourcesVpcConfig
    const vpcId = await checkSubnets(subnetIds, body.name)
    const { principalArn } = callerOf(request)
    const clusterSecurityGroupId = await options.createClusterSecurityGroup(vpcId)
    const cluster: Cluster = {
      name: body.name,
      arn: `arn:aws:eks:${region}:${account}:cluster/${body.name}`,
      createdAt: now(),
      roleArn: body.roleArn,
      resourcesVpcConfig: {
        subnetIds,
        securityGroupIds: vpc.securityGroupIds ?? [],
        clusterSecurityGroupId,
        vpcId,
        endpointPublicAccess: vpc.endpointPublicAccess ?? true,
        endpointPrivateAccess: vpc.endpointPrivateAccess ?? false,
        publicAccessCidrs: vpc.publicAccessCidrs ?? ['0.0.0.0/0'],
      },
      logging: logging([], body.logging),
      accessConfig: { authenticationMode },
      ...(body.encryptionConfig === undefined ? {} : { encryptionConfig: body.encryptionConfig }),
      upgradePolicy: body.upgradePolicy ?? { supportType: 'EXTENDED' },
      ...(body.zonalShiftConfig === undefined ? {} : { zonalShiftConfig: body.zonalShiftConfig }),
      deletionProtection: body.deletionProtection ?? false,
      tags: body.tags ?? {},
      status: 'CREATING',
      settlesAt: settlesAt(),
      ...(body.clientRequestToken === undefined ? {} : { clientRequestToken: body.clientRequestToken }),
    }
    try {
      // Another request may have created the cluster while this one waited for EC2 and IAM.
      refuseSecond()
      const creators =
        body.accessConfig?.bootstrapClusterCreatorAdminPermissions === false ? [] : [principalArn]
      const accessEntries = creators.map((principalArn) => adminEntry(cluster, principalArn))
      return store.change((state) => {
        state.cluster = cluster
        state.accessEntries = accessEntries
        return { cluster: describe(cluster) }
      })
    } catch (error) {
      await options.deleteSecurityGroup(clusterSecurityGroupId)
      throw error
    }
  })

  app.get('/clusters', { schema: { querystring: Type.Object(Paging) } }, async ({ query }) => {
    const { cluster } = store.state
    const { items, nextToken } = page(cluster === undefined ? [] : [cluster.name], query)
    return { clusters: items, nextToken }
  })

  app.get('/clusters/:name', { schema: { params: Name } }, async ({ params }) => ({
    cluster: describe(store.cluster(params.name)),
  }))

  app.delete('/clusters/:name', { schema: { params: Name } }, async ({ params }) => {
    const cluster = store.activeCluster(params.name)
    const details = { clusterName: cluster.name }
    if (store.state.nodegroups.length > 0) {
      throw new EksException('ResourceInUseException', 'Cluster has nodegroups attached', details)
    }
    if (cluster.deletionProtection) {
      throw new EksException(
        'InvalidRequestException',
        'Cluster has deletion protection enabled; disable it before deleting the cluster',
        details,
      )
    }
    const response = store.change(() => {
      cluster.status = 'DELETING'
      cluster.settlesAt = settlesAt()
      return { cluster: describe(cluster) }
    })
    // As on EKS, a security group in use does not prevent the deletion of the cluster.
    const group = cluster.resourcesVpcConfig.clusterSecurityGroupId
    await options.deleteSecurityGroup(group).catch((error: unknown) => {
      console.error(`the cluster's security group ${group} was not deleted:`, error)
    })
    // On EKS, the objects of preserved add-ons disappear with the cluster. The box's cluster continues to run.
    for (const name of options.addons.keys()) {
      await options.addonInstaller.remove(name).catch((error: unknown) => {
        console.error(`add-on ${name} was not removed:`, error)
      })
    }
    return response
  })

  app.post(
    '/clusters/:name/update-config',
    { schema: { params: Name, body: UpdateClusterConfig } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      if (body.resourcesVpcConfig?.subnetIds !== undefined) {
        await checkSubnets(body.resourcesVpcConfig.subnetIds, cluster.name)
      }
      const { type, params: updateParams, changes } = configUpdate(cluster, body)
      return store.change((state) => {
        Object.assign(cluster, changes, { status: 'UPDATING', settlesAt: settlesAt() })
        return beginUpdate(state, type, updateParams)
      })
    },
  )

  app.post(
    '/clusters/:name/updates',
    { schema: { params: Name, body: UpdateClusterVersion } },
    async ({ params, body }) => {
      const { name } = store.activeCluster(params.name)
      if (body.version !== box.version) refuseVersion(body.version, name)
      throw new EksException(
        'InvalidParameterException',
        `Cluster is already at the desired configuration with version ${body.version}`,
        { clusterName: name },
      )
    },
  )

  app.post(
    '/clusters/:name/encryption-config/associate',
    { schema: { params: Name, body: AssociateEncryptionConfig } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      if (cluster.encryptionConfig !== undefined) {
        throw new EksException(
          'InvalidRequestException',
          'Encryption is already enabled for this cluster and cannot be changed',
          { clusterName: cluster.name },
        )
      }
      return store.change((state) => {
        cluster.encryptionConfig = body.encryptionConfig
        cluster.status = 'UPDATING'
        cluster.settlesAt = settlesAt()
        return beginUpdate(state, 'AssociateEncryptionConfig', { EncryptionConfig: body.encryptionConfig })
      })
    },
  )

  const Versions = Type.Object({
    ...Paging,
    clusterType: Type.Optional(Type.String()),
    // Without effect, because the box's only version is the default and in support.
    defaultOnly: Type.Optional(Type.Boolean()),
    includeAll: Type.Optional(Type.Boolean()),
    clusterVersions: Type.Optional(Type.Union([Type.Array(Type.String()), Type.String()])),
    status: Type.Optional(Type.String()),
    versionStatus: Type.Optional(Type.String()),
  })
  app.get('/cluster-versions', { schema: { querystring: Versions } }, async ({ query }) => {
    const version = {
      clusterVersion: box.version,
      clusterType: 'eks',
      defaultPlatformVersion: platformVersion,
      defaultVersion: true,
      status: 'standard-support',
      versionStatus: 'STANDARD_SUPPORT',
      kubernetesPatchVersion: box.patchVersion,
    }
    const { clusterVersions, clusterType, status, versionStatus } = query
    const matches =
      [clusterVersions ?? version.clusterVersion].flat().includes(version.clusterVersion) &&
      (clusterType ?? version.clusterType) === version.clusterType &&
      (status ?? version.status).toLowerCase() === version.status &&
      (versionStatus ?? version.versionStatus) === version.versionStatus
    const { items, nextToken } = page(matches ? [version] : [], query)
    return { clusterVersions: items, nextToken }
  })
}

/** The update that a request for another configuration results in. EKS allows one kind of change per request. */
function configUpdate(cluster: Cluster, body: Static<typeof UpdateClusterConfig>) {
  const { clientRequestToken: _token, ...input } = body
  const refuse = (message: string): never => {
    throw new EksException('InvalidParameterException', message, { clusterName: cluster.name })
  }
  if (Object.keys(input).length !== 1) refuse('Exactly one type of update is required')
  const { resourcesVpcConfig: vpc, accessConfig, upgradePolicy, zonalShiftConfig, deletionProtection } = input
  const changes: Partial<Cluster> = {
    ...(vpc === undefined ? {} : { resourcesVpcConfig: { ...cluster.resourcesVpcConfig, ...vpc } }),
    ...(input.logging === undefined ? {} : { logging: logging(enabledLogs(cluster.logging), input.logging) }),
    ...(upgradePolicy === undefined ? {} : { upgradePolicy }),
    ...(zonalShiftConfig === undefined ? {} : { zonalShiftConfig }),
    ...(deletionProtection === undefined ? {} : { deletionProtection }),
  }
  if (accessConfig !== undefined) checkMode(accessConfig.authenticationMode, { clusterName: cluster.name })
  if (isDeepStrictEqual({ ...cluster, ...changes }, { ...cluster })) {
    refuse('No changes needed: the cluster is already at the desired configuration')
  }
  const endpoint = vpc?.subnetIds === undefined && vpc?.securityGroupIds === undefined
  const kinds = {
    resourcesVpcConfig: endpoint ? 'EndpointAccessUpdate' : 'VpcConfigUpdate',
    logging: 'LoggingUpdate',
    upgradePolicy: 'UpgradePolicyUpdate',
    zonalShiftConfig: 'ZonalShiftConfigUpdate',
    deletionProtection: 'DeletionProtectionUpdate',
  }
  const [kind] = Object.keys(input) as (keyof typeof kinds)[]
  return {
    type: kind === undefined ? '' : kinds[kind],
    params: {
      ClusterLogging: input.logging?.clusterLogging,
      EndpointPublicAccess: vpc?.endpointPublicAccess,
      EndpointPrivateAccess: vpc?.endpointPrivateAccess,
      PublicAccessCidrs: vpc?.publicAccessCidrs,
      Subnets: vpc?.subnetIds,
      SecurityGroups: vpc?.securityGroupIds,
      UpgradePolicy: upgradePolicy,
      ZonalShiftConfig: zonalShiftConfig,
      DeletionProtection: deletionProtection,
    },
    changes,
  }
}

/** Refuses the modes that use the ConfigMap aws-auth, because the box does not read it. */
function checkMode(mode: string, details: { clusterName: string }): 'API' {
  if (mode === 'API') return mode
  throw new EksException(
    'InvalidParameterException',
    `unsupported authentication mode ${mode}: the box supports access entries only, so authenticationMode must be API`,
    details,
  )
}

/** The access entry that makes the cluster's creator its administrator. */
function adminEntry(cluster: Cluster, principalArn: string) {
  return {
    ...createEntry(cluster, { principalArn }),
    policies: [
      {
        policyArn: 'arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy',
        accessScope: { type: 'cluster' as const, namespaces: [] },
        associatedAt: now(),
        modifiedAt: now(),
      },
    ],
  }
}

function enabledLogs({ clusterLogging }: Cluster['logging']) {
  return clusterLogging.filter(({ enabled }) => enabled).flatMap(({ types }) => types)
}

/** The logging configuration with every log type, as EKS lists it. Types that the request omits stay unchanged. */
function logging(
  previouslyEnabled: (typeof LOG_TYPES)[number][],
  input: Cluster['logging'] | undefined,
): Cluster['logging'] {
  const enabled = new Set(previouslyEnabled)
  for (const { types, enabled: on } of input?.clusterLogging ?? []) {
    for (const type of types) on ? enabled.add(type) : enabled.delete(type)
  }
  const groups = [
    { types: LOG_TYPES.filter((type) => enabled.has(type)), enabled: true },
    { types: LOG_TYPES.filter((type) => !enabled.has(type)), enabled: false },
  ]
  return { clusterLogging: groups.filter(({ types }) => types.length > 0) }
}
