import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import { createEntry } from './access.ts'
import type { Api } from './api.ts'
import { EksFailure } from './failure.ts'
import {
  AssociateEncryptionConfig,
  type Cluster,
  CreateCluster,
  type Update,
  UpdateClusterConfig,
  UpdateClusterVersion,
} from './model.ts'
import { now, page, settlesAt, shown } from './store.ts'

const logTypes = ['api', 'audit', 'authenticator', 'controllerManager', 'scheduler']

const Paging = { maxResults: Type.Optional(Type.Integer()), nextToken: Type.Optional(Type.String()) }
const Name = Type.Object({ name: Type.String() })
const Of = Type.Object({
  ...Paging,
  nodegroupName: Type.Optional(Type.String()),
  addonName: Type.Optional(Type.String()),
})

/** Clusters and their updates. There is one cluster: the box's. */
export function clusters({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options

  app.post('/clusters', { schema: { body: CreateCluster } }, async ({ body, headers }) => {
    if (body.name !== box.name) {
      throw new EksFailure(
        'ResourceLimitExceededException',
        `The box runs one cluster, ${box.name}; it cannot create ${body.name}.`,
        { clusterName: body.name },
      )
    }
    if (store.state.cluster !== undefined) {
      throw new EksFailure('ResourceInUseException', `Cluster already exists with name: ${body.name}`, {
        clusterName: body.name,
      })
    }
    const version = body.version ?? box.version
    if (version !== box.version) {
      throw new EksFailure(
        'InvalidParameterException',
        `unsupported Kubernetes version ${version}: the box runs ${box.version}`,
        { clusterName: body.name },
      )
    }
    const wanted = body.resourcesVpcConfig
    const subnets = await options.describeSubnets(wanted.subnetIds ?? [])
    if (new Set(subnets.map(({ zone }) => zone)).size < 2) {
      throw new EksFailure(
        'InvalidParameterException',
        'Subnets specified must be in at least two different AZs',
        { clusterName: body.name },
      )
    }
    const vpcId = subnets[0]?.vpcId ?? ''
    const clusterSecurityGroupId = await options.createClusterSecurityGroup(vpcId)
    const cluster: Cluster = {
      name: body.name,
      arn: `arn:aws:eks:${region}:${account}:cluster/${body.name}`,
      createdAt: now(),
      version,
      platformVersion: 'eks.1',
      endpoint: box.endpoint,
      roleArn: body.roleArn,
      resourcesVpcConfig: {
        subnetIds: wanted.subnetIds ?? [],
        securityGroupIds: wanted.securityGroupIds ?? [],
        clusterSecurityGroupId,
        vpcId,
        endpointPublicAccess: wanted.endpointPublicAccess ?? true,
        endpointPrivateAccess: wanted.endpointPrivateAccess ?? false,
        publicAccessCidrs: wanted.publicAccessCidrs ?? ['0.0.0.0/0'],
      },
      kubernetesNetworkConfig: { serviceIpv4Cidr: box.serviceCidr, ipFamily: 'ipv4' },
      logging: completeLogging(body.logging),
      identity: { oidc: { issuer: box.oidcIssuer } },
      certificateAuthority: { data: box.certificateAuthority },
      accessConfig: { authenticationMode: body.accessConfig?.authenticationMode ?? 'CONFIG_MAP' },
      ...(body.encryptionConfig === undefined ? {} : { encryptionConfig: body.encryptionConfig }),
      upgradePolicy: { supportType: body.upgradePolicy?.supportType ?? 'EXTENDED' },
      ...(body.zonalShiftConfig === undefined ? {} : { zonalShiftConfig: body.zonalShiftConfig }),
      deletionProtection: body.deletionProtection ?? false,
      tags: body.tags ?? {},
      status: 'CREATING',
      settlesAt: settlesAt(),
    }
    const creator = await options.identify(headers.authorization ?? '')
    return store.change((state) => {
      state.cluster = cluster
      if (body.accessConfig?.bootstrapClusterCreatorAdminPermissions !== false) {
        state.accessEntries.push({
          ...createEntry(cluster, { principalArn: creator.principalArn }),
          policies: [
            {
              policyArn: 'arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy',
              accessScope: { type: 'cluster', namespaces: [] },
              associatedAt: now(),
              modifiedAt: now(),
            },
          ],
        })
      }
      return { cluster: shown(cluster) }
    })
  })

  app.get('/clusters', { schema: { querystring: Type.Object(Paging) } }, async ({ query }) => {
    const { cluster } = store.state
    const { items, nextToken } = page(cluster === undefined ? [] : [cluster.name], query)
    return { clusters: items, nextToken }
  })

  app.get('/clusters/:name', { schema: { params: Name } }, async ({ params }) => ({
    cluster: shown(store.cluster(params.name)),
  }))

  app.delete('/clusters/:name', { schema: { params: Name } }, async ({ params }) => {
    const cluster = store.activeCluster(params.name)
    const details = { clusterName: cluster.name }
    if (store.state.nodegroups.length > 0) {
      throw new EksFailure('ResourceInUseException', 'Cluster has nodegroups attached', details)
    }
    if (cluster.deletionProtection) {
      throw new EksFailure(
        'InvalidRequestException',
        'Cluster has deletion protection enabled; disable it before deleting the cluster',
        details,
      )
    }
    await options.deleteSecurityGroup(cluster.resourcesVpcConfig.clusterSecurityGroupId)
    return store.change(() => {
      cluster.status = 'DELETING'
      cluster.settlesAt = settlesAt()
      return { cluster: shown(cluster) }
    })
  })

  app.post(
    '/clusters/:name/update-config',
    { schema: { params: Name, body: UpdateClusterConfig } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      return store.change((state) => {
        const { resourcesVpcConfig: vpc, logging, accessConfig, upgradePolicy, zonalShiftConfig } = body
        let type = 'VpcConfigUpdate'
        if (vpc !== undefined) {
          const changed = Object.fromEntries(Object.entries(vpc).filter(([, value]) => value !== undefined))
          if ('endpointPublicAccess' in changed || 'endpointPrivateAccess' in changed) {
            type = 'EndpointAccessUpdate'
          }
          Object.assign(cluster.resourcesVpcConfig, changed)
        }
        if (logging !== undefined) {
          type = 'LoggingUpdate'
          cluster.logging = completeLogging(logging)
        }
        if (accessConfig?.authenticationMode !== undefined) {
          type = 'AccessConfigUpdate'
          cluster.accessConfig.authenticationMode = accessConfig.authenticationMode
        }
        if (upgradePolicy?.supportType !== undefined) {
          type = 'UpgradePolicyUpdate'
          cluster.upgradePolicy = { supportType: upgradePolicy.supportType }
        }
        if (zonalShiftConfig?.enabled !== undefined) {
          type = 'ZonalShiftConfigUpdate'
          cluster.zonalShiftConfig = { enabled: zonalShiftConfig.enabled }
        }
        if (body.deletionProtection !== undefined) {
          type = 'DeletionProtectionUpdate'
          cluster.deletionProtection = body.deletionProtection
        }
        cluster.status = 'UPDATING'
        cluster.settlesAt = settlesAt()
        return { update: shown(addUpdate(state, type)) }
      })
    },
  )

  app.post(
    '/clusters/:name/updates',
    { schema: { params: Name, body: UpdateClusterVersion } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      throw new EksFailure(
        'InvalidParameterException',
        body.version === cluster.version
          ? `Cluster is already at the desired configuration with version ${body.version}`
          : `unsupported Kubernetes version ${body.version}: the box runs ${box.version}`,
        { clusterName: cluster.name },
      )
    },
  )

  app.post(
    '/clusters/:name/encryption-config/associate',
    { schema: { params: Name, body: AssociateEncryptionConfig } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      if (cluster.encryptionConfig !== undefined) {
        throw new EksFailure(
          'InvalidRequestException',
          'Encryption is already enabled for this cluster and cannot be changed',
          { clusterName: cluster.name },
        )
      }
      return store.change((state) => {
        cluster.encryptionConfig = body.encryptionConfig
        return { update: shown(addUpdate(state, 'AssociateEncryptionConfig')) }
      })
    },
  )

  app.get(
    '/clusters/:name/updates',
    { schema: { params: Name, querystring: Of } },
    async ({ params, query }) => {
      store.cluster(params.name)
      const of = query.nodegroupName ?? query.addonName
      const ids = store.state.updates.filter((update) => update.of === of).map(({ id }) => id)
      const { items, nextToken } = page(ids, query)
      return { updateIds: items, nextToken }
    },
  )

  app.get(
    '/clusters/:name/updates/:id',
    { schema: { params: Type.Object({ name: Type.String(), id: Type.String() }) } },
    async ({ params }) => {
      store.cluster(params.name)
      const update = store.state.updates.find(({ id }) => id === params.id)
      if (update === undefined) {
        throw new EksFailure('ResourceNotFoundException', `No update found for ID: ${params.id}`, {
          clusterName: params.name,
        })
      }
      const { of: _of, ...visible } = shown(update)
      return { update: visible }
    },
  )

  const Versions = Type.Object({
    ...Paging,
    clusterVersions: Type.Optional(Type.Union([Type.String(), Type.Array(Type.String())])),
  })
  app.get('/cluster-versions', { schema: { querystring: Versions } }, async ({ query }) => {
    const asked = [query.clusterVersions ?? []].flat()
    const unknown = asked.find((version) => version !== box.version)
    if (unknown !== undefined) {
      throw new EksFailure(
        'InvalidParameterException',
        `unsupported Kubernetes version ${unknown}: the box runs ${box.version}`,
      )
    }
    return {
      clusterVersions: [
        {
          clusterVersion: box.version,
          clusterType: 'eks',
          defaultPlatformVersion: 'eks.1',
          defaultVersion: true,
          status: 'standard-support',
          versionStatus: 'STANDARD_SUPPORT',
          kubernetesPatchVersion: box.patchVersion,
        },
      ],
    }
  })
}

/** Records an update that begins now; `of` names the node group or add-on it is of. */
export function addUpdate(state: { updates: Update[] }, type: string, of?: string): Update {
  const update: Update = {
    id: randomUUID(),
    status: 'InProgress',
    type,
    params: [],
    createdAt: now(),
    errors: [],
    settlesAt: settlesAt(),
    ...(of === undefined ? {} : { of }),
  }
  state.updates.push(update)
  return update
}

/** EKS tells of every log type whether it is on. */
function completeLogging(asked: Cluster['logging'] | undefined): Cluster['logging'] {
  const enabled = new Set(asked?.clusterLogging.flatMap(({ types, enabled }) => (enabled ? types : [])) ?? [])
  const groups = [
    { types: logTypes.filter((type) => enabled.has(type)), enabled: true },
    { types: logTypes.filter((type) => !enabled.has(type)), enabled: false },
  ]
  return { clusterLogging: groups.filter(({ types }) => types.length > 0) }
}
