import t, { type Test } from 'tap'
import type { Authenticated } from './authentication.ts'
import type { Caller } from './caller.ts'
import { Credentials } from './credentials.ts'
import { AccountKeys } from './keys.ts'
import { field, Principals } from './principals.ts'
import type { AwsRequest } from './request.ts'
import { awsError } from './testing.ts'

const keys = new AccountKeys(Buffer.alloc(32, 'credentials'))
const user = 'arn:aws:iam::123456789012:user/operator'
const role = 'arn:aws:iam::123456789012:role/deploy'
const provider = 'arn:aws:iam::123456789012:oidc-provider/issuer.example'
const issued =
  '<Arn>arn:aws:sts::123456789012:assumed-role/deploy/one</Arn><AssumedRoleId>AROA:one</AssumedRoleId><Credentials><AccessKeyId>ASIAMADE</AccessKeyId><SecretAccessKey>guessable</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2026-01-31T12:00:00Z</Expiration></Credentials>'

/** An emulator with a role and a user, whose key can be deactivated. */
function fakeEmulator(_t: Test) {
  const seen: AwsRequest[] = []
  const account = { status: 'Active' }
  const handlers: Record<string, (parameters: URLSearchParams) => string | undefined> = {
    GetCallerIdentity: () => `<Arn>${user}</Arn><Account>123456789012</Account><UserId>AIDA</UserId>`,
    ListAccessKeys: () =>
      `<member><AccessKeyId>AKIA</AccessKeyId><Status>${account.status}</Status></member>`,
    GetRole: (parameters) =>
      parameters.get('RoleName') === 'deploy'
        ? `<Arn>${role}</Arn><AssumeRolePolicyDocument>%7B%22Statement%22%3A%5B%5D%7D</AssumeRolePolicyDocument>`
        : undefined,
    GetOpenIDConnectProvider: (parameters) =>
      parameters.get('OpenIDConnectProviderArn') === provider
        ? '<ClientIDList><member>sts.amazonaws.com</member><member>other</member></ClientIDList>'
        : undefined,
    GetUser: (parameters) => (parameters.get('UserName') === 'operator' ? `<Arn>${user}</Arn>` : undefined),
    CreateAccessKey: () => '<AccessKeyId>AKIANEW</AccessKeyId><SecretAccessKey>guessable</SecretAccessKey>',
    AssumeRole: () => issued,
    GetSessionToken: () => issued,
    UpdateAccessKey: () => '',
    DescribeVpcs: () => 'vpcs',
  }
  const emulator = {
    forward: async (request: AwsRequest) => {
      seen.push(request)
      const parameters = new URLSearchParams(request.body.toString())
      const body = handlers[parameters.get('Action') ?? '']?.(parameters)
      return { status: body === undefined ? 404 : 200, headers: {}, body: Buffer.from(body ?? '') }
    },
  }
  return { account, emulator, seen }
}

function start(t: Test) {
  const { account, emulator, seen } = fakeEmulator(t)
  const principals = new Principals(emulator)
  const credentials = new Credentials(emulator, keys, principals)
  const by = (service: string, signed = 'AKIA', arn = user): Authenticated => ({
    signature: {
      accessKeyId: signed,
      region: 'eu-central-1',
      service,
      signedHeaders: ['host'],
      value: '0',
      signedAt: 0,
    },
    caller: { account: '123456789012', userId: 'AIDA', arn, principalArn: user } satisfies Caller,
    accessKeyId: 'AKIA',
  })
  const call = async (action: string, parameters: object, authenticated: Authenticated) => {
    const body = Buffer.from(new URLSearchParams({ Action: action, ...parameters }).toString())
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `AWS4-HMAC-SHA256 Credential=${authenticated.signature.accessKeyId}/x`,
    }
    return (
      await credentials.forward({ method: 'POST', url: '/', headers, body }, authenticated)
    ).body.toString()
  }
  return { account, call, by, credentials, principals, seen }
}

t.test("a new access key gets a secret of this box, not the emulator's predictable one", async (t) => {
  const { call, by } = start(t)
  const xml = await call('CreateAccessKey', { UserName: 'operator' }, by('iam'))
  t.equal(field(xml, 'SecretAccessKey'), keys.secretOf('AKIANEW'))
})

