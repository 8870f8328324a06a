import { request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { CONTROL_PLANE_IP } from '../cluster.ts'
import { authenticate } from './authentication.ts'
import type { Caller } from './caller.ts'
import { createGateway, type GatewayOptions } from './gateway.ts'
import { AccountKeys } from './keys.ts'
import type { AwsRequest, AwsResponse } from './request.ts'
import { type Signer, sign } from './testing.ts'

const keys = new AccountKeys(Buffer.alloc(32, 'gateway'))
const operator: Caller = {
  account: '123456789012',
  userId: 'AIDA',
  arn: 'arn:aws:iam::123456789012:user/operator',
  principalArn: 'arn:aws:iam::123456789012:user/operator',
}
const own: Signer = { accessKeyId: 'AKIAOPERATOR', secretAccessKey: keys.secretOf('AKIAOPERATOR') }

/** A gateway in front of fakes of EKS and the emulator, which respond with their name and record requests. */
async function startGateway(t: Test, changed: Partial<GatewayOptions> = {}) {
  const reached: string[] = []
  const fake = (name: string) => async (request: AwsRequest) => {
    reached.push(`${name} ${request.url}`)
    return { status: 200, headers: {}, body: Buffer.from(name) }
  }
  const gateway = createGateway({
    authenticate: (request) =>
      authenticate(request, keys, async (id) =>
        /^(AKIAOPERATOR|ASIASESSION)$/.test(id) ? operator : undefined,
      ),
    eks: fake('eks'),
    eksAuth: fake('eks-auth'),
    webIdentity: fake('web identity'),
    emulator: fake('emulator'),
    ...changed,
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  t.teardown(() => gateway.close())
  const { port } = gateway.address() as AddressInfo

  /** Sends a request unchanged; `fetch` would normalise its path and headers. */
  const call = (request: AwsRequest): Promise<AwsResponse & { text: string }> => {
    const { promise, resolve, reject } = Promise.withResolvers<AwsResponse & { text: string }>()
    const { method, url, headers, body } = request
    const sent = send({ port, method, path: url, headers, setHost: false }, async (response) => {
      const body = Buffer.concat((await response.toArray()) as Buffer[])
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body, text: body.toString() })
    })
    sent.on('error', reject)
    sent.end(body)
    return promise
  }
  return { call, reached, port }
}

const plain = (method: string, url: string, headers: object = {}, body = ''): AwsRequest => ({
  method,
  url,
  headers: { host: '127.0.0.1', ...headers },
  body: Buffer.from(body),
})
const form = { 'content-type': 'application/x-www-form-urlencoded' }
/** One request of each protocol. */
const protocols: Record<string, [request: AwsRequest, service: string]> = {
  query: [plain('POST', '/', form, 'Action=CreateUser&UserName=a'), 'iam'],
  ec2: [plain('POST', '/', form, 'Action=CreateVpc'), 'ec2'],
  json: [plain('POST', '/', { 'x-amz-target': 'AmazonSQS.CreateQueue' }, '{}'), 'sqs'],
  eks: [plain('GET', '/clusters'), 'eks'],
  s3: [plain('PUT', '/bucket', { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }), 's3'],
}

t.test('a signed request reaches the service that it is signed for', async (t) => {
  const { call } = await startGateway(t)
  for (const [name, [request, service]] of Object.entries(protocols)) {
    const { text } = await call(await sign(request, { ...own, service }))
    t.equal(text, name === 'eks' ? 'eks' : 'emulator', name)
  }
  const assume = plain('POST', '/clusters/one/assume-role-for-pod-identity', {}, '{}')
  t.equal((await call(await sign(assume, { ...own, service: 'eks-auth' }))).text, 'eks-auth')
  t.equal((await call(assume)).status, 403, 'not signed')
})

t.test('any other request is rejected with the error of its service', async (t) => {
  const { call, reached } = await startGateway(t)
  const expected: Record<string, Record<string, [status: number, code: string]>> = {
    query: {
      unsigned: [403, 'MissingAuthenticationToken'],
      unknown: [403, 'InvalidClientTokenId'],
      wrong: [403, 'SignatureDoesNotMatch'],
      old: [403, 'SignatureDoesNotMatch'],
      ended: [403, 'ExpiredToken'],
    },
    ec2: {
      unsigned: [403, 'MissingAuthenticationToken'],
      unknown: [401, 'AuthFailure'],
      wrong: [401, 'AuthFailure'],
      old: [400, 'RequestExpired'],
      ended: [400, 'RequestExpired'],
    },
    json: {
      unsigned: [400, 'MissingAuthenticationTokenException'],
      unknown: [400, 'UnrecognizedClientException'],
      wrong: [400, 'InvalidSignatureException'],
      old: [400, 'InvalidSignatureException'],
      ended: [400, 'ExpiredTokenException'],
    },
    eks: {
      unsigned: [403, 'MissingAuthenticationTokenException'],
      unknown: [403, 'UnrecognizedClientException'],
      wrong: [403, 'InvalidSignatureException'],
      old: [403, 'InvalidSignatureException'],
      ended: [403, 'ExpiredTokenException'],
    },
    s3: {
      unsigned: [403, 'AccessDenied'],
      unknown: [403, 'InvalidAccessKeyId'],
      wrong: [403, 'SignatureDoesNotMatch'],
      old: [403, 'RequestTimeTooSkewed'],
      ended: [400, 'ExpiredToken'],
    },
  }
  const session = (expiresAt: number): Signer => ({
    accessKeyId: 'ASIASESSION',
    secretAccessKey: keys.secretOf('ASIASESSION'),
    sessionToken: keys.sessionToken({ accessKeyId: 'ASIASESSION', expiresAt }),
  })
  for (const [name, [request, service]] of Object.entries(protocols)) {
    const attempts: Record<string, AwsRequest> = {
      unsigned: request,
      unknown: await sign(request, { ...own, accessKeyId: 'AKIASTRANGER', service }),
      wrong: await sign(request, { ...own, secretAccessKey: 'guessed', service }),
      old: await sign(request, { ...own, service, signingDate: new Date(Date.now() - 20 * 60_000) }),
      ended: await sign(request, { ...session(Date.now() - 1000), service }),
    }
    for (const [attempt, sent] of Object.entries(attempts)) {
      const { status, headers, text } = await call(sent)
      const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? headers['x-amzn-errortype']
      t.strictSame([status, code], expected[name]?.[attempt], `${attempt} ${name}: ${text}`)
    }
    t.equal((await call(await sign(request, { ...session(Date.now() + 60_000), service }))).status, 200)
  }
  t.equal(reached.length, Object.keys(protocols).length)
})

t.test('a session token is valid only with its own access key', async (t) => {
  const { call } = await startGateway(t)
  const sessionToken = keys.sessionToken({ accessKeyId: 'ASIASESSION', expiresAt: Date.now() + 60_000 })
  const [request] = protocols['query'] ?? []
  if (request === undefined) throw new TypeError('there is no such request')
  const temporary = {
    accessKeyId: 'ASIASESSION',
    secretAccessKey: keys.secretOf('ASIASESSION'),
    service: 'iam',
  }
  for (const signer of [
    temporary,
    { ...temporary, sessionToken: `${sessionToken}x` },
    { ...temporary, sessionToken: `x${sessionToken}` },
    { ...temporary, sessionToken: 'garbage' },
    {
      ...temporary,
      sessionToken: new AccountKeys(Buffer.alloc(32)).sessionToken({
        accessKeyId: 'ASIASESSION',
        expiresAt: Infinity,
      }),
    },
    { ...own, service: 'iam', sessionToken },
  ]) {
    t.match((await call(await sign(request, signer))).text, /<Code>InvalidClientTokenId</)
  }
})

t.test('only AssumeRoleWithWebIdentity is accepted unsigned', async (t) => {
  const { call, reached } = await startGateway(t)
  const assume = (action: string) => call(plain('POST', '/', form, `Action=${action}&RoleArn=any`))
  t.equal((await assume('AssumeRoleWithWebIdentity')).text, 'web identity')
  t.match((await assume('AssumeRoleWithSAML')).text, /<Code>InvalidIdentityToken</)
  t.match((await assume('AssumeRole')).text, /<Code>MissingAuthenticationToken</)
  t.strictSame(reached, ['web identity /'])
})

t.test('pods reach the gateway by the address of their node', async (t) => {
  const { call } = await startGateway(t)
  const [request] = protocols['query'] ?? []
  if (request === undefined) throw new TypeError('there is no such request')
  const host = `${CONTROL_PLANE_IP}:4566`
  const fromPod = { ...request, headers: { ...request.headers, host } }
  t.equal((await call(await sign(fromPod, { ...own, service: 'iam' }))).status, 200)
})

t.test('requests of web pages are rejected, even with a valid signature', async (t) => {
  const { call, reached } = await startGateway(t)
  const [request] = protocols['query'] ?? []
  if (request === undefined) throw new TypeError('there is no such request')
  const signed = await sign(request, { ...own, service: 'iam' })
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { host: 'evil.example' },
    { host: 'evil.example:4566' },
    { host: '' },
  ]) {
    const response = await call({ ...signed, headers: { ...signed.headers, ...headers } })
    t.equal(response.status, 403, JSON.stringify(headers))
    t.notOk(Object.keys(response.headers).some((name) => name.startsWith('access-control-')))
  }
  const preflight = plain('OPTIONS', '/', {
    origin: 'https://evil.example',
    'access-control-request-method': 'PUT',
  })
  t.equal((await call(preflight)).status, 403)
  t.strictSame(reached, [])
})

t.test("the emulator's control paths are rejected in every spelling", async (t) => {
  const { call, reached, port } = await startGateway(t)
  for (const path of [
    '/moto-api/',
    '/moto-api/reset',
    '//moto-api/reset',
    '/./moto-api/reset',
    '/%6doto-api/reset',
    '/%2Fmoto-api/reset',
    `http://127.0.0.1:${port}/moto-api/reset`,
    '/moto-api/data.json?a=b',
    '/latest/meta-data/iam/security-credentials/',
  ]) {
    const request = await sign(plain('POST', path), { ...own, service: 's3' })
    t.equal((await call({ ...request, url: path })).status, 403, path)
  }
  t.strictSame(reached, [])
})

t.test('clients get 503 while the emulator is unavailable', async (t) => {
  t.capture(console, 'error')
  const { call } = await startGateway(t, { emulator: () => Promise.reject(new Error('gone')) })
  const [request] = protocols['ec2'] ?? []
  if (request === undefined) throw new TypeError('there is no such request')
  t.equal((await call(await sign(request, { ...own, service: 'ec2' }))).status, 503)
})
