import t from 'tap'
import { allows, covers, rulesOf } from './authorizer.ts'
import { policy } from './testing.ts'

const associated = (accessScope: { type: 'cluster' | 'namespace'; namespaces: string[] }) => ({
  policyArn: policy('AmazonEKSViewPolicy'),
  accessScope,
  associatedAt: 0,
  modifiedAt: 0,
})
const request = (resourceAttributes: object) => ({ resourceAttributes })

t.test('a cluster scope covers everything, a namespace scope only resources in its namespaces', (t) => {
  const cluster = associated({ type: 'cluster', namespaces: [] })
  const namespaces = associated({ type: 'namespace', namespaces: ['apps', 'dev-*'] })
  for (const [attributes, inNamespaces] of [
    [request({ namespace: 'apps', resource: 'pods' }), true],
    [request({ namespace: 'dev-1', resource: 'pods' }), true],
    [request({ namespace: 'apps2', resource: 'pods' }), false],
    [request({ namespace: 'my-dev-1', resource: 'pods' }), false],
    [request({ resource: 'nodes' }), false],
    [request({ namespace: '', resource: 'pods' }), false],
    [{ nonResourceAttributes: { path: '/metrics', verb: 'get' } }, false],
  ] as const) {
    t.ok(covers(cluster, attributes))
    t.equal(covers(namespaces, attributes), inNamespaces, JSON.stringify(attributes))
  }
  t.end()
})

t.test('a rule allows a resource by verb, group, resource and name', (t) => {
  const rule = { apiGroups: [''], resources: ['pods', 'pods/log'], verbs: ['get', 'list'] }
  const pods = { verb: 'get', group: '', resource: 'pods' }
  t.ok(allows(rule, request(pods)))
  t.ok(allows(rule, request({ ...pods, subresource: 'log' })))
  t.notOk(allows(rule, request({ ...pods, subresource: 'exec' })))
  t.notOk(allows(rule, request({ ...pods, verb: 'delete' })))
  t.notOk(allows(rule, request({ ...pods, group: 'apps' })))
  t.notOk(allows(rule, request({ ...pods, resource: 'nodes' })))
  t.notOk(allows(rule, { nonResourceAttributes: { path: '/api', verb: 'get' } }))
  t.notOk(allows(rule, {}))

  const named = { ...rule, resourceNames: ['one'] }
  t.ok(allows(named, request({ ...pods, name: 'one' })))
  t.notOk(allows(named, request({ ...pods, name: 'other' })))
  t.notOk(allows(named, request({ ...pods, verb: 'list' })), 'a list request has no name')
  t.end()
})

t.test('rules may have wildcards, and subresources of every resource', (t) => {
  const all = { apiGroups: ['*'], resources: ['*'], verbs: ['*'] }
  t.ok(allows(all, request({ verb: 'create', group: 'apps', resource: 'deployments' })))
  t.ok(allows(all, request({ verb: 'create', group: '', resource: 'pods', subresource: 'exec' })))
  const scale = { apiGroups: ['apps'], resources: ['*/scale'], verbs: ['patch'] }
  const deployments = { verb: 'patch', group: 'apps', resource: 'deployments' }
  t.ok(allows(scale, request({ ...deployments, subresource: 'scale' })))
  t.notOk(allows(scale, request({ ...deployments, subresource: 'status' })))
  t.notOk(allows(scale, request(deployments)))
  t.end()
})

t.test('a rule allows non-resource URLs by path or prefix', (t) => {
  const rule = { nonResourceURLs: ['/healthz', '/metrics/*'], verbs: ['get'] }
  const path = (path: string, verb = 'get') => ({ nonResourceAttributes: { path, verb } })
  t.ok(allows(rule, path('/healthz')))
  t.ok(allows(rule, path('/metrics/cadvisor')))
  t.notOk(allows(rule, path('/healthz/etcd')))
  t.notOk(allows(rule, path('/healthz', 'post')))
  t.notOk(allows(rule, request({ verb: 'get', group: '', resource: 'pods' })))
  t.end()
})

t.test('access policies have the rules of their ClusterRoles', async (t) => {
  const rules = [{ verbs: ['get'] }]
  const requested: string[] = []
  const clusterRoleRules = async (role: string) => {
    requested.push(role)
    return rules
  }
  for (const name of [
    'AmazonEKSClusterAdminPolicy',
    'AmazonEKSAdminPolicy',
    'AmazonEKSEditPolicy',
    'AmazonEKSViewPolicy',
  ]) {
    t.equal(await rulesOf(policy(name), clusterRoleRules), rules)
  }
  t.strictSame(requested, ['cluster-admin', 'admin', 'edit', 'view'])
  t.match(await rulesOf(policy('AmazonEKSAdminViewPolicy'), clusterRoleRules), [
    { apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch'] },
  ])
  t.strictSame(await rulesOf(policy('AmazonEKSOwnerPolicy'), clusterRoleRules), [])
})
