import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { Api } from './api.ts'
import { EksFailure } from './failure.ts'
import {
  type AccessEntry,
  type AccessScope,
  AssociateAccessPolicy,
  type AssociatedPolicy,
  type Cluster,
  CreateAccessEntry,
  Paging,
  UpdateAccessEntry,
} from './model.ts'
import { isRepeat, now, page, type State, shown } from './store.ts'

const policyNames = [
  'AmazonEKSClusterAdminPolicy',
  'AmazonEKSAdminPolicy',
  'AmazonEKSEditPolicy',
  'AmazonEKSViewPolicy',
  'AmazonEKSAdminViewPolicy',
] as const

/** The access policies the box honours, by name: EKS's for people. Its others are for parts of EKS itself. */
export const ACCESS_POLICIES = policyNames.map((name) => ({
  name,
  arn: `arn:aws:eks::aws:cluster-access-policy/${name}`,
}))

const Name = Type.Object({ name: Type.String() })
const EntryPath = Type.Object({ name: Type.String(), principal: Type.String() })

/** Access entries and the access policies associated with them. */
export function access({ app, store, options }: Api): void {
  const entries = '/clusters/:name/access-entries'

  app.post(entries, { schema: { params: Name, body: CreateAccessEntry } }, async ({ params, body }) => {
    store.liveCluster(params.name)
    const isPrincipal = await options.principalExists(body.principalArn)
    const cluster = store.liveCluster(params.name)
    const before = store.state.accessEntries.find(({ principalArn }) =>
      isSamePrincipal(principalArn, body.principalArn),
    )
    if (before !== undefined && isRepeat(before, body)) return { accessEntry: visible(before) }
    if (before !== undefined) {
      throw new EksFailure(
        'ResourceInUseException',
        'The specified access entry resource is already in use on this cluster.',
        { clusterName: cluster.name },
      )
    }
    const entry = createEntry(cluster, body)
    if (!isPrincipal) {
      throw new EksFailure(
        'InvalidParameterException',
        'The specified principalArn is invalid: invalid principal.',
        { clusterName: cluster.name },
      )
    }
    return store.change((state) => {
      state.accessEntries.push(entry)
      return { accessEntry: visible(entry) }
    })
  })

  app.get(
    entries,
    {
      schema: {
        params: Name,
        querystring: Type.Object({ ...Paging, associatedPolicyArn: Type.Optional(Type.String()) }),
      },
    },
    async ({ params, query }) => {
      store.liveCluster(params.name)
      const wanted = query.associatedPolicyArn
      const found = store.state.accessEntries
        .filter(
          ({ policies }) => wanted === undefined || policies.some((policy) => policy.policyArn === wanted),
        )
        .map(({ principalArn }) => principalArn)
      const { items, nextToken } = page(found, query)
      return { accessEntries: items, nextToken }
    },
  )

  app.get(`${entries}/:principal`, { schema: { params: EntryPath } }, async ({ params }) => {
    store.liveCluster(params.name)
    return { accessEntry: visible(findEntry(store.state, params)) }
  })

  app.post(
    `${entries}/:principal`,
    { schema: { params: EntryPath, body: UpdateAccessEntry } },
    async ({ params, body }) => {
      store.liveCluster(params.name)
      const entry = findEntry(store.state, params)
      checkNames(entry.type, body)
      return store.change(() => {
        entry.kubernetesGroups = body.kubernetesGroups ?? entry.kubernetesGroups
        entry.username = body.username ?? entry.username
        entry.modifiedAt = now()
        return { accessEntry: visible(entry) }
      })
    },
  )

  app.delete(`${entries}/:principal`, { schema: { params: EntryPath } }, async ({ params }) => {
    store.liveCluster(params.name)
    const entry = findEntry(store.state, params)
    return store.change((state) => {
      state.accessEntries = state.accessEntries.filter((other) => other !== entry)
      return {}
    })
  })

  app.post(
    `${entries}/:principal/access-policies`,
    { schema: { params: EntryPath, body: AssociateAccessPolicy } },
    async ({ params, body }) => {
      store.liveCluster(params.name)
      const entry = findEntry(store.state, params)
      checkPolicy(entry, body)
      return store.change(() => {
        const before = entry.policies.find((policy) => policy.policyArn === body.policyArn)
        const policy: AssociatedPolicy = {
          policyArn: body.policyArn,
          accessScope: { type: body.accessScope.type, namespaces: body.accessScope.namespaces ?? [] },
          associatedAt: before?.associatedAt ?? now(),
          modifiedAt: now(),
        }
        entry.policies = [...entry.policies.filter((other) => other !== before), policy]
        return {
          clusterName: params.name,
          principalArn: entry.principalArn,
          associatedAccessPolicy: policy,
        }
      })
    },
  )

  app.get(
    `${entries}/:principal/access-policies`,
    { schema: { params: EntryPath, querystring: Type.Object(Paging) } },
    async ({ params, query }) => {
      store.liveCluster(params.name)
      const entry = findEntry(store.state, params)
      const { items, nextToken } = page(entry.policies, query)
      return {
        clusterName: params.name,
        principalArn: entry.principalArn,
        associatedAccessPolicies: items,
        nextToken,
      }
    },
  )

  app.delete(
    `${entries}/:principal/access-policies/:policy`,
    {
      schema: {
        params: Type.Object({ name: Type.String(), principal: Type.String(), policy: Type.String() }),
      },
    },
    async ({ params }) => {
      store.liveCluster(params.name)
      const entry = findEntry(store.state, params)
      if (!entry.policies.some((policy) => policy.policyArn === params.policy)) {
        throw new EksFailure(
          'ResourceNotFoundException',
          'The specified access policy could not be found on the access entry.',
          { clusterName: params.name },
        )
      }
      return store.change(() => {
        entry.policies = entry.policies.filter((policy) => policy.policyArn !== params.policy)
        return {}
      })
    },
  )

  app.get('/access-policies', { schema: { querystring: Type.Object(Paging) } }, async ({ query }) => {
    const { items, nextToken } = page(ACCESS_POLICIES, query)
    return { accessPolicies: items, nextToken }
  })
}

