import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import t, { type Test } from 'tap'
import { field } from './principals.ts'
import { awsError } from './testing.ts'
import { assumeRoleWithWebIdentity } from './web-identity.ts'

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const issuer = 'https://oidc.eks.eu-central-1.amazonaws.com/id/ABC'
const provider = 'arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC'
const role = 'arn:aws:iam::123456789012:role/controller'
const subject = 'system:serviceaccount:kube-system:controller'
const trustPolicy = JSON.stringify({
  Statement: {
    Effect: 'Allow',
    Action: 'sts:AssumeRoleWithWebIdentity',
    Principal: { Federated: provider },
    Condition: {
      StringEquals: {
        'oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub': subject,
        'oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud': 'sts.amazonaws.com',
      },
    },
  },
})

const inSeconds = (offset: number) => Math.floor(Date.now() / 1000) + offset
const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')

function token(
  claims: object = {},
  { key = privateKey, alg = 'RS256' }: { key?: KeyObject; alg?: string } = {},
) {
  const content = `${encode({ alg, kid: '1' })}.${encode({
    iss: issuer,
    sub: subject,
    aud: ['sts.amazonaws.com'],
    exp: inSeconds(600),
    ...claims,
  })}`
  return `${content}.${sign('RSA-SHA256', Buffer.from(content), key).toString('base64url')}`
}

function start(_t: Test) {
  const started: unknown[][] = []
  const call = async (changed: Record<string, string> = {}) => {
    const parameters = {
      Action: 'AssumeRoleWithWebIdentity',
      RoleArn: role,
      RoleSessionName: 'one',
      WebIdentityToken: token(),
      ...changed,
    }
    const request = {
      method: 'POST',
      url: '/',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: Buffer.from(new URLSearchParams(parameters).toString()),
    }
    const response = await assumeRoleWithWebIdentity(request, {
      account: '123456789012',
      issuers: new Map([[issuer, publicKey]]),
      principals: {
        audiencesOf: async (arn) =>
          arn === provider || arn.endsWith('/known.example') ? ['sts.amazonaws.com'] : undefined,
        trustPolicy: async (arn) => (arn === role ? trustPolicy : undefined),
      },
      credentials: {
        startRoleSession: async (...args) => {
          started.push(args)
          return {
            accessKeyId: 'ASIAMADE',
            secretAccessKey: 'secret',
            sessionToken: 'session',
            expiresAt: new Date(Date.UTC(2026, 0, 31)),
            arn: 'arn:aws:sts::123456789012:assumed-role/controller/one',
            assumedRoleId: 'AROA:one',
          }
        },
      },
    })
    return response.body.toString()
  }
  return { call, started }
}

t.test('a token that the role trusts gives a session', async (t) => {
  const { call, started } = start(t)
  const xml = await call({ DurationSeconds: '900' })
  t.strictSame(started, [[role, 'one', 900]])
  const expected = {
    AccessKeyId: 'ASIAMADE',
    SecretAccessKey: 'secret',
    SessionToken: 'session',
    Expiration: '2026-01-31T00:00:00.000Z',
    Arn: 'arn:aws:sts::123456789012:assumed-role/controller/one',
    AssumedRoleId: 'AROA:one',
    SubjectFromWebIdentityToken: subject,
    Audience: 'sts.amazonaws.com',
    Provider: issuer,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(field(xml, name), value)
  await call()
  t.equal(started.at(-1)?.[2], 3600, 'the default duration')
})

t.test('any other token is refused with the error of STS', async (t) => {
  const { call, started } = start(t)
  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const valid = token()
  const [header = '', , signature = ''] = valid.split('.')
  const refused: [name: string, token: string, reason: Parameters<typeof awsError>[0], message: RegExp][] = [
    ['no JWT', 'no token at all', 'identity', /not a valid JWT/],
    ['two parts', valid.split('.').slice(0, 2).join('.'), 'identity', /not a valid JWT/],
    ['unsigned', token({}, { alg: 'none' }), 'identity', /not a valid JWT/],
    ['signed with the public key', token({}, { alg: 'HS256' }), 'identity', /not a valid JWT/],
    ['another key', token({}, { key: stranger }), 'identity', /could not be validated/],
    [
      'changed',
      [
        header,
        encode({ iss: issuer, sub: 'other', aud: 'sts.amazonaws.com', exp: inSeconds(60) }),
        signature,
      ].join('.'),
      'identity',
      /could not be validated/,
    ],
    [
      'an issuer without a provider',
      token({ iss: 'https://other.example' }),
      'identity',
      /^No OpenIDConnect provider found in your account for https:\/\/other\.example$/,
    ],
    ['an issuer without a key', token({ iss: 'https://known.example' }), 'identity', /verification key/],
    ['no audience', token({ aud: undefined }), 'identity', /Missing a required claim: aud/],
    [
      'the API server’s audience',
      token({ aud: ['https://kubernetes.default.svc'] }),
      'identity',
      /^Incorrect token audience$/,
    ],
    ['expired', token({ exp: inSeconds(-1) }), 'identityExpired', /^Token expired: /],
    [
      'another subject',
      token({ sub: `${subject}-2` }),
      'denied',
      /^Not authorized to perform sts:AssumeRoleWithWebIdentity$/,
    ],
  ]
  for (const [name, WebIdentityToken, reason, message] of refused) {
    await t.rejects(call({ WebIdentityToken }), { ...awsError(reason), message }, name)
  }
  await t.rejects(call({ RoleArn: `${role}s` }), awsError('denied'), 'a role that does not exist')
  t.strictSame(started, [])
})

t.test('parameters are validated', async (t) => {
  const { call } = start(t)
  for (const changed of [
    { RoleArn: 'controller' },
    { RoleSessionName: 'with space' },
    { RoleSessionName: '' },
    { WebIdentityToken: '' },
    { DurationSeconds: '60' },
    { DurationSeconds: 'x' },
  ]) {
    await t.rejects(call(changed), awsError('invalid'), JSON.stringify(changed))
  }
})
