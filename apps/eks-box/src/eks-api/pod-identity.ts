import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { Api, EksApiOptions } from './api.ts'
import { EksException } from './exception.ts'
import {
  CreatePodIdentityAssociation,
  Paging,
  type PodIdentityAssociation,
  UpdatePodIdentityAssociation,
} from './model.ts'
import { isRetry, now, page, type State, toResponse } from './store.ts'

const Name = Type.Object({ name: Type.String() })
const AssociationPath = Type.Object({ name: Type.String(), id: Type.String() })

/** Pod identity associations: the IAM roles that service accounts may assume. */
export function podIdentity({ app, store, options }: Api): void {
  const associations = '/clusters/:name/pod-identity-associations'

  const find = ({ name, id }: { name: string; id: string }): PodIdentityAssociation => {
    store.cluster(name)
    const found = store.state.podIdentityAssociations.find(({ associationId }) => associationId === id)
    if (found === undefined) {
      throw new EksException('ResourceNotFoundException', `The association ${id} could not be found`, {
        clusterName: name,
      })
    }
    return found
  }

  const checkRoles = async (input: { roleArn?: string; targetRoleArn?: string }) => {
    for (const role of [input.roleArn, input.targetRoleArn]) {
      // A target role may belong to another account, which the box does not know.
      if (role === undefined || !role.startsWith(`arn:aws:iam::${options.account}:`)) continue
      if (await options.principalExists(role)) continue
      throw new EksException(
        'InvalidParameterException',
        `Role provided in the request does not exist: ${role}`,
      )
    }
  }

  app.post(
    associations,
    { schema: { params: Name, body: CreatePodIdentityAssociation } },
    async ({ params, body }) => {
      await checkRoles(body)
      store.liveCluster(params.name)
      const existing = findAssociation(store.state, body)
      if (existing !== undefined && isRetry(existing, body)) return { association: toResponse(existing) }
      const association = createAssociation(store.state, options, body)
      return store.change((state) => {
        state.podIdentityAssociations.push(association)
        return { association: toResponse(association) }
      })
    },
  )

  const Filter = Type.Object({
    ...Paging,
    namespace: Type.Optional(Type.String()),
    serviceAccount: Type.Optional(Type.String()),
  })
  app.get(associations, { schema: { params: Name, querystring: Filter } }, async ({ params, query }) => {
    store.cluster(params.name)
    const found = store.state.podIdentityAssociations
      .filter(
        ({ namespace, serviceAccount }) =>
          (query.namespace ?? namespace) === namespace &&
          (query.serviceAccount ?? serviceAccount) === serviceAccount,
      )
      .map(({ clusterName, namespace, serviceAccount, associationArn, associationId, ownerArn }) => ({
        clusterName,
        namespace,
        serviceAccount,
        associationArn,
        associationId,
        ownerArn,
      }))
    const { items, nextToken } = page(found, query)
    return { associations: items, nextToken }
  })

  app.get(`${associations}/:id`, { schema: { params: AssociationPath } }, async ({ params }) => ({
    association: toResponse(find(params)),
  }))

  app.post(
    `${associations}/:id`,
    { schema: { params: AssociationPath, body: UpdatePodIdentityAssociation } },
    async ({ params, body }) => {
      await checkRoles(body)
      const association = find(params)
      return store.change(() => {
        association.roleArn = body.roleArn ?? association.roleArn
        association.disableSessionTags = body.disableSessionTags ?? association.disableSessionTags
        if (body.targetRoleArn !== undefined) {
          association.targetRoleArn = body.targetRoleArn
          association.externalId ??= randomUUID()
        }
        association.modifiedAt = now()
        return { association: toResponse(association) }
      })
    },
  )

  app.delete(`${associations}/:id`, { schema: { params: AssociationPath } }, async ({ params }) => {
    const association = find(params)
    return store.change((state) => {
      state.podIdentityAssociations = state.podIdentityAssociations.filter((other) => other !== association)
      return { association: toResponse(association) }
    })
  })
}

/**
 * Creates an association, with the defaults of EKS.
 *
 * @param ownerArn the add-on that owns the association, if any.
 * @throws EksException when the service account already has an association.
 */
export function createAssociation(
  state: State,
  { account, region, cluster }: Pick<EksApiOptions, 'account' | 'region' | 'cluster'>,
  input: Static<typeof CreatePodIdentityAssociation>,
  ownerArn?: string,
): PodIdentityAssociation {
  const existing = findAssociation(state, input)
  if (existing !== undefined) {
    throw new EksException(
      'ResourceInUseException',
      `Association already exists: ${existing.associationId}`,
      {
        clusterName: cluster.name,
      },
    )
  }
  const associationId = `a-${randomUUID().replaceAll('-', '').slice(0, 17)}`
  return {
    clusterName: cluster.name,
    namespace: input.namespace,
    serviceAccount: input.serviceAccount,
    roleArn: input.roleArn,
    associationArn: `arn:aws:eks:${region}:${account}:podidentityassociation/${cluster.name}/${associationId}`,
    associationId,
    tags: input.tags ?? {},
    createdAt: now(),
    modifiedAt: now(),
    disableSessionTags: input.disableSessionTags ?? false,
    // The target role's trust policy can require the external id.
    ...(input.targetRoleArn === undefined
      ? {}
      : { targetRoleArn: input.targetRoleArn, externalId: randomUUID() }),
    ...(ownerArn === undefined ? {} : { ownerArn }),
    ...(input.clientRequestToken === undefined ? {} : { clientRequestToken: input.clientRequestToken }),
  }
}

/** The association of a service account, if it has one. */
export function findAssociation(
  state: State,
  account: { namespace: string; serviceAccount: string },
): PodIdentityAssociation | undefined {
  return state.podIdentityAssociations.find(
    ({ namespace, serviceAccount }) =>
      namespace === account.namespace && serviceAccount === account.serviceAccount,
  )
}
