import type { AssociatedPolicy } from './model.ts'

/** A rule of a ClusterRole (rbac.authorization.k8s.io/v1, PolicyRule). */
export interface PolicyRule {
  apiGroups?: string[]
  resources?: string[]
  resourceNames?: string[]
  verbs: string[]
  nonResourceURLs?: string[]
}

/** The requested access in the spec of a SubjectAccessReview. */
export interface AccessRequest {
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

/** The rules of each access policy, or the ClusterRole with the same rules (EKS user guide, access policies). */
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
 * @param clusterRoleRules reads the rules of a ClusterRole.
 */
export async function rulesOf(
  policyArn: string,
  clusterRoleRules: (name: string) => Promise<readonly PolicyRule[]>,
): Promise<readonly PolicyRule[]> {
  const permitted = permissions[policyArn.split('/').at(-1) ?? ''] ?? []
  return typeof permitted === 'string' ? clusterRoleRules(permitted) : permitted
}

/** Whether the scope of an access policy covers a request. Its namespaces may contain wildcards. */
export function covers({ accessScope }: AssociatedPolicy, { resourceAttributes }: AccessRequest): boolean {
  if (accessScope.type === 'cluster') return true
  const namespace = resourceAttributes?.namespace
  if (namespace === undefined || namespace === '') return false
  return accessScope.namespaces.some((pattern) => {
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    return new RegExp(`^${parts.join('.*')}$`).test(namespace)
  })
}

/** Whether a rule allows a request, with the semantics of Kubernetes' RBAC. */
export function allows(
  rule: PolicyRule,
  { resourceAttributes, nonResourceAttributes }: AccessRequest,
): boolean {
  const has = (list: string[] | undefined, value: string) =>
    list?.some((item) => item === '*' || item === value) === true
  if (nonResourceAttributes !== undefined) {
    const { path = '', verb = '' } = nonResourceAttributes
    const matches = (url: string) => url === path || (url.endsWith('*') && path.startsWith(url.slice(0, -1)))
    return has(rule.verbs, verb) && rule.nonResourceURLs?.some(matches) === true
  }
  if (resourceAttributes === undefined) return false
  const { verb = '', group = '', resource = '', subresource, name = '' } = resourceAttributes
  const fullResource = subresource ? `${resource}/${subresource}` : resource
  return (
    has(rule.verbs, verb) &&
    has(rule.apiGroups, group) &&
    (has(rule.resources, fullResource) ||
      (subresource !== undefined && has(rule.resources, `*/${subresource}`))) &&
    (rule.resourceNames === undefined || rule.resourceNames.length === 0 || rule.resourceNames.includes(name))
  )
}
