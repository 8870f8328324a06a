import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { AwsRequest } from '../aws/request.ts'
import { isSamePrincipal } from './access.ts'
import type { Caller } from './api.ts'
import { allows, covers, type PolicyRule, rulesOf } from './authorizer.ts'
import type { AccessEntry } from './model.ts'
import type { Store } from './store.ts'
import { readToken } from './token.ts'

export interface WebhookOptions {
  /** Hosts of STS whose presigned URLs are taken. */
  stsHosts: readonly string[]
  /** Name of the cluster that tokens must be signed for. */
  cluster: string
  /**
   * Verifies who signed a request to STS.
   *
   * @throws Error saying why its signature does not hold.
   */
  verify: (request: AwsRequest) => Promise<{ caller: Caller; accessKeyId: string }>
  /** The rules of a ClusterRole. */
  clusterRoleRules: (name: string) => Promise<readonly PolicyRule[]>
}

/** The groups of a node (aws-iam-authenticator, what it maps EC2_LINUX to). */
const nodeGroups = ['system:bootstrappers', 'system:nodes']

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
    // Kubernetes wants these keys in lower case; EKS itself writes canonicalArn.
    const extra = Object.entries(body.spec.extra ?? {})
    const principals = extra.find(([key]) => key.toLowerCase() === 'canonicalarn')?.[1] ?? []
    const entry = store.state.accessEntries.find(({ principalArn }) => principals.includes(principalArn))
    try {
      for (const policy of entry?.policies ?? []) {
        if (!covers(policy, body.spec)) continue
        const rules = await rulesOf(policy.policyArn, options.clusterRoleRules)
        if (rules.some((rule) => allows(rule, body.spec))) {
          return answer({ allowed: true, reason: `EKS Access Policy: allowed by ${policy.policyArn}` })
        }
      }
      return answer({ allowed: false })
    } catch (error) {
      const evaluationError = error instanceof Error ? error.message : String(error)
      console.error(`access policies not evaluated: ${evaluationError}`)
      return answer({ allowed: false, evaluationError })
    }
  })

  await app.ready()
  return app as unknown as FastifyInstance
}

/** The user a token stands for. Throws saying why it stands for none. */
async function authenticate(store: Store, token: string, options: WebhookOptions) {
  const request = readToken(token, options.stsHosts, options.cluster)
  const status = store.state.cluster?.status
  if (status !== 'ACTIVE' && status !== 'UPDATING') throw new Error('there is no cluster')
  const { caller, accessKeyId } = await options.verify(request)
  const entry = store.state.accessEntries.find(({ principalArn }) =>
    isSamePrincipal(principalArn, caller.principalArn),
  )
  if (entry === undefined) throw new Error(`${caller.principalArn} has no access entry`)
  const sessionName = /:assumed-role\/[^/]+\/(.+)$/.exec(caller.arn)?.[1] ?? ''
  return {
    username: username(entry, caller, sessionName),
    uid: `aws-iam-authenticator:${caller.account}:${caller.userId}`,
    groups: entry.type === 'EC2_LINUX' ? nodeGroups : entry.kubernetesGroups,
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

function username({ username }: AccessEntry, { account }: Caller, sessionName: string): string {
  // EKS replaces what Kubernetes would not take in a name.
  return (
    username
      .replaceAll('{{SessionName}}', sessionName.replaceAll('@', '-'))
      .replaceAll('{{SessionNameRaw}}', sessionName)
      .replaceAll('{{AccountID}}', account)
      // On EC2 a node's session is named after its instance; the emulated ones run no kubelet that would ask.
      .replaceAll('{{EC2PrivateDNSName}}', sessionName)
  )
}
