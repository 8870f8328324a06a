import t, { type Test } from 'tap'
import type { PodIdentityAssociation } from '../eks-api/model.ts'
import type { TokenUser } from './api-server.ts'
import { EksAuth } from './eks-auth.ts'

const name = 'fastify-eks-cluster'
const role = (role: string, account = '123456789012') => `arn:aws:iam::${account}:role/${role}`
const token = (claims: object = {}) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
const trusting = (changed: object = {}) =>
  JSON.stringify({
    Statement: {
      Effect: 'Allow',
      Principal: { Service: 'pods.eks.amazonaws.com' },
      Action: ['sts:AssumeRole', 'sts:TagSession'],
      ...changed,
    },
  })
const karpenter: TokenUser = {
  username: 'system:serviceaccount:kube-system:karpenter',
  extra: {
    'authentication.kubernetes.io/pod-name': ['karpenter-7d9f8-abcde'],
    'authentication.kubernetes.io/pod-uid': ['uid'],
  },
}

function start(
  _t: Test,
  policies: Record<string, string> = { [role('karpenter')]: trusting() },
  changed: Partial<PodIdentityAssociation> = {},
) {
  const started: [roleArn: string, sessionName: string, duration: number][] = []
  const users: Record<string, TokenUser> = {
    [token()]: karpenter,
    [token({ other: true })]: { username: 'system:serviceaccount:kube-system:default' },
    [token({ user: true })]: { username: 'admin' },
  }
  const auth = new EksAuth({
    cluster: { name, arn: `arn:aws:eks:eu-central-1:123456789012:cluster/${name}` },
    findAssociation: ({ namespace, serviceAccount }) =>
      namespace === 'kube-system' && serviceAccount === 'karpenter'
        ? ({
            roleArn: role('karpenter'),
            associationArn: 'arn:association',
            associationId: 'a-1',
            disableSessionTags: false,
            ...changed,
          } as PodIdentityAssociation)
        : undefined,
    reviewToken: async (token) => users[token],
    principals: { trustPolicy: async (arn) => policies[arn] },
    credentials: {
      startRoleSession: async (...args) => {
        started.push(args)
        const [roleArn, sessionName] = args
        return {
          accessKeyId: 'ASIAMADE',
          secretAccessKey: 'secret',
          sessionToken: 'session',
          expiresAt: new Date(1_800_000_000_000),
          arn: `arn:aws:sts::${roleArn.split(':')[4]}:assumed-role/${roleArn.split('/')[1]}/${sessionName}`,
          assumedRoleId: `AROA:${sessionName}`,
        }
      },
    },
  })
  const call = async (content: string, url = `/clusters/${name}/assume-role-for-pod-identity`) => {
    const { status, headers, body } = await auth.handle({
      method: 'POST',
      url,
      headers: {},
      body: Buffer.from(content),
    })
    return { status, type: headers['x-amzn-errortype'], body: JSON.parse(body.toString()) }
  }
  return { assume: (given = token()) => call(JSON.stringify({ token: given })), call, started }
}

t.test("a pod's token gives a session of the associated role", async (t) => {
  const { assume, started } = start(t)
  t.match(await assume(), {
    status: 200,
    body: {
      subject: { namespace: 'kube-system', serviceAccount: 'karpenter' },
      audience: 'pods.eks.amazonaws.com',
      podIdentityAssociation: { associationArn: 'arn:association', associationId: 'a-1' },
      assumedRoleUser: {
        arn: /^arn:aws:sts::123456789012:assumed-role\/karpenter\/eks-fastify-ek-karpenter--[0-9a-f-]{36}$/,
        assumeRoleId: /^AROA:eks-/,
      },
      credentials: {
        accessKeyId: 'ASIAMADE',
        secretAccessKey: 'secret',
        sessionToken: 'session',
        expiration: 1_800_000_000,
      },
    },
  })
  t.match(started, [[role('karpenter'), /^.{62}$/, 21_600]])
})

t.test('any other request is refused with the error of EKS Auth', async (t) => {
  const { assume, call, started } = start(t)
  t.match(await assume('e30.e30.unknown'), { status: 400, type: 'InvalidTokenException' })
  t.match(await assume(token({ user: true })), { status: 400, type: 'InvalidTokenException' }, 'not a pod')
  t.match(await assume(token({ exp: 1 })), { status: 400, type: 'ExpiredTokenException' })
  t.match(await assume(token({ other: true })), { status: 404, type: 'ResourceNotFoundException' })
  for (const body of ['', '{}', 'null', '{"token":"no token"}']) {
    t.match(await call(body), { status: 400, type: 'InvalidParameterException' }, body)
  }
  const { status } = await call('{}', '/clusters/other/assume-role-for-pod-identity')
  t.equal(status, 400)
  t.match(await call(JSON.stringify({ token: token() }), '/clusters/other/assume-role-for-pod-identity'), {
    status: 404,
    type: 'ResourceNotFoundException',
  })
  t.match(await call('{}', '/clusters'), { status: 404 })
  t.strictSame(started, [])
})

t.test('the role must trust EKS, and permit session tags unless they are disabled', async (t) => {
  const denied = { status: 400, type: 'AccessDeniedException', body: { message: /^Unauthorized Exception!/ } }
  const withPolicy = (policy: string, changed: Partial<PodIdentityAssociation> = {}) =>
    start(t, { [role('karpenter')]: policy }, changed).assume()
  t.match(await start(t, {}).assume(), denied, 'the role was deleted')
  t.match(await withPolicy(trusting({ Principal: { Service: 'ec2.amazonaws.com' } })), denied)
  const untagged = trusting({ Action: 'sts:AssumeRole' })
  t.match(await withPolicy(untagged), denied)
  t.match(await withPolicy(untagged, { disableSessionTags: true }), { status: 200 })
})

t.test('the trust policy can refer to the session tags', async (t) => {
  const withCondition = (tag: string, value: string) =>
    start(t, {
      [role('karpenter')]: trusting({ Condition: { StringEquals: { [`aws:RequestTag/${tag}`]: value } } }),
    }).assume()
  const tags = {
    'eks-cluster-arn': `arn:aws:eks:eu-central-1:123456789012:cluster/${name}`,
    'eks-cluster-name': name,
    'kubernetes-namespace': 'kube-system',
    'kubernetes-service-account': 'karpenter',
    'kubernetes-pod-name': 'karpenter-7d9f8-abcde',
    'kubernetes-pod-uid': 'uid',
  }
  for (const [tag, value] of Object.entries(tags)) {
    t.match(await withCondition(tag, value), { status: 200 }, tag)
    t.match(await withCondition(tag, 'other'), { status: 400 }, tag)
  }
})

t.test('a target role is assumed by the associated role, with the external id', async (t) => {
  const target = role('target', '210987654321')
  const targetPolicy = trusting({
    Principal: { AWS: role('karpenter') },
    Condition: { StringEquals: { 'sts:ExternalId': 'id' } },
  })
  const policies = { [role('karpenter')]: trusting(), [target]: targetPolicy }
  const { assume, started } = start(t, policies, { targetRoleArn: target, externalId: 'id' })
  t.match(await assume(), { body: { assumedRoleUser: { arn: /:210987654321:assumed-role\/target\// } } })
  t.match(started, [[role('karpenter')], [target, String, 3600]])
  const wrong = start(t, policies, { targetRoleArn: target, externalId: 'other' })
  t.match(await wrong.assume(), { type: 'AccessDeniedException' })
})
