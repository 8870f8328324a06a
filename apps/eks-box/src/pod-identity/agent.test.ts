import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { type AgentOptions, buildAgent } from './agent.ts'
import { EksAuthException, type PodIdentitySession } from './eks-auth.ts'

const hour = 3_600_000
const token = (claims: object = {}) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`

function start(t: Test, changed: Partial<AgentOptions> = {}) {
  let elapsed = 0
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + elapsed })
  const assumed: string[] = []
  const app = buildAgent({
    isInstalled: () => true,
    assumeRole: async (token) => {
      assumed.push(token)
      const session: Partial<PodIdentitySession> = {
        session: {
          accessKeyId: `ASIA${assumed.length}`,
          secretAccessKey: 'secret',
          sessionToken: 'session',
          expiresAt: new Date(Date.now() + 6 * hour),
          arn: 'arn:aws:sts::123456789012:assumed-role/one/two',
          assumedRoleId: 'AROA:two',
        },
      }
      return session as PodIdentitySession
    },
    ...changed,
  })
  t.teardown(() => app.close())
  const call = async (authorization?: string, host = '169.254.170.23') => {
    const { statusCode, body } = await app.inject({
      url: '/v1/credentials',
      headers: { host, ...(authorization === undefined ? {} : { authorization }) },
    })
    return { status: statusCode, body }
  }
  return {
    app,
    assumed,
    call,
    wait: (milliseconds: number) => {
      elapsed += milliseconds
    },
  }
}

t.test('credentials have the format that SDKs read', async (t) => {
  const { call } = start(t)
  const { status, body } = await call(token())
  t.equal(status, 200)
  t.match(JSON.parse(body), {
    AccessKeyId: 'ASIA1',
    SecretAccessKey: 'secret',
    Token: 'session',
    AccountId: '123456789012',
    Expiration: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  })
})

t.test('a token starts one session, until it is renewed', async (t) => {
  const { assumed, call, wait } = start(t)
  await Promise.all([call(token()), call(token()), call(token({ other: true }))])
  t.equal(assumed.length, 2)
  wait(2.9 * hour)
  await call(token())
  t.equal(assumed.length, 2)
  wait(0.2 * hour)
  t.match(JSON.parse((await call(token())).body), { AccessKeyId: 'ASIA3' })
})

t.test('a request that cannot give credentials is refused, and the next one is tried again', async (t) => {
  t.capture(console, 'error')
  let error: Error = new EksAuthException('ResourceNotFoundException', 'No association found')
  const { call } = start(t, { assumeRole: () => Promise.reject(error) })
  t.strictSame(await call(token()), {
    status: 404,
    body: '(ResourceNotFoundException): No association found, fault: client\n',
  })
  error = new Error('the API server did not respond')
  t.match(await call(token()), { status: 500, body: /the API server did not respond/ })
  t.match(await call(), { status: 400, body: /cannot be empty/ })
  for (const unparsable of ['Bearer x', 'e30.e30', 'a.b.c', `Bearer ${token()}`, 'bnVsbA.bnVsbA.c2ln']) {
    t.match(await call(unparsable), { status: 400, body: /cannot be parsed/ }, unparsable)
  }
  t.match(await call(token({ exp: 1 })), { status: 400, body: /token is expired/ })
  t.match(await call(token(), 'evil.example'), { status: 403, body: /^Access Denied/ })
})

t.test('without its add-on, the agent closes connections', async (t) => {
  t.capture(console, 'error')
  const { app } = start(t, { isInstalled: () => false })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  const received: Buffer[] = []
  socket.on('data', (chunk: Buffer) => received.push(chunk))
  socket.on('error', () => {})
  socket.write('GET /v1/credentials HTTP/1.1\r\nhost: 169.254.170.23\r\n\r\n')
  await once(socket, 'close')
  t.strictSame(received, [])
})
