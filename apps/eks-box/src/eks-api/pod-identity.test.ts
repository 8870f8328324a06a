import t from 'tap'
import { name, role, startCluster } from './testing.ts'

const associations = `/clusters/${name}/pod-identity-associations`
const karpenter = { namespace: 'kube-system', serviceAccount: 'karpenter', roleArn: role('karpenter') }

t.test('an association is created, read, updated and deleted', async (t) => {
  const api = await startCluster(t)
  const { status, body } = await api.post(associations, karpenter)
  t.match({ status, body }, { status: 200, body: { association: { ...karpenter, clusterName: name } } })
  const { associationId, associationArn } = body.association
  t.match(associationId, /^a-[0-9a-z]{17}$/)
  t.equal(
    associationArn,
    `arn:aws:eks:eu-central-1:123456789012:podidentityassociation/${name}/${associationId}`,
  )
  const one = `${associations}/${associationId}`
  t.match((await api.get(one)).body.association, karpenter)
  t.match(await api.post(one, { roleArn: role('other'), disableSessionTags: true }), {
    body: { association: { roleArn: role('other'), disableSessionTags: true } },
  })
  t.match((await api.delete(one)).body.association, { associationId })
  t.match(await api.get(one), { status: 404, type: 'ResourceNotFoundException' })
})

t.test('a service account has only one association', async (t) => {
  const api = await startCluster(t)
  const first = await api.post(associations, { ...karpenter, clientRequestToken: 'first' })
  const again = await api.post(associations, { ...karpenter, clientRequestToken: 'first' })
  t.equal(again.body.association.associationId, first.body.association.associationId)
  t.match(await api.post(associations, karpenter), {
    status: 409,
    type: 'ResourceInUseException',
    body: { message: `Association already exists: ${first.body.association.associationId}` },
  })
})

t.test('associations are listed by namespace and service account, without their roles', async (t) => {
  const api = await startCluster(t)
  await api.post(associations, karpenter)
  await api.post(associations, { ...karpenter, namespace: 'apps' })
  const list = async (query: string) => (await api.get(`${associations}?${query}`)).body.associations
  t.match(await list('namespace=apps'), [
    { namespace: 'apps', serviceAccount: 'karpenter', roleArn: undefined },
  ])
  t.equal((await list('serviceAccount=karpenter')).length, 2)
  t.strictSame(await list('namespace=apps&serviceAccount=other'), [])
})

t.test('roleArn must be the ARN of a role', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(associations, { ...karpenter, roleArn: 'karpenter' }), {
    status: 400,
    type: 'InvalidParameterException',
    body: { message: /roleArn/ },
  })
})

t.test('the role must exist, and a target role gets an external id', async (t) => {
  const api = await startCluster(t)
  t.match(await api.post(associations, { ...karpenter, roleArn: role('missing') }), {
    type: 'InvalidParameterException',
    body: { message: /^Role provided in the request does not exist/ },
  })
  const targetRoleArn = 'arn:aws:iam::210987654321:role/data'
  const { association } = (await api.post(associations, { ...karpenter, targetRoleArn })).body
  t.match(association, { targetRoleArn, externalId: /^[0-9a-f-]{36}$/ })
  const one = `${associations}/${association.associationId}`
  const { externalId } = (await api.post(one, { targetRoleArn })).body.association
  t.equal(externalId, association.externalId, 'an update keeps it')
})
