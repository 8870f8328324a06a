import type { AssociatedPolicy } from './model.ts'

/** A rule of a ClusterRole, as the API server shows it. */
export interface PolicyRule {
  apiGroups?: string[]
  resources?: string[]
  resourceNames?: string[]
  verbs: string[]
  nonResourceURLs?: string[]
}

/** What a user wants to do: the part of a SubjectAccessReview that says it. */
export interface Wish {
  resourceAttributes?: {
    namespace?: string
    verb?: string
    group?: string
    resource?: string
    subresource?: string
    name?: string
  }
  nonResourceAttributes?: { path?: string; verb?: string }
}

/** What each access policy allows: the rules, or the ClusterRole that has them (EKS user guide, access policies). */
const permissions: Readonly<Record<string, readonly PolicyRule[] | string>> = {
  AmazonEKSClusterAdminPolicy: 'cluster-admin',
  AmazonEKSAdminPolicy: 'admin',
  AmazonEKSEditPolicy: 'edit',
  AmazonEKSViewPolicy: 'view',
  AmazonEKSAdminViewPolicy: [{ apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch'] }],
}

/**
 * The rules of an access policy.
 *
 * @param clusterRoleRules tells the rules of a ClusterRole.
 */
export async function rulesOf(
  policyArn: string,
  clusterRoleRules: (name: string) => Promise<readonly PolicyRule[]>,
): Promise<readonly PolicyRule[]> {
  const permitted = permissions[policyArn.split('/').at(-1) ?? ''] ?? []
  return typeof permitted === 'string' ? clusterRoleRules(permitted) : permitted
}

/** Whether the scope of an access policy covers a wish; a namespace may be given with wildcards. */
export function covers({ accessScope }: AssociatedPolicy, { resourceAttributes }: Wish): boolean {
  if (accessScope.type === 'cluster') return true
  const namespace = resourceAttributes?.namespace
  if (namespace === undefined || namespace === '') return false
  return accessScope.namespaces.some((pattern) => {
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    return new RegExp(`^${parts.join('.*')}$`).test(namespace)
  })
}

/** Whether a rule allows a wish, by the rules of Kubernetes' RBAC. */
export function allows(rule: PolicyRule, { resourceAttributes, nonResourceAttributes }: Wish): boolean {
  const has = (list: string[] | undefined, value: string) =>
    list?.some((item) => item === '*' || item === value) === true
  if (nonResourceAttributes !== undefined) {
    const { path = '', verb = '' } = nonResourceAttributes
    const matches = (url: string) => url === path || (url.endsWith('*') && path.startsWith(url.slice(0, -1)))
    return has(rule.verbs, verb) && rule.nonResourceURLs?.some(matches) === true
  }
  if (resourceAttributes === undefined) return false
  const { verb = '', group = '', resource = '', subresource, name = '' } = resourceAttributes
  const wanted = subresource ? `${resource}/${subresource}` : resource
  return (
    has(rule.verbs, verb) &&
    has(rule.apiGroups, group) &&
    (has(rule.resources, wanted) || (subresource !== undefined && has(rule.resources, `*/${subresource}`))) &&
    (rule.resourceNames === undefined || rule.resourceNames.length === 0 || rule.resourceNames.includes(name))
  )
}
