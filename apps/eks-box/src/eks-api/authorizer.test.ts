import t from 'tap'
import { allows, covers, rulesOf } from './authorizer.ts'
import { policy } from './testing.ts'

const associated = (accessScope: { type: 'cluster' | 'namespace'; namespaces: string[] }) => ({
  policyArn: policy('AmazonEKSViewPolicy'),
  accessScope,
  associatedAt: 0,
  modifiedAt: 0,
})
const wish = (resourceAttributes: object) => ({ resourceAttributes })

t.test('a policy for the cluster covers everything, one for namespaces what is in them', (t) => {
  const cluster = associated({ type: 'cluster', namespaces: [] })
  const namespaces = associated({ type: 'namespace', namespaces: ['apps', 'dev-*'] })
  for (const [wished, inNamespaces] of [
    [wish({ namespace: 'apps', resource: 'pods' }), true],
    [wish({ namespace: 'dev-1', resource: 'pods' }), true],
    [wish({ namespace: 'apps2', resource: 'pods' }), false],
    [wish({ namespace: 'my-dev-1', resource: 'pods' }), false],
    [wish({ resource: 'nodes' }), false],
    [wish({ namespace: '', resource: 'pods' }), false],
    [{ nonResourceAttributes: { path: '/metrics', verb: 'get' } }, false],
  ] as const) {
    t.ok(covers(cluster, wished))
    t.equal(covers(namespaces, wished), inNamespaces, JSON.stringify(wished))
  }
  t.end()
})

t.test('a rule allows a resource by verb, group, resource and name', (t) => {
  const rule = { apiGroups: [''], resources: ['pods', 'pods/log'], verbs: ['get', 'list'] }
  const pods = { verb: 'get', group: '', resource: 'pods' }
  t.ok(allows(rule, wish(pods)))
  t.ok(allows(rule, wish({ ...pods, subresource: 'log' })))
  t.notOk(allows(rule, wish({ ...pods, subresource: 'exec' })))
  t.notOk(allows(rule, wish({ ...pods, verb: 'delete' })))
  t.notOk(allows(rule, wish({ ...pods, group: 'apps' })))
  t.notOk(allows(rule, wish({ ...pods, resource: 'nodes' })))
  t.notOk(allows(rule, { nonResourceAttributes: { path: '/api', verb: 'get' } }))
  t.notOk(allows(rule, {}))

  const named = { ...rule, resourceNames: ['one'] }
  t.ok(allows(named, wish({ ...pods, name: 'one' })))
  t.notOk(allows(named, wish({ ...pods, name: 'other' })))
  t.notOk(allows(named, wish({ ...pods, verb: 'list' })), 'a list names none')
  t.end()
})

t.test('wildcards: all of a kind, and a subresource of every resource', (t) => {
  const all = { apiGroups: ['*'], resources: ['*'], verbs: ['*'] }
  t.ok(allows(all, wish({ verb: 'create', group: 'apps', resource: 'deployments' })))
  t.ok(allows(all, wish({ verb: 'create', group: '', resource: 'pods', subresource: 'exec' })))
  const scale = { apiGroups: ['apps'], resources: ['*/scale'], verbs: ['patch'] }
  const deployments = { verb: 'patch', group: 'apps', resource: 'deployments' }
  t.ok(allows(scale, wish({ ...deployments, subresource: 'scale' })))
  t.notOk(allows(scale, wish({ ...deployments, subresource: 'status' })))
  t.notOk(allows(scale, wish(deployments)))
  t.end()
})

t.test('a rule allows a path that is no resource by its beginning', (t) => {
  const rule = { nonResourceURLs: ['/healthz', '/metrics/*'], verbs: ['get'] }
  const path = (path: string, verb = 'get') => ({ nonResourceAttributes: { path, verb } })
  t.ok(allows(rule, path('/healthz')))
  t.ok(allows(rule, path('/metrics/cadvisor')))
  t.notOk(allows(rule, path('/healthz/etcd')))
  t.notOk(allows(rule, path('/healthz', 'post')))
  t.notOk(allows(rule, wish({ verb: 'get', group: '', resource: 'pods' })))
  t.end()
})

t.test('each policy has the rules of the ClusterRole it is like', async (t) => {
  const rules = [{ verbs: ['get'] }]
  const asked: string[] = []
  const clusterRoleRules = async (role: string) => {
    asked.push(role)
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
  t.strictSame(asked, ['cluster-admin', 'admin', 'edit', 'view'])
  t.match(await rulesOf(policy('AmazonEKSAdminViewPolicy'), clusterRoleRules), [
    { apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch'] },
  ])
  t.strictSame(await rulesOf(policy('AmazonEKSOwnerPolicy'), clusterRoleRules), [])
})