t.test("a role's session gets a secret and a token of this box", async (t) => {
  const { call, by } = start(t)
  const xml = await call('AssumeRole', { RoleArn: role }, by('sts'))
  t.equal(field(xml, 'SecretAccessKey'), keys.secretOf('ASIAMADE'))
  t.strictSame(keys.session(field(xml, 'SessionToken')), {
    accessKeyId: 'ASIAMADE',
    expiresAt: Date.UTC(2026, 0, 31, 12),
  })
  await t.rejects(call('AssumeRole', { RoleArn: `${role}s` }, by('sts')), awsError('denied'))
  await t.rejects(call('AssumeRole', {}, by('sts')), awsError('denied'))
})

t.test('a session of a user acts as the user, and the emulator sees the user’s own key', async (t) => {
  const { call, by, seen } = start(t)
  const xml = await call('GetSessionToken', { DurationSeconds: '900' }, by('sts'))
  const accessKeyId = field(xml, 'AccessKeyId')
  t.match(accessKeyId, /^ASIA[A-Z2-7]{16}$/)
  t.equal(field(xml, 'SecretAccessKey'), keys.secretOf(accessKeyId))
  t.match(keys.session(field(xml, 'SessionToken')), { accessKeyId, of: 'AKIA' })
  await call('DescribeVpcs', {}, by('ec2', accessKeyId))
  t.match(seen.at(-1)?.headers.authorization, /Credential=AKIA\//)
  const session = by('sts', 'ASIAMADE', 'arn:aws:sts::123456789012:assumed-role/deploy/me')
  await t.rejects(call('GetSessionToken', {}, session), awsError('denied'))
  await t.rejects(call('GetFederationToken', {}, by('sts')), awsError('denied'))
})

t.test('a deactivated key is unknown immediately', async (t) => {
  const { account, call, by, principals, seen } = start(t)
  t.match(await principals.callerOf('AKIA'), { arn: user })
  const lookups = seen.length
  await principals.callerOf('AKIA')
  t.equal(seen.length, lookups, 'lookups are cached')
  account.status = 'Inactive'
  await call('UpdateAccessKey', {}, by('iam'))
  t.equal(await principals.callerOf('AKIA'), undefined)
  t.equal(await principals.callerOf('AKIAOTHER'), undefined, 'a key that does not exist')
})

t.test('a principal is looked up by its complete ARN', async (t) => {
  const { principals } = start(t)
  for (const arn of [user, role]) t.ok(await principals.exists(arn), arn)
  for (const arn of [
    'arn:aws:iam::123456789012:role/path/deploy',
    `${role}s`,
    'arn:aws:iam::123456789012:root',
  ]) {
    t.notOk(await principals.exists(arn), arn)
  }
})

t.test('the box starts a session of a role by itself', async (t) => {
  const { credentials, seen } = start(t)
  const session = await credentials.startRoleSession(role, 'one', 900)
  t.match(session, {
    accessKeyId: 'ASIAMADE',
    secretAccessKey: keys.secretOf('ASIAMADE'),
    expiresAt: new Date(Date.UTC(2026, 0, 31, 12)),
    arn: 'arn:aws:sts::123456789012:assumed-role/deploy/one',
    assumedRoleId: 'AROA:one',
  })
  t.match(keys.session(session.sessionToken), { accessKeyId: 'ASIAMADE' })
  t.match(seen.at(-1)?.body.toString(), /DurationSeconds=900/)
})

t.test('trust policies and audiences are read from IAM', async (t) => {
  const { principals } = start(t)
  t.equal(await principals.trustPolicy(role), '{"Statement":[]}')
  t.equal(await principals.trustPolicy(role.replace('role/', 'role/path/')), undefined)
  t.equal(await principals.trustPolicy(`${role}s`), undefined)
  t.equal(await principals.trustPolicy(user), undefined)
  t.strictSame(await principals.audiencesOf(provider), ['sts.amazonaws.com', 'other'])
  t.equal(await principals.audiencesOf(`${provider}/other`), undefined)
})
