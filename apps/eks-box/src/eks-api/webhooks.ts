import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Caller } from '../aws/caller.ts'
import type { AwsRequest } from '../aws/request.ts'
import { isSamePrincipal } from './access.ts'
import { allows, covers, type PolicyRule, rulesOf } from './authorizer.ts'
import type { AccessEntry } from './model.ts'
import type { Store } from './store.ts'
import { readToken } from './token.ts'

export interface WebhookOptions {
  /** Hosts of STS whose presigned URLs are accepted. */
  stsHosts: readonly string[]
  /** Name of the cluster for which tokens must be signed. */
  cluster: string
  /**
   * Verifies the signature of a request to STS.
   *
   * @throws Error with the reason why the signature is invalid.
   */
  verify: (request: AwsRequest) => Promise<{ caller: Caller; accessKeyId: string }>
  /** A value that differs after every change of the account. The component `nodes` asks for it. */
  changes: () => string
  /** The rules of a ClusterRole. */
  clusterRoleRules: (name: string) => Promise<readonly PolicyRule[]>
}

/** The groups of nodes, to which aws-iam-authenticator maps EC2_LINUX. */
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
 * The webhooks that the API server calls, as on EKS: token authentication by access entries, and authorization by
 * access policies after RBAC.
 */
export async function buildWebhooks(store: Store, options: WebhookOptions): Promise<FastifyInstance> {
  const app = fastify().setValidatorCompiler(TypeBoxValidatorCompiler).withTypeProvider<TypeBoxTypeProvider>()

  app.get('/healthz', async () => 'ok')

  app.get('/changes', async () => options.changes())

  app.post('/authenticate', { schema: { body: TokenReview } }, async ({ body }) => {
    const review = (status: object) => ({
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      status,
    })
    const { token = '' } = body.spec
    // The API server also sends tokens of other kinds that no other authenticator accepted.
    if (!token.startsWith('k8s-aws-v1.')) return review({ authenticated: false })
    try {
      return review({ authenticated: true, user: await authenticate(store, token, options) })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      console.error(`token refused: ${reason}`)
      return review({ authenticated: false, error: reason })
    }
  })

  app.post('/authorize', { schema: { body: AccessReview } }, async ({ body }) => {
    const review = (status: object) => ({
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      status,
    })
    // Kubernetes requires these keys in lower case, but EKS itself writes canonicalArn.
    const extra = Object.entries(body.spec.extra ?? {})
    const principals = extra.find(([key]) => key.toLowerCase() === 'canonicalarn')?.[1] ?? []
    const entry = store.state.accessEntries.find(({ principalArn }) => principals.includes(principalArn))
    try {
      for (const policy of entry?.policies ?? []) {
        if (!covers(policy, body.spec)) continue
        const rules = await rulesOf(policy.policyArn, options.clusterRoleRules)
        if (rules.some((rule) => allows(rule, body.spec))) {
          return review({ allowed: true, reason: `EKS Access Policy: allowed by ${policy.policyArn}` })
        }
      }
      return review({ allowed: false })
    } catch (error) {
      const evaluationError = error instanceof Error ? error.message : String(error)
      console.error(`access policies not evaluated: ${evaluationError}`)
      return review({ allowed: false, evaluationError })
    }
  })

  await app.ready()
  return app as unknown as FastifyInstance
}

/**
 * The Kubernetes user of a token.
 *
 * @throws Error with the reason why the token is refused.
 */
async function authenticate(store: Store, token: string, options: WebhookOptions) {
  const request = readToken(token, options.stsHosts, options.cluster)
  const status = store.state.cluster?.status
  if (status !== 'ACTIVE' && status !== 'UPDATING')
    throw new Error('the cluster does not exist or is not active')
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
    // The API server requires these keys in lower case.
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
  // EKS replaces characters that Kubernetes does not allow in a user name.
  return (
    username
      .replaceAll('{{SessionName}}', sessionName.replaceAll('@', '-'))
      .replaceAll('{{SessionNameRaw}}', sessionName)
      .replaceAll('{{AccountID}}', account)
      // On EC2, the session of a node has the name of its instance. In the box, kubelets have client certificates.
      .replaceAll('{{EC2PrivateDNSName}}', sessionName)
  )
}
