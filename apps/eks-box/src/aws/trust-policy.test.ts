import t from 'tap'
import { type AssumeRequest, trusts } from './trust-policy.ts'

const issuer = 'oidc.eks.eu-central-1.amazonaws.com/id/ABC'
const provider = `arn:aws:iam::123456789012:oidc-provider/${issuer}`
const webIdentity: AssumeRequest = {
  principal: { type: 'Federated', names: [provider] },
  actions: ['sts:AssumeRoleWithWebIdentity'],
  context: { [`${issuer}:sub`]: 'system:serviceaccount:apps:one', [`${issuer}:aud`]: ['sts.amazonaws.com'] },
}
const statement = (changed: object = {}) => ({
  Effect: 'Allow',
  Principal: { Federated: provider },
  Action: 'sts:AssumeRoleWithWebIdentity',
  Condition: {
    StringEquals: {
      [`${issuer}:sub`]: 'system:serviceaccount:apps:one',
      [`${issuer}:aud`]: 'sts.amazonaws.com',
    },
  },
  ...changed,
})
const policy = (...statements: object[]) => JSON.stringify({ Version: '2012-10-17', Statement: statements })
const allows = (...statements: object[]) => trusts(policy(...statements), webIdentity)

t.test('a statement allows its principal, action and conditions only', async (t) => {
  t.ok(allows(statement()))
  t.ok(trusts(JSON.stringify({ Statement: statement() }), webIdentity), 'a single statement')
  t.ok(allows(statement({ Action: ['sts:TagSession', 'sts:AssumeRole*'] })))
  t.ok(allows(statement({ Principal: '*' })))
  t.notOk(allows())
  t.notOk(allows(statement({ Principal: { Federated: `${provider}D` } })))
  t.notOk(allows(statement({ Principal: { AWS: provider } })))
  t.notOk(allows(statement({ Action: 'sts:AssumeRole' })))
  for (const key of ['sub', 'aud']) {
    t.notOk(allows(statement({ Condition: { StringEquals: { [`${issuer}:${key}`]: 'other' } } })), key)
  }
})

t.test('every action must be allowed', async (t) => {
  const request: AssumeRequest = {
    principal: { type: 'Service', names: ['pods.eks.amazonaws.com'] },
    actions: ['sts:AssumeRole', 'sts:TagSession'],
    context: {},
  }
  const of = (Action: string | string[]) =>
    policy({ Effect: 'Allow', Principal: { Service: 'pods.eks.amazonaws.com' }, Action })
  t.ok(trusts(of(['sts:AssumeRole', 'sts:TagSession']), request))
  t.notOk(trusts(of('sts:AssumeRole'), request))
})

t.test('a denial outweighs every permission', async (t) => {
  t.notOk(allows(statement(), statement({ Effect: 'Deny' })))
  t.ok(allows(statement(), statement({ Effect: 'Deny', Principal: { Federated: 'other' } })))
})

t.test('condition operators', async (t) => {
  const sub = `${issuer}:SUB`
  const cases: [operator: string, key: string, value: string | string[], allowed: boolean][] = [
    ['StringLike', sub, 'system:serviceaccount:apps:*', true],
    ['StringLike', sub, 'system:serviceaccount:other:*', false],
    ['StringLike', sub, 'system?serviceaccount?apps?one', true],
    ['StringEquals', sub, 'system:serviceaccount:apps:*', false],
    ['StringEquals', sub, ['no', 'system:serviceaccount:apps:one'], true],
    ['StringEqualsIgnoreCase', sub, 'SYSTEM:serviceaccount:apps:one', true],
    ['StringNotEquals', sub, 'system:serviceaccount:apps:one', false],
    ['StringNotEquals', sub, 'other', true],
    ['StringNotLike', sub, '*:apps:*', false],
    ['StringEquals', 'missing', 'x', false],
    ['StringEqualsIfExists', 'missing', 'x', true],
    ['StringNotEquals', 'missing', 'x', true],
    ['ForAllValues:StringEquals', 'missing', 'x', true],
    ['ForAnyValue:StringEquals', 'missing', 'x', false],
    ['ForAnyValue:StringEquals', `${issuer}:aud`, ['sts.amazonaws.com', 'x'], true],
    ['ForAllValues:StringLike', `${issuer}:aud`, '*.com', true],
    ['Null', 'missing', 'true', true],
    ['Null', sub, 'true', false],
    ['NumericEquals', sub, '1', false],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a policy variable
    ['StringNotEquals', sub, '${aws:username}', false],
  ]
  for (const [operator, key, value, allowed] of cases) {
    t.equal(
      allows(statement({ Condition: { [operator]: { [key]: value } } })),
      allowed,
      `${operator} ${key} ${value}`,
    )
  }
})

t.test('a statement that cannot be evaluated never allows, but denies', async (t) => {
  const unsupported = [
    { NotPrincipal: { AWS: '*' }, Principal: undefined },
    { NotAction: 'sts:AssumeRole', Action: undefined },
    { Condition: { DateLessThan: { 'aws:CurrentTime': '2030-01-01T00:00:00Z' } } },
  ]
  for (const changed of unsupported) {
    t.notOk(allows(statement(changed)), JSON.stringify(changed))
    t.notOk(allows(statement(), statement({ ...changed, Effect: 'Deny' })), JSON.stringify(changed))
  }
})
