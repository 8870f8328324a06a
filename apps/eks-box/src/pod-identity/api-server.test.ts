import t from 'tap'
import { reviewToken, type SendToApiServer, serviceAccountAnnotations } from './api-server.ts'

const responding =
  (status: number, body: object): SendToApiServer =>
  async () => ({ status, body })

t.test('annotations of a service account', async (t) => {
  const paths: string[] = []
  const send: SendToApiServer = async (method, path) => {
    paths.push(`${method} ${path}`)
    return { status: 200, body: { metadata: { annotations: { a: 'b' } } } }
  }
  t.strictSame(await serviceAccountAnnotations(send, 'apps', 'one'), { a: 'b' })
  t.strictSame(paths, ['GET /api/v1/namespaces/apps/serviceaccounts/one'])
  t.strictSame(await serviceAccountAnnotations(responding(200, { metadata: {} }), 'apps', 'one'), {})
  t.strictSame(await serviceAccountAnnotations(responding(404, {}), 'apps', 'one'), {})
  await t.rejects(serviceAccountAnnotations(responding(503, {}), 'apps', 'one'), /responded with 503/)
})

t.test('a token is valid only for its audience', async (t) => {
  const user = { username: 'system:serviceaccount:apps:one' }
  const review = (status: object) => reviewToken(responding(201, { status }), 'token', 'one')
  t.strictSame(await review({ authenticated: true, audiences: ['one'], user }), user)
  t.equal(await review({ authenticated: true, audiences: ['other'], user }), undefined)
  t.equal(await review({ authenticated: true, user }), undefined)
  t.equal(await review({ error: 'expired' }), undefined)
  await t.rejects(reviewToken(responding(500, {}), 'token', 'one'), /responded with 500/)
})
