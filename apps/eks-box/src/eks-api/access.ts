import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { Api } from './api.ts'
import { EksException } from './exception.ts'
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
import { isRetry, now, page, type State, toResponse } from './store.ts'

const policyNames = [
  'AmazonEKSClusterAdminPolicy',
  'AmazonEKSAdminPolicy',
  'AmazonEKSEditPolicy',
  'AmazonEKSViewPolicy',
  'AmazonEKSAdminViewPolicy',
] as const

/** The access policies that the box supports: those for users. The others of EKS are for its own components. */
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
    const existing = store.state.accessEntries.find(({ principalArn }) =>
      isSamePrincipal(principalArn, body.principalArn),
    )
    if (existing !== undefined && isRetry(existing, body)) return { accessEntry: toEntryResponse(existing) }
    if (existing !== undefined) {
      throw new EksException(
        'ResourceInUseException',
        'The specified access entry resource is already in use on this cluster.',
        { clusterName: cluster.name },
      )
    }
    const entry = createEntry(cluster, body)
    if (!isPrincipal) {
      throw new EksException(
        'InvalidParameterException',
        'The specified principalArn is invalid: invalid principal.',
        { clusterName: cluster.name },
      )
    }
    return store.change((state) => {
      state.accessEntries.push(entry)
      return { accessEntry: toEntryResponse(entry) }
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
    return { accessEntry: toEntryResponse(findEntry(store.state, params)) }
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
        return { accessEntry: toEntryResponse(entry) }
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
        const existing = entry.policies.find((policy) => policy.policyArn === body.policyArn)
        const policy: AssociatedPolicy = {
          policyArn: body.policyArn,
          accessScope: { type: body.accessScope.type, namespaces: body.accessScope.namespaces ?? [] },
          associatedAt: existing?.associatedAt ?? now(),
          modifiedAt: now(),
        }
        entry.policies = [...entry.policies.filter((other) => other !== existing), policy]
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
        throw new EksException(
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
 * Creates an access entry, with the defaults of EKS.
 *
 * @throws EksException when EKS would refuse the principal, the type or the groups.
 */
export function createEntry(
  cluster: Pick<Cluster, 'name' | 'arn'>,
  input: Static<typeof CreateAccessEntry>,
): AccessEntry {
  const { principalArn, type = 'STANDARD' } = input
  const principal = /^arn:aws:iam::(\d{12}):(role|user)\/(?:.*\/)?([^/]+)$/.exec(principalArn)
  if (principal === null) {
    throw new EksException(
      'InvalidParameterException',
      `The principalArn parameter format is not valid: ${principalArn} is not the ARN of an IAM user or role`,
      { clusterName: cluster.name },
    )
  }
  const [, account, kind, name] = principal
  if (type !== 'STANDARD' && (type !== 'EC2_LINUX' || kind !== 'role')) {
    throw new EksException(
      'InvalidParameterException',
      `The box does not support access entries of type ${type} for a ${kind}`,
      { clusterName: cluster.name },
    )
  }
  checkNames(type, input)
  const session = `arn:aws:sts::${account}:assumed-role/${name}/{{SessionName}}`
  return {
    clusterName: cluster.name,
    principalArn,
    kubernetesGroups: type === 'EC2_LINUX' ? ['system:nodes'] : (input.kubernetesGroups ?? []),
    accessEntryArn: `${cluster.arn.replace(':cluster/', ':access-entry/')}/${kind}/${account}/${name}/${randomUUID()}`,
    createdAt: now(),
    modifiedAt: now(),
    tags: input.tags ?? {},
    username:
      type === 'EC2_LINUX'
        ? 'system:node:{{EC2PrivateDNSName}}'
        : (input.username ?? (kind === 'role' ? session : principalArn)),
    type,
    policies: [],
    ...(input.clientRequestToken === undefined ? {} : { clientRequestToken: input.clientRequestToken }),
  }
}

/**
 * Whether two IAM ARNs name the same user or role. It ignores their paths: names are unique in an account, and the ARN
 * of a role's session has no path.
 */
export function isSamePrincipal(one: string, other: string): boolean {
  const withoutPath = (arn: string) => arn.replace(/:(role|user)\/.*\//, ':$1/')
  return withoutPath(one) === withoutPath(other)
}

function checkNames(type: string, input: { kubernetesGroups?: string[]; username?: string }): void {
  const { kubernetesGroups: groups = [], username } = input
  const names = [...groups, ...(username === undefined ? [] : [username])]
  if (type !== 'STANDARD' && names.length > 0) {
    throw new EksException(
      'InvalidParameterException',
      `An access entry of type ${type} must not have a username or kubernetesGroups`,
    )
  }
  // These prefixes are reserved for Kubernetes and AWS (EKS user guide, access entries).
  const refused = names.find((name) => /^(system:|eks:|aws:|amazon:|iam:)/.test(name))
  if (refused !== undefined) {
    const kind = groups.includes(refused) ? 'group name' : 'username'
    throw new EksException(
      'InvalidParameterException',
      `The kubernetes ${kind} ${refused} is invalid, it cannot start with ${refused.split(':')[0]}:`,
    )
  }
}

function checkPolicy(
  entry: AccessEntry,
  { policyArn, accessScope }: { policyArn: string; accessScope: Static<typeof AccessScope> },
): void {
  const details = { clusterName: entry.clusterName }
  if (!ACCESS_POLICIES.some(({ arn }) => arn === policyArn)) {
    throw new EksException('InvalidParameterException', `The policyArn ${policyArn} is not valid`, details)
  }
  if (entry.type !== 'STANDARD') {
    throw new EksException(
      'InvalidRequestException',
      `An access entry of type ${entry.type} must not have access policies`,
      details,
    )
  }
  const { type, namespaces = [] } = accessScope
  if ((type === 'namespace') !== namespaces.length > 0) {
    throw new EksException(
      'InvalidParameterException',
      'An access scope must have namespaces if, and only if, its type is namespace',
      details,
    )
  }
}

function findEntry(state: State, { name, principal }: { name: string; principal: string }): AccessEntry {
  const entry = state.accessEntries.find(({ principalArn }) => principalArn === principal)
  if (entry === undefined) {
    throw new EksException(
      'ResourceNotFoundException',
      `The specified principalArn could not be found: ${principal}`,
      { clusterName: name },
    )
  }
  return entry
}

function toEntryResponse(entry: AccessEntry) {
  const { policies: _policies, ...response } = toResponse(entry)
  return response
}
