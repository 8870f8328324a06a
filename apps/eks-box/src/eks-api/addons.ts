import { Type } from 'typebox'
import type { Api } from './api.ts'
import { addUpdate } from './clusters.ts'
import { EksFailure } from './failure.ts'
import { type Addon, CreateAddon, UpdateAddon } from './model.ts'
import { createAssociation } from './pod-identity.ts'
import { now, page, settlesAt, shown } from './store.ts'

const Paging = { maxResults: Type.Optional(Type.Integer()), nextToken: Type.Optional(Type.String()) }
const Name = Type.Object({ name: Type.String() })
const AddonPath = Type.Object({ name: Type.String(), addon: Type.String() })

/** Add-ons. The box runs their programs whether they are asked for or not; here they are only kept account of. */
export function addons({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options

  const versionsOf = (name: string) => {
    const versions = options.addons[name]
    if (versions === undefined) {
      throw new EksFailure(
        'InvalidParameterException',
        `Addon ${name} specified is not supported for cluster ${box.name}`,
        { addonName: name },
      )
    }
    return versions
  }
  const checkVersion = (name: string, version: string) => {
    if (!versionsOf(name).includes(version)) {
      throw new EksFailure(
        'InvalidParameterException',
        `Addon version ${version} specified is not supported; ${name} has ${versionsOf(name).join(', ')}`,
        { addonName: name },
      )
    }
    return version
  }
  const checkConfiguration = (name: string, values: string | undefined) => {
    try {
      if (values !== undefined) JSON.parse(values)
    } catch (cause) {
      throw new EksFailure(
        'InvalidParameterException',
        `ConfigurationValue provided in request is not valid JSON: ${cause instanceof Error ? cause.message : cause}`,
        { addonName: name },
      )
    }
  }
  const find = ({ name, addon }: { name: string; addon: string }): Addon => {
    store.cluster(name)
    const found = store.state.addons.find(({ addonName }) => addonName === addon)
    if (found === undefined) {
      throw new EksFailure('ResourceNotFoundException', `No addon: ${addon} found in cluster: ${name}`, {
        clusterName: name,
        addonName: addon,
      })
    }
    return found
  }

  app.post(
    '/clusters/:name/addons',
    { schema: { params: Name, body: CreateAddon } },
    async ({ params, body }) => {
      const cluster = store.activeCluster(params.name)
      const { addonName } = body
      const addonVersion = checkVersion(addonName, body.addonVersion ?? versionsOf(addonName)[0])
      checkConfiguration(addonName, body.configurationValues)
      if (store.state.addons.some((other) => other.addonName === addonName)) {
        throw new EksFailure('ResourceInUseException', 'Addon already exists.', {
          clusterName: cluster.name,
          addonName,
        })
      }
      return store.change((state) => {
        const arn = `arn:aws:eks:${region}:${account}:addon/${cluster.name}/${addonName}`
        const associations = (body.podIdentityAssociations ?? []).map((wanted) =>
          createAssociation(options, { ...wanted, namespace: 'kube-system' }),
        )
        state.podIdentityAssociations.push(...associations)
        const addon: Addon = {
          addonName,
          clusterName: cluster.name,
          addonVersion,
          addonArn: `${arn}/${crypto.randomUUID()}`,
          createdAt: now(),
          modifiedAt: now(),
          ...(body.serviceAccountRoleArn === undefined
            ? {}
            : { serviceAccountRoleArn: body.serviceAccountRoleArn }),
          ...(body.configurationValues === undefined
            ? {}
            : { configurationValues: body.configurationValues }),
          tags: body.tags ?? {},
          health: { issues: [] },
          publisher: 'eks',
          owner: 'aws',
          podIdentityAssociations: associations.map(({ associationArn }) => associationArn),
          status: 'CREATING',
          settlesAt: settlesAt(),
        }
        state.addons.push(addon)
        return { addon: shown(addon) }
      })
    },
  )

  app.get(
    '/clusters/:name/addons',
    { schema: { params: Name, querystring: Type.Object(Paging) } },
    async ({ params, query }) => {
      store.cluster(params.name)
      const { items, nextToken } = page(
        store.state.addons.map(({ addonName }) => addonName),
        query,
      )
      return { addons: items, nextToken }
    },
  )

  app.get('/clusters/:name/addons/:addon', { schema: { params: AddonPath } }, async ({ params }) => ({
    addon: shown(find(params)),
  }))

  app.post(
    '/clusters/:name/addons/:addon/update',
    { schema: { params: AddonPath, body: UpdateAddon } },
    async ({ params, body }) => {
      store.activeCluster(params.name)
      const addon = find(params)
      if (body.addonVersion !== undefined) checkVersion(addon.addonName, body.addonVersion)
      checkConfiguration(addon.addonName, body.configurationValues)
      return store.change((state) => {
        addon.addonVersion = body.addonVersion ?? addon.addonVersion
        const { configurationValues, serviceAccountRoleArn } = body
        if (configurationValues !== undefined) addon.configurationValues = configurationValues
        if (serviceAccountRoleArn !== undefined) addon.serviceAccountRoleArn = serviceAccountRoleArn
        addon.modifiedAt = now()
        addon.status = 'UPDATING'
        addon.settlesAt = settlesAt()
        return { update: shown(addUpdate(state, 'AddonUpdate', addon.addonName)) }
      })
    },
  )

  app.delete('/clusters/:name/addons/:addon', { schema: { params: AddonPath } }, async ({ params }) => {
    store.activeCluster(params.name)
    const addon = find(params)
    return store.change((state) => {
      state.podIdentityAssociations = state.podIdentityAssociations.filter(
        ({ associationArn }) => !addon.podIdentityAssociations.includes(associationArn),
      )
      addon.status = 'DELETING'
      addon.settlesAt = settlesAt()
      return { addon: shown(addon) }
    })
  })

  const Supported = Type.Object({
    ...Paging,
    kubernetesVersion: Type.Optional(Type.String()),
    addonName: Type.Optional(Type.String()),
  })
  app.get('/addons/supported-versions', { schema: { querystring: Supported } }, async ({ query }) => {
    if (query.addonName !== undefined) versionsOf(query.addonName)
    const fitting = query.kubernetesVersion === undefined || query.kubernetesVersion === box.version
    const all = Object.entries(options.addons)
      .filter(([name]) => fitting && (query.addonName ?? name) === name)
      .map(([addonName, versions]) => ({
        addonName,
        type: 'networking',
        publisher: 'eks',
        owner: 'aws',
        defaultNamespace: 'kube-system',
        addonVersions: versions.map((addonVersion, index) => ({
          addonVersion,
          architecture: ['amd64', 'arm64'],
          computeTypes: ['ec2'],
          compatibilities: [
            { clusterVersion: box.version, platformVersions: ['*'], defaultVersion: index === 0 },
          ],
          requiresConfiguration: false,
          requiresIamPermissions: false,
        })),
      }))
    const { items, nextToken } = page(all, query)
    return { addons: items, nextToken }
  })

  const Configuration = Type.Object({ addonName: Type.String(), addonVersion: Type.String() })
  app.get('/addons/configuration-schemas', { schema: { querystring: Configuration } }, async ({ query }) => ({
    addonName: query.addonName,
    addonVersion: checkVersion(query.addonName, query.addonVersion),
    configurationSchema: JSON.stringify({ type: 'object' }),
  }))
}
