import { randomUUID } from 'node:crypto'
import type { Credentials, RoleSession } from '../aws/credentials.ts'
import type { Principals } from '../aws/principals.ts'
import type { AwsRequest, AwsResponse } from '../aws/request.ts'
import { trusts } from '../aws/trust-policy.ts'
import type { PodIdentityAssociation } from '../eks-api/model.ts'
import type { TokenUser } from './api-server.ts'

/** Error types of EKS Auth's service model, with the HTTP status of each. */
const statuses = {
  AccessDeniedException: 400,
  ExpiredTokenException: 400,
  InvalidParameterException: 400,
  InvalidTokenException: 400,
  ResourceNotFoundException: 404,
} as const

export class EksAuthException extends Error {
  readonly type: keyof typeof statuses

  constructor(type: keyof typeof statuses, message: string) {
    super(message)
    this.name = type
    this.type = type
  }

  get status(): number {
    return statuses[this.type]
  }
}

export interface EksAuthOptions {
  cluster: { name: string; arn: string }
  findAssociation: (account: {
    namespace: string
    serviceAccount: string
  }) => PodIdentityAssociation | undefined
  /** Verifies a token for the audience `AUDIENCE`; undefined when it is not valid. */
  reviewToken: (token: string) => Promise<TokenUser | undefined>
  principals: Pick<Principals, 'trustPolicy'>
  credentials: Pick<Credentials, 'startRoleSession'>
}

/** The result of AssumeRoleForPodIdentity. */
export interface PodIdentitySession {
  subject: { namespace: string; serviceAccount: string }
  association: PodIdentityAssociation
  session: RoleSession
}

/** Audience of the tokens that EKS Auth accepts. */
export const AUDIENCE = 'pods.eks.amazonaws.com'

/** Duration of a session in seconds. */
const sessionDuration = 6 * 3600
/** Duration of a session that another session started, in seconds (IAM user guide, "Role chaining"). */
const chainedDuration = 3600

/** The EKS Auth API: exchanges a pod's token for credentials of the role that its service account is associated with. */
export class EksAuth {
  readonly #options: EksAuthOptions

  constructor(options: EksAuthOptions) {
    this.#options = options
  }

  /** Handles a request to EKS Auth, in the format of its service model. */
  async handle({ method, url, body }: AwsRequest): Promise<AwsResponse> {
    try {
      const cluster = /^\/clusters\/([^/?]+)\/assume-role-for-pod-identity$/.exec(url)?.[1]
      if (method !== 'POST' || cluster === undefined) {
        throw new EksAuthException('ResourceNotFoundException', `EKS Auth has no operation ${method} ${url}`)
      }
      const { subject, association, session } = await this.assumeRole(cluster, readToken(body))
      const { associationArn, associationId } = association
      return respond(200, {
        subject,
        audience: AUDIENCE,
        podIdentityAssociation: { associationArn, associationId },
        assumedRoleUser: { arn: session.arn, assumeRoleId: session.assumedRoleId },
        credentials: {
          accessKeyId: session.accessKeyId,
          secretAccessKey: session.secretAccessKey,
          sessionToken: session.sessionToken,
          expiration: session.expiresAt.getTime() / 1000,
        },
      })
    } catch (error) {
      if (!(error instanceof EksAuthException)) throw error
      return respond(error.status, { __type: error.type, message: error.message }, error.type)
    }
  }

