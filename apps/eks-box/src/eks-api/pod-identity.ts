import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { Api, EksApiOptions } from './api.ts'
import { EksFailure } from './failure.ts'
import {
  CreatePodIdentityAssociation,
  Paging,
  type PodIdentityAssociation,
  UpdatePodIdentityAssociation,
} from './model.ts'
import { isRepeat, now, page, type State, shown } from './store.ts'

const Name = Type.Object({ name: Type.String() })
const AssociationPath = Type.Object({ name: Type.String(), id: Type.String() })

/** Which service accounts may take on which IAM role. */
export function podIdentity({ app, store, options }: Api): void {
  const associations = '/clusters/:name/pod-identity-associations'

  const find = ({ name, id }: { name: string; id: string }): PodIdentityAssociation => {
    store.cluster(name)
    const found = store.state.podIdentityAssociations.find(({ associationId }) => associationId === id)
    if (found === undefined) {
      throw new EksFailure('ResourceNotFoundException', `The association ${id} could not be found`, {
        clusterName: name,
      })
    }
    return found
  }

  const checkRoles = async (asked: { roleArn?: string; targetRoleArn?: string }) => {
    for (const role of [asked.roleArn, asked.targetRoleArn]) {
      // A target role may be another account's, whose roles are not known here.
      if (role === undefined || !role.startsWith(`arn:aws:iam::${options.account}:`)) continue
      if (await options.principalExists(role)) continue
      throw new EksFailure(
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
      const before = findFor(store.state, body)
      if (before !== undefined && isRepeat(before, body)) return { association: shown(before) }
      const association = createAssociation(store.state, options, body)
      return store.change((state) => {
        state.podIdentityAssociations.push(association)
        return { association: shown(association) }
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
    association: shown(find(params)),
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
        return { association: shown(association) }
      })
    },
  )

  app.delete(`${associations}/:id`, { schema: { params: AssociationPath } }, async ({ params }) => {
    const association = find(params)
    return store.change((state) => {
      state.podIdentityAssociations = state.podIdentityAssociations.filter((other) => other !== association)
      return { association: shown(association) }
    })
  })
}

/**
 * A new association, complete with what EKS fills in.
 *
 * @param ownerArn the add-on it belongs to, if any.
 * @throws EksFailure when the service account has one.
 */
export function createAssociation(
  state: State,
  { account, region, cluster }: Pick<EksApiOptions, 'account' | 'region' | 'cluster'>,
  asked: Static<typeof CreatePodIdentityAssociation>,
  ownerArn?: string,
): PodIdentityAssociation {
  const taken = findFor(state, asked)
  if (taken !== undefined) {
    throw new EksFailure('ResourceInUseException', `Association already exists: ${taken.associationId}`, {
      clusterName: cluster.name,
    })
  }
  const associationId = `a-${randomUUID().replaceAll('-', '').slice(0, 17)}`
  return {
    clusterName: cluster.name,
    namespace: asked.namespace,
    serviceAccount: asked.serviceAccount,
    roleArn: asked.roleArn,
    associationArn: `arn:aws:eks:${region}:${account}:podidentityassociation/${cluster.name}/${associationId}`,
    associationId,
    tags: asked.tags ?? {},
    createdAt: now(),
    modifiedAt: now(),
    disableSessionTags: asked.disableSessionTags ?? false,
    // The target role's trust policy can ask for the external id.
    ...(asked.targetRoleArn === undefined
      ? {}
      : { targetRoleArn: asked.targetRoleArn, externalId: randomUUID() }),
    ...(ownerArn === undefined ? {} : { ownerArn }),
    ...(asked.clientRequestToken === undefined ? {} : { clientRequestToken: asked.clientRequestToken }),
  }
}

function findFor(state: State, wanted: { namespace: string; serviceAccount: string }) {
  return state.podIdentityAssociations.find(
    ({ namespace, serviceAccount }) =>
      namespace === wanted.namespace && serviceAccount === wanted.serviceAccount,
  )
}
