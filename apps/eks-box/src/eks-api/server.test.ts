import t from 'tap'
import { CALLER_HEADER } from './api.ts'
import { callers, name, startApi, startCluster } from './testing.ts'

t.test('unsupported operations are refused', async (t) => {
  const api = await startCluster(t)
  for (const [method, url] of [
    ['get', `/clusters/${name}/fargate-profiles`],
    ['post', `/clusters/${name}/identity-provider-configs/associate`],
    ['delete', '/eks-anywhere-subscriptions/1'],
  ] as const) {
    t.match(await api[method](url), { status: 404, type: 'UnknownOperationException' })
  }
})

t.test(
  'a request that did not come through the gateway is refused, even with an Authorization header',
  async (t) => {
    const { app } = await startApi(t)
    const response = await app.inject({ url: '/clusters', headers: { authorization: 'any' } })
    t.equal(response.statusCode, 403)
    t.equal(response.headers['x-amzn-errortype'], 'MissingAuthenticationTokenException')
  },
)

t.test(
  'an error has its type and message in the body too, and every response has a request id',
  async (t) => {
    const api = await startApi(t)
    const { body } = await api.get(`/clusters/${name}`)
    t.strictSame(body, {
      __type: 'ResourceNotFoundException',
      message: `No cluster found for name: ${name}.`,
      clusterName: name,
    })
    const response = await api.app.inject({ url: '/clusters' })
    t.match(response.headers['x-amzn-requestid'], /^[0-9a-f-]{36}$/)
  },
)

t.test('an invalid JSON body is a client error for every content type', async (t) => {
  const { app } = await startApi(t)
  for (const type of ['application/json', 'application/x-amz-json-1.1']) {
    const response = await app.inject({
      method: 'POST',
      url: '/clusters',
      headers: { [CALLER_HEADER]: JSON.stringify(callers['AKIAOPERATOR']), 'content-type': type },
      payload: '{',
    })
    t.equal(response.statusCode, 400)
    t.equal(response.headers['x-amzn-errortype'], 'InvalidParameterException')
  }
})
