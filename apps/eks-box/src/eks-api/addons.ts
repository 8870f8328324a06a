import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Static, Type } from 'typebox'
import { parse } from 'yaml'
import type { Api } from './api.ts'
import { EksException } from './exception.ts'
import { type Addon, CreateAddon, Paging, UpdateAddon } from './model.ts'
import { createAssociation } from './pod-identity.ts'
import { isRetry, now, page, type State, settlesAt, toResponse } from './store.ts'
import { beginUpdate, failUpdates, settleUpdates } from './updates.ts'

/** Pause between two attempts to install or remove an add-on, in milliseconds. */
const pause = 500

const Name = Type.Object({ name: Type.String() })
/** A query parameter that may be repeated. */
const OneOrMore = Type.Union([Type.Array(Type.String()), Type.String()])
const AddonPath = Type.Object({ name: Type.String(), addon: Type.String() })

/**
 * Add-ons. A change takes effect in the background, and completes when the add-on's pods are available. Add-ons without
 * pods in the box are only recorded, except that the pod identity agent needs its add-on.
 */
export function addons({ app, store, options }: Api): void {
  const { cluster: box, account, region } = options

  /** Carries out the add-on's current transition, and repeats it until it succeeds or another one supersedes it. */
  const follow = async (addon: Addon): Promise<void> => {
    const { addonName, modifiedAt } = addon
    const isCurrent = () => addon.modifiedAt === modifiedAt && store.state.addons.includes(addon)
    const deadline = Date.now() + options.addonReadyTimeout
    while (isCurrent()) {
      try {
        if (addon.status === 'DELETING') await options.addonInstaller.remove(addonName)
        else await options.addonInstaller.install(addon)
        if (!isCurrent()) return
        store.change((state) => {
          addon.health = { issues: [] }
          addon.settlesAt = settlesAt()
          settleUpdates(state, addonName)
        })
        return
      } catch (error) {
        // There may be no node yet, or the API server may be restarting.
        if (isCurrent() && addon.status !== 'DELETING' && Date.now() > deadline) degrade(addon, error)
      }
      await sleep(pause)
    }
  }
  const degrade = (addon: Addon, error: unknown) => {
    const message = error instanceof Error ? error.message : String(error)
    const code = 'InsufficientNumberOfReplicas'
    store.change((state) => {
      addon.health = { issues: [{ code, message, resourceIds: [] }] }
      addon.status = 'DEGRADED'
      failUpdates(state, addon.addonName, code, message)
    })
  }
  /** The last transition of each add-on. The next one begins when it has ended. */
  const transitions = new Map<string, Promise<void>>()
  const followInBackground = (addon: Addon) => {
    const previous = transitions.get(addon.addonName) ?? Promise.resolve()
    const next = previous.then(() => follow(addon))
    transitions.set(
      addon.addonName,
      next.catch((error: unknown) => console.error(`add-on ${addon.addonName}:`, error)),
    )
  }
  // Continues what a previous process had begun.
  for (const addon of store.state.addons) {
    if (addon.status !== 'ACTIVE' && addon.settlesAt === undefined) followInBackground(addon)
  }

  const versionsOf = (name: string) => {
    const addon = options.addons.get(name)
    if (addon === undefined) {
      throw new EksException(
        'InvalidParameterException',
        `Addon ${name} specified is not supported for cluster ${box.name}`,
        { addonName: name },
      )
    }
    return addon.versions
  }
  const checkVersion = (name: string, version: string) => {
    if (!versionsOf(name).includes(version)) {
      throw new EksException(
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
      // Refused below, together with values that are not a mapping.
    }
    throw new EksException(
      'InvalidParameterException',
      'ConfigurationValue provided in request is not valid JSON or YAML',
      { addonName: name },
    )
  }
  /** Replaces the pod identity associations of an add-on. */
  const associate = (
    state: State,
    addon: Addon,
    input: Static<typeof UpdateAddon>['podIdentityAssociations'],
  ) => {
    const others = state.podIdentityAssociations.filter(({ ownerArn }) => ownerArn !== addon.addonArn)
    const own = (input ?? []).map((association) =>
      createAssociation(
        { ...state, podIdentityAssociations: others },
        options,
        { ...association, namespace: 'kube-system' },
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
      throw new EksException('ResourceNotFoundException', `No addon: ${addon} found in cluster: ${name}`, {
        clusterName: name,
        addonName: addon,
      })
    }
    return found
  }
  const findSettled = (path: { name: string; addon: string }): Addon => {
    const addon = find(path)
    if (addon.status !== 'ACTIVE' && addon.status !== 'DEGRADED') {
      throw new EksException('ResourceInUseException', `Addon ${path.addon} is ${addon.status}`, {
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
      const existing = store.state.addons.find((other) => other.addonName === addonName)
      if (existing !== undefined && isRetry(existing, body)) return { addon: toResponse(existing) }
      const addonVersion = checkVersion(addonName, body.addonVersion ?? versionsOf(addonName)[0])
      checkConfiguration(addonName, body.configurationValues)
      if (existing !== undefined) {
        throw new EksException('ResourceInUseException', 'Addon already exists.', {
          clusterName: cluster.name,
          addonName,
        })
      }
      const addon = store.change((state) => {
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
          ...(body.clientRequestToken === undefined ? {} : { clientRequestToken: body.clientRequestToken }),
        }
        associate(state, addon, body.podIdentityAssociations)
        state.addons.push(addon)
        return addon
      })
      const response = { addon: toResponse(addon) }
      followInBackground(addon)
      return response
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
    addon: toResponse(find(params)),
  }))

  app.post(
    '/clusters/:name/addons/:addon/update',
    { schema: { params: AddonPath, body: UpdateAddon } },
    async ({ params, body }) => {
      store.liveCluster(params.name)
      const addon = findSettled(params)
      if (body.addonVersion !== undefined) checkVersion(addon.addonName, body.addonVersion)
      checkConfiguration(addon.addonName, body.configurationValues)
      const response = store.change((state) => {
        const { configurationValues, serviceAccountRoleArn, podIdentityAssociations } = body
        if (podIdentityAssociations !== undefined) associate(state, addon, podIdentityAssociations)
        addon.addonVersion = body.addonVersion ?? addon.addonVersion
        if (configurationValues !== undefined) addon.configurationValues = configurationValues
        if (serviceAccountRoleArn !== undefined) addon.serviceAccountRoleArn = serviceAccountRoleArn
        addon.modifiedAt = now()
        addon.status = 'UPDATING'
        const params = {
          AddonVersion: body.addonVersion,
          ServiceAccountRoleArn: serviceAccountRoleArn,
          ResolveConflicts: body.resolveConflicts,
          ConfigurationValues: configurationValues,
          PodIdentityAssociations: podIdentityAssociations,
        }
        return beginUpdate(state, 'AddonUpdate', params, addon.addonName)
      })
      followInBackground(addon)
      return response
    },
  )

  const Preserve = Type.Object({ preserve: Type.Optional(Type.Boolean()) }, { additionalProperties: false })
  const deletion = { schema: { params: AddonPath, querystring: Preserve } }
  app.delete('/clusters/:name/addons/:addon', deletion, async ({ params, query }) => {
    store.liveCluster(params.name)
    const addon = find(params)
    const response = store.change((state) => {
      associate(state, addon, [])
      addon.modifiedAt = now()
      addon.status = 'DELETING'
      if (query.preserve === true) addon.settlesAt = settlesAt()
      return { addon: toResponse(addon) }
    })
    if (query.preserve !== true) followInBackground(addon)
    return response
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
    const isBoxVersion = query.kubernetesVersion === undefined || query.kubernetesVersion === box.version
    const matches = (filter: string | string[] | undefined, value: string) =>
      filter === undefined || [filter].flat().includes(value)
    const all = [...options.addons]
      .filter(
        ([name, { type }]) =>
          isBoxVersion &&
          matches(query.addonName, name) &&
          matches(query.types, type) &&
          matches(query.publishers, 'eks') &&
          matches(query.owners, 'aws'),
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

/** Sorts as EKS does: clients take the first version as the most recent one. */
function newestFirst(versions: readonly string[]): string[] {
  return versions.toSorted((one, other) => other.localeCompare(one, 'en', { numeric: true }))
}
