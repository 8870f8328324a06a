import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { parse } from 'yaml'
import type { Api } from './api.ts'
import { EksFailure } from './failure.ts'
import { type Addon, CreateAddon, Paging, UpdateAddon } from './model.ts'
import { createAssociation } from './pod-identity.ts'
import { isRepeat, now, page, type State, settlesAt, shown } from './store.ts'
import { beginUpdate } from './updates.ts'

const Name = Type.Object({ name: Type.String() })
/** A parameter of a query that may occur again. */
const OneOrMore = Type.Union([Type.Array(Type.String()), Type.String()])
const AddonPath = Type.Object({ name: Type.String(), addon: Type.String() })

/** Add-ons. The box runs their programs whether they are asked for or not; here they are only kept account of. */
export function addons({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options

  const versionsOf = (name: string) => {
    const addon = options.addons.get(name)
    if (addon === undefined) {
      throw new EksFailure(
        'InvalidParameterException',
        `Addon ${name} specified is not supported for cluster ${box.name}`,
        { addonName: name },
      )
    }
    return addon.versions
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
      if (values === undefined || typeof parse(values) === 'object') return
    } catch {
      // Refused below, as what is no mapping is.
    }
    throw new EksFailure(
      'InvalidParameterException',
      'ConfigurationValue provided in request is not valid JSON or YAML',
      { addonName: name },
    )
  }
  /** Gives an add-on these associations in place of those it has. */
  const associate = (
    state: State,
    addon: Addon,
    asked: Static<typeof UpdateAddon>['podIdentityAssociations'],
  ) => {
    const others = state.podIdentityAssociations.filter(({ ownerArn }) => ownerArn !== addon.addonArn)
    const own = (asked ?? []).map((wanted) =>
      createAssociation(
        { ...state, podIdentityAssociations: others },
        options,
        { ...wanted, namespace: 'kube-system' },
        addon.addonArn,
      ),
    )
    state.podIdentityAssociations = [...others, ...own]
    addon.podIdentityAssociations = own.map(({ associationArn }) => associationArn)
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
  const findActive = (path: { name: string; addon: string }): Addon => {
    const addon = find(path)
    if (addon.status !== 'ACTIVE') {
      throw new EksFailure('ResourceInUseException', `Addon ${path.addon} is ${addon.status}`, {
        clusterName: path.name,
        addonName: path.addon,
      })
    }
    return addon
  }

  app.post(
    '/clusters/:name/addons',
    { schema: { params: Name, body: CreateAddon } },
    async ({ params, body }) => {
      const cluster = store.liveCluster(params.name)
      const { addonName } = body
      const before = store.state.addons.find((other) => other.addonName === addonName)
      if (before !== undefined && isRepeat(before, body)) return { addon: shown(before) }
      const addonVersion = checkVersion(addonName, body.addonVersion ?? versionsOf(addonName)[0])
      checkConfiguration(addonName, body.configurationValues)
      if (before !== undefined) {
        throw new EksFailure('ResourceInUseException', 'Addon already exists.', {
          clusterName: cluster.name,
          addonName,
        })
      }
      return store.change((state) => {
        const arn = `arn:aws:eks:${region}:${account}:addon/${cluster.name}/${addonName}`
        const addon: Addon = {
          addonName,
          clusterName: cluster.name,
          addonVersion,
          addonArn: `${arn}/${randomUUID()}`,
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
          podIdentityAssociations: [],
          status: 'CREATING',
          settlesAt: settlesAt(),
          ...(body.clientRequestToken === undefined ? {} : { clientRequestToken: body.clientRequestToken }),
        }
        associate(state, addon, body.podIdentityAssociations)
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
      store.liveCluster(params.name)
      const addon = findActive(params)
      if (body.addonVersion !== undefined) checkVersion(addon.addonName, body.addonVersion)
      checkConfiguration(addon.addonName, body.configurationValues)
      return store.change((state) => {
        const { configurationValues, serviceAccountRoleArn, podIdentityAssociations } = body
        if (podIdentityAssociations !== undefined) associate(state, addon, podIdentityAssociations)
        addon.addonVersion = body.addonVersion ?? addon.addonVersion
        if (configurationValues !== undefined) addon.configurationValues = configurationValues
        if (serviceAccountRoleArn !== undefined) addon.serviceAccountRoleArn = serviceAccountRoleArn
        addon.modifiedAt = now()
        addon.status = 'UPDATING'
        addon.settlesAt = settlesAt()
        const params = {
          AddonVersion: body.addonVersion,
          ServiceAccountRoleArn: serviceAccountRoleArn,
          ResolveConflicts: body.resolveConflicts,
          ConfigurationValues: configurationValues,
          PodIdentityAssociations: podIdentityAssociations,
        }
        return beginUpdate(state, 'AddonUpdate', params, addon.addonName)
      })
    },
  )

  // Whether the program is preserved or not: the box runs it anyway.
  const Preserve = Type.Object({ preserve: Type.Optional(Type.Boolean()) }, { additionalProperties: false })
  const deletion = { schema: { params: AddonPath, querystring: Preserve } }
  app.delete('/clusters/:name/addons/:addon', deletion, async ({ params }) => {
    store.liveCluster(params.name)
    const addon = find(params)
    return store.change((state) => {
      associate(state, addon, [])
      addon.status = 'DELETING'
      addon.settlesAt = settlesAt()
      return { addon: shown(addon) }
    })
  })

  const Supported = Type.Object(
    {
      ...Paging,
      kubernetesVersion: Type.Optional(Type.String()),
      addonName: Type.Optional(Type.String()),
      types: Type.Optional(OneOrMore),
      publishers: Type.Optional(OneOrMore),
      owners: Type.Optional(OneOrMore),
    },
    { additionalProperties: false },
  )
  app.get('/addons/supported-versions', { schema: { querystring: Supported } }, async ({ query }) => {
    if (query.addonName !== undefined) versionsOf(query.addonName)
    const fitting = query.kubernetesVersion === undefined || query.kubernetesVersion === box.version
    const isAsked = (wanted: string | string[] | undefined, value: string) =>
      wanted === undefined || [wanted].flat().includes(value)
    const all = [...options.addons]
      .filter(
        ([name, { type }]) =>
          fitting &&
          isAsked(query.addonName, name) &&
          isAsked(query.types, type) &&
          isAsked(query.publishers, 'eks') &&
          isAsked(query.owners, 'aws'),
      )
      .map(([addonName, { type, versions }]) => ({
        addonName,
        type,
        publisher: 'eks',
        owner: 'aws',
        defaultNamespace: 'kube-system',
        addonVersions: newestFirst(versions).map((addonVersion) => ({
          addonVersion,
          architecture: ['amd64', 'arm64'],
          computeTypes: ['ec2'],
          compatibilities: [
            {
              clusterVersion: box.version,
              platformVersions: ['*'],
              defaultVersion: addonVersion === versions[0],
            },
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

/** As EKS lists them: who asks for the most recent takes the first. */
function newestFirst(versions: readonly string[]): string[] {
  return versions.toSorted((one, other) => other.localeCompare(one, 'en', { numeric: true }))
}
