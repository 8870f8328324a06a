import t from 'tap'
import { name, role, startCluster } from './testing.ts'

t.test('all kinds of resources are tagged and untagged by their ARNs', async (t) => {
  const api = await startCluster(t, { tags: { kept: '1' } })
  const url = `/clusters/${name}`
  const { nodegroup } = (
    await api.post(`${url}/node-groups`, {
      nodegroupName: 'system',
      nodeRole: role('node'),
      subnets: ['subnet-a'],
    })
  ).body
  const { accessEntry } = (await api.post(`${url}/access-entries`, { principalArn: role('deploy') })).body
  const { addon } = (await api.post(`${url}/addons`, { addonName: 'coredns' })).body
  const { association } = (
    await api.post(`${url}/pod-identity-associations`, {
      namespace: 'a',
      serviceAccount: 'b',
      roleArn: role('c'),
    })
  ).body
  for (const arn of [
    `arn:aws:eks:eu-central-1:123456789012:cluster/${name}`,
    nodegroup.nodegroupArn,
    accessEntry.accessEntryArn,
    addon.addonArn,
    association.associationArn,
  ]) {
    const tags = `/tags/${encodeURIComponent(arn)}`
    const before = (await api.get(tags)).body.tags
    t.strictSame(await api.post(tags, { tags: { team: 'a', 'cost:centre': '7' } }), {
      status: 200,
      type: undefined,
      body: {},
    })
    t.equal((await api.delete(`${tags}?tagKeys=team`)).status, 200)
    t.strictSame((await api.get(tags)).body.tags, { ...before, 'cost:centre': '7' }, arn)
    t.equal((await api.delete(`${tags}?tagKeys=cost%3Acentre&tagKeys=other`)).status, 200)
    t.strictSame((await api.get(tags)).body.tags, before, arn)
  }
  t.strictSame((await api.get(url)).body.cluster.tags, { kept: '1' })
})

t.test('tags of a missing resource are not found', async (t) => {
  const api = await startCluster(t)
  t.match(
    await api.get(`/tags/${encodeURIComponent('arn:aws:eks:eu-central-1:123456789012:cluster/other')}`),
    {
      status: 404,
      type: 'NotFoundException',
    },
  )
})
