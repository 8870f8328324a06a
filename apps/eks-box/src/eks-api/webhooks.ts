import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Caller } from './api.ts'
import { allows, covers, type PolicyRule, roleOf } from './authorizer.ts'
import type { AccessEntry } from './model.ts'
import type { Store } from './store.ts'
import { readToken } from './token.ts'

export interface WebhookOptions {
  /** Hosts of STS whose presigned URLs are taken. */
  stsHosts: readonly string[]
  /** Tells whose an access key id is; undefined for one that is nobody's. */
  callerOf: (accessKeyId: string) => Promise<Caller | undefined>
  /** The rules of a ClusterRole. */
  clusterRoleRules: (name: string) => Promise<readonly PolicyRule[]>
}

const TokenReview = Type.Object({ spec: Type.Object({ token: Type.Optional(Type.String()) }) })
const Attributes = Type.Record(Type.String(), Type.Unknown())
const AccessReview = Type.Object({
  spec: Type.Object({
    resourceAttributes: Type.Optional(Attributes),
    nonResourceAttributes: Type.Optional(Attributes),
    extra: Type.Optional(Type.Record(Type.String(), Type.Array(Type.String()))),
  }),
})

/**
 * What the API server asks as it does on EKS: whose a token is, by the access entries, and whether an access
 * policy allows what RBAC did not.
 */
export async function buildWebhooks(store: Store, options: WebhookOptions): Promise<FastifyInstance> {
  const app = fastify().setValidatorCompiler(TypeBoxValidatorCompiler).withTypeProvider<TypeBoxTypeProvider>()

  app.get('/healthz', async () => 'ok')

  app.post('/authenticate', { schema: { body: TokenReview } }, async ({ body }) => {
    const answer = (status: object) => ({
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      status,
    })
    const { token = '' } = body.spec
    // Tokens of others, of service accounts above all, also come by when nobody else took them.
    if (!token.startsWith('k8s-aws-v1.')) return answer({ authenticated: false })
    try {
      return answer({ authenticated: true, user: await authenticate(store, token, options) })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      console.error(`token refused: ${reason}`)
      return answer({ authenticated: false, error: reason })
    }
  })

  app.post('/authorize', { schema: { body: AccessReview } }, async ({ body }) => {
    const answer = (status: object) => ({
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      status,
    })
    const [principal] = body.spec.extra?.['canonicalarn'] ?? []
    const entry = store.state.accessEntries.find(({ principalArn }) => principalArn === principal)
    for (const policy of entry?.policies ?? []) {
      const role = roleOf(policy.policyArn)
      if (role === undefined || !covers(policy, body.spec)) continue
      const rules = await options.clusterRoleRules(role)
      if (rules.some((rule) => allows(rule, body.spec))) {
        return answer({ allowed: true, reason: `EKS Access Policy: allowed by ${policy.policyArn}` })
      }
    }
    return answer({ allowed: false })
  })

  await app.ready()
  return app as unknown as FastifyInstance
}

/** The user a token stands for. Throws saying why it stands for none. */
async function authenticate(store: Store, token: string, options: WebhookOptions) {
  const { accessKeyId } = readToken(token, options.stsHosts)
  if (store.state.cluster?.status === undefined) throw new Error('there is no cluster')
  const caller = await options.callerOf(accessKeyId)
  if (caller === undefined) throw new Error(`${accessKeyId} is nobody's access key`)
  const entry = store.state.accessEntries.find(({ principalArn }) =>
    isSame(principalArn, caller.principalArn),
  )
  if (entry === undefined) throw new Error(`${caller.principalArn} has no access entry`)
  const sessionName = /:assumed-role\/[^/]+\/(.+)$/.exec(caller.arn)?.[1] ?? ''
  return {
    username: username(entry, caller, sessionName),
    uid: `aws-iam-authenticator:${caller.account}:${caller.userId}`,
    groups: entry.kubernetesGroups,
    // The API server compares and passes these keys in lower case.
    extra: {
      accesskeyid: [accessKeyId],
      arn: [caller.arn],
      canonicalarn: [entry.principalArn],
      principalid: [caller.userId],
      sessionname: [sessionName],
    },
  }
}

/** The ARN of a role's session lacks the role's path, so paths cannot count. */
function isSame(entry: string, caller: string): boolean {
  const withoutPath = (arn: string) => arn.replace(/:(role|user)\/.*\//, ':$1/')
  return withoutPath(entry) === withoutPath(caller)
}

function username({ username }: AccessEntry, { account }: Caller, sessionName: string): string {
  // EKS replaces what Kubernetes would not take in a name.
  return username
    .replaceAll('{{SessionName}}', sessionName.replaceAll('@', '-'))
    .replaceAll('{{SessionNameRaw}}', sessionName)
    .replaceAll('{{AccountID}}', account)
}
