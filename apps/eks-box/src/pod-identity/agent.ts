import fastify, { type FastifyInstance } from 'fastify'
import { AGENT_ADDRESS } from '../cluster.ts'
import { EksAuthException, type PodIdentitySession } from './eks-auth.ts'

export interface AgentOptions {
  /** Whether the cluster has the add-on eks-pod-identity-agent. */
  isInstalled: () => boolean
  /** @throws EksAuthException when the token gives no credentials. */
  assumeRole: (token: string) => Promise<PodIdentitySession>
}

/** The response of the endpoint (AWS SDKs and Tools Reference Guide, "Container credential provider"). */
interface ContainerCredentials {
  AccessKeyId: string
  SecretAccessKey: string
  Token: string
  AccountId: string
  Expiration: string
}

/** How long the agent uses a session before it starts another one, in milliseconds. */
const renewAfter = 3 * 3_600_000
/** Remaining validity below which the agent does not return credentials, in milliseconds. */
const leastValidity = 15_000

/**
 * The EKS pod identity agent: gives credentials to pods that present a token of their service account. Without its
 * add-on it closes every connection, because on AWS nothing would listen there.
 */
export function buildAgent({ isInstalled, assumeRole }: AgentOptions): FastifyInstance {
  const app = fastify()
  const sessions = new Map<string, { renewAt: number; result: Promise<PodIdentitySession> }>()

  /** Starts one session for each token, however many containers and processes of a pod ask for it. */
  const credentialsOf = async (token: string): Promise<ContainerCredentials> => {
    for (const [other, { renewAt }] of sessions) if (renewAt <= Date.now()) sessions.delete(other)
    const entry = sessions.get(token) ?? { renewAt: Date.now() + renewAfter, result: assumeRole(token) }
    sessions.set(token, entry)
    try {
      const { session } = await entry.result
      entry.renewAt = Math.min(entry.renewAt, session.expiresAt.getTime() - leastValidity)
      return {
        AccessKeyId: session.accessKeyId,
        SecretAccessKey: session.secretAccessKey,
        Token: session.sessionToken,
        AccountId: session.arn.split(':')[4] ?? '',
        Expiration: session.expiresAt.toISOString(),
      }
    } catch (error) {
      if (sessions.get(token) === entry) sessions.delete(token)
      throw error
    }
  }

  app.addHook('onRequest', async (request, reply) => {
    if (isInstalled()) return
    console.error('a pod asked for credentials, but the cluster has no add-on eks-pod-identity-agent')
    reply.hijack()
    request.raw.socket.destroy()
  })
  app.get('/v1/credentials', async ({ headers, hostname }, reply) => {
    const refuse = (status: number, message: string) => {
      console.error(`credentials refused: ${message}`)
      return reply.code(status).type('text/plain').send(`${message}\n`)
    }
    if (hostname !== AGENT_ADDRESS) {
      return refuse(
        403,
        `Access Denied. Called agent through invalid address ${hostname}, use ${AGENT_ADDRESS}`,
      )
    }
    const problem = problemOf(headers.authorization)
    if (headers.authorization === undefined || problem !== undefined) {
      return refuse(400, `Service account token ${problem}`)
    }
    try {
      return await credentialsOf(headers.authorization)
    } catch (error) {
      if (error instanceof EksAuthException) {
        return refuse(error.status, `(${error.type}): ${error.message}, fault: client`)
      }
      return refuse(500, error instanceof Error ? error.message : String(error))
    }
  })
  return app
}

/** Why a token cannot be valid, as far as the agent checks; EKS Auth verifies it. */
function problemOf(token = ''): string | undefined {
  if (token === '') return 'cannot be empty'
  const parts = token.split('.')
  try {
    const [header, claims] = parts
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as { exp?: number } | null)
    if (parts.length !== 3 || !header || !claims) return 'cannot be parsed'
    const isExpired = claims.exp !== undefined && claims.exp * 1000 <= Date.now()
    return isExpired ? 'failed basic claim validations: token is expired' : undefined
  } catch {
    return 'cannot be parsed'
  }
}