/**
 * A new access entry, complete with what EKS fills in.
 *
 * @throws EksFailure when the principal, the type or the groups are none EKS takes.
 */
export function createEntry(
  cluster: Pick<Cluster, 'name' | 'arn'>,
  asked: Static<typeof CreateAccessEntry>,
): AccessEntry {
  const { principalArn, type = 'STANDARD' } = asked
  const principal = /^arn:aws:iam::(\d{12}):(role|user)\/(?:.*\/)?([^/]+)$/.exec(principalArn)
  if (principal === null) {
    throw new EksFailure(
      'InvalidParameterException',
      `The principalArn parameter format is not valid: ${principalArn} is no ARN of an IAM user or role`,
      { clusterName: cluster.name },
    )
  }
  const [, account, kind, name] = principal
  if (type !== 'STANDARD' && (type !== 'EC2_LINUX' || kind !== 'role')) {
    throw new EksFailure(
      'InvalidParameterException',
      `The box has no access entries of type ${type} for a ${kind}`,
      { clusterName: cluster.name },
    )
  }
  checkNames(type, asked)
  const session = `arn:aws:sts::${account}:assumed-role/${name}/{{SessionName}}`
  return {
    clusterName: cluster.name,
    principalArn,
    kubernetesGroups: type === 'EC2_LINUX' ? ['system:nodes'] : (asked.kubernetesGroups ?? []),
    accessEntryArn: `${cluster.arn.replace(':cluster/', ':access-entry/')}/${kind}/${account}/${name}/${randomUUID()}`,
    createdAt: now(),
    modifiedAt: now(),
    tags: asked.tags ?? {},
    username:
      type === 'EC2_LINUX'
        ? 'system:node:{{EC2PrivateDNSName}}'
        : (asked.username ?? (kind === 'role' ? session : principalArn)),
    type,
    policies: [],
    ...(asked.clientRequestToken === undefined ? {} : { clientRequestToken: asked.clientRequestToken }),
  }
}

/**
 * Whether two ARNs of IAM name one user or role. Their paths do not count: names are unique in an account, and
 * the ARN of a role's session has no path.
 */
export function isSamePrincipal(one: string, other: string): boolean {
  const withoutPath = (arn: string) => arn.replace(/:(role|user)\/.*\//, ':$1/')
  return withoutPath(one) === withoutPath(other)
}

function checkNames(type: string, asked: { kubernetesGroups?: string[]; username?: string }): void {
  const { kubernetesGroups: groups = [], username } = asked
  const names = [...groups, ...(username === undefined ? [] : [username])]
  if (type !== 'STANDARD' && names.length > 0) {
    throw new EksFailure(
      'InvalidParameterException',
      `An access entry of type ${type} takes no username and no kubernetesGroups`,
    )
  }
  // What begins so belongs to Kubernetes and AWS (EKS user guide, access entries).
  const refused = names.find((name) => /^(system:|eks:|aws:|amazon:|iam:)/.test(name))
  if (refused !== undefined) {
    const kind = groups.includes(refused) ? 'group name' : 'username'
    throw new EksFailure(
      'InvalidParameterException',
      `The kubernetes ${kind} ${refused} is invalid, it cannot start with ${refused.split(':')[0]}:`,
    )
  }
}

function checkPolicy(
  entry: AccessEntry,
  asked: { policyArn: string; accessScope: Static<typeof AccessScope> },
): void {
  const details = { clusterName: entry.clusterName }
  if (!ACCESS_POLICIES.some(({ arn }) => arn === asked.policyArn)) {
    throw new EksFailure(
      'InvalidParameterException',
      `The policyArn ${asked.policyArn} is not valid`,
      details,
    )
  }
  if (entry.type !== 'STANDARD') {
    throw new EksFailure(
      'InvalidRequestException',
      `An access entry of type ${entry.type} takes no access policies`,
      details,
    )
  }
  const { type, namespaces = [] } = asked.accessScope
  if ((type === 'namespace') !== namespaces.length > 0) {
    throw new EksFailure(
      'InvalidParameterException',
      'An access scope of type namespace, and no other, names namespaces',
      details,
    )
  }
}

function findEntry(state: State, { name, principal }: { name: string; principal: string }): AccessEntry {
  const entry = state.accessEntries.find(({ principalArn }) => principalArn === principal)
  if (entry === undefined) {
    throw new EksFailure(
      'ResourceNotFoundException',
      `The specified principalArn could not be found: ${principal}`,
      { clusterName: name },
    )
  }
  return entry
}

function visible(entry: AccessEntry) {
  const { policies: _policies, ...visible } = shown(entry)
  return visible
}