  /**
   * AssumeRoleForPodIdentity.
   *
   * @throws EksAuthException for an invalid token, a service account without an association, or a role that does not
   * trust EKS.
   */
  async assumeRole(cluster: string, token: string): Promise<PodIdentitySession> {
    const { name, arn } = this.#options.cluster
    if (cluster !== name) {
      throw new EksAuthException('ResourceNotFoundException', `No cluster found for name: ${cluster}.`)
    }
    const user = await this.#options.reviewToken(token)
    const [, namespace, serviceAccount] =
      /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user?.username ?? '') ?? []
    if (user === undefined || namespace === undefined || serviceAccount === undefined) {
      if (isExpired(token)) throw new EksAuthException('ExpiredTokenException', 'The token has expired')
      throw new EksAuthException('InvalidTokenException', 'The token could not be validated')
    }
    const subject = { namespace, serviceAccount }
    const association = this.#options.findAssociation(subject)
    if (association === undefined) {
      throw new EksAuthException(
        'ResourceNotFoundException',
        `No association found for service account ${serviceAccount} in namespace ${namespace}`,
      )
    }
    const pod = (field: 'name' | 'uid') =>
      user.extra?.[`authentication.kubernetes.io/pod-${field}`]?.[0] ?? ''
    const tags = {
      'eks-cluster-arn': arn,
      'eks-cluster-name': name,
      'kubernetes-namespace': namespace,
      'kubernetes-service-account': serviceAccount,
      'kubernetes-pod-name': pod('name'),
      'kubernetes-pod-uid': pod('uid'),
    }
    const session = await this.#startSession(association, tags)
    return { subject, association, session }
  }

  /** Starts a session of the association's role and, if it has one, of its target role. */
  async #startSession(
    association: PodIdentityAssociation,
    tags: Readonly<Record<string, string>>,
  ): Promise<RoleSession> {
    const { roleArn, targetRoleArn, externalId = '', disableSessionTags } = association
    const { principals, credentials } = this.#options
    // EKS shortens both names, because the name of a session has at most 64 characters.
    const shortened = [tags['eks-cluster-name'], tags['kubernetes-pod-name']].map((text) =>
      text?.slice(0, 10),
    )
    const sessionName = ['eks', ...shortened, randomUUID()].join('-')
    const requestTags = disableSessionTags
      ? {}
      : Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value]))
    const actions = ['sts:AssumeRole', ...(disableSessionTags ? [] : ['sts:TagSession'])]
    const account = roleArn.split(':')[4] ?? ''
    const policy = await principals.trustPolicy(roleArn)
    const isTrusted =
      policy !== undefined &&
      trusts(policy, {
        principal: { type: 'Service', names: [AUDIENCE] },
        actions,
        context: { ...requestTags, 'aws:SourceAccount': account },
      })
    if (!isTrusted) throw unauthorized('the associated role')
    const session = await credentials.startRoleSession(
      roleArn,
      sessionName,
      targetRoleArn === undefined ? sessionDuration : chainedDuration,
    )
    if (targetRoleArn === undefined) return session
    const targetPolicy = await principals.trustPolicy(targetRoleArn)
    const isTargetTrusted =
      targetPolicy !== undefined &&
      trusts(targetPolicy, {
        principal: { type: 'AWS', names: [roleArn, session.arn, account, `arn:aws:iam::${account}:root`] },
        actions,
        context: { ...requestTags, 'sts:ExternalId': externalId, 'aws:PrincipalArn': roleArn },
      })
    if (!isTargetTrusted) throw unauthorized('the target role')
    return credentials.startRoleSession(targetRoleArn, sessionName, chainedDuration)
  }
}

function unauthorized(role: string): EksAuthException {
  return new EksAuthException(
    'AccessDeniedException',
    `Unauthorized Exception! EKS does not have permissions to assume ${role}.`,
  )
}

/** @throws EksAuthException when the body does not contain a token in the form of a JWT. */
function readToken(body: Buffer): string {
  let token: unknown
  try {
    token = (JSON.parse(body.toString()) as { token?: unknown } | null)?.token
  } catch {
    // Refused below.
  }
  if (typeof token === 'string' && /^[\w=-]+\.[\w=-]+\.[\w=-]+$/.test(token)) return token
  throw new EksAuthException('InvalidParameterException', 'The token must be a JSON web token')
}

/** Whether a token says that it has expired; the API server only says that it is not valid. */
function isExpired(token: string): boolean {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      exp?: unknown
    }
    return typeof exp === 'number' && exp * 1000 <= Date.now()
  } catch {
    return false
  }
}

function respond(status: number, body: object, errorType?: string): AwsResponse {
  return {
    status,
    headers: {
      'content-type': 'application/json',
      'x-amzn-requestid': randomUUID(),
      ...(errorType === undefined ? {} : { 'x-amzn-errortype': errorType }),
    },
    body: Buffer.from(JSON.stringify(body)),
  }
}
