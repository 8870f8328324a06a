import { type KeyObject, randomUUID, verify } from 'node:crypto'
import { AwsError, escapeXml } from './aws-error.ts'
import type { Credentials } from './credentials.ts'
import type { Principals } from './principals.ts'
import { type AwsRequest, type AwsResponse, parameter } from './request.ts'
import { trusts } from './trust-policy.ts'

export interface WebIdentityOptions {
  account: string
  /** The issuers whose tokens the box can verify, with the public keys (RSA) that sign them. */
  issuers: ReadonlyMap<string, KeyObject>
  principals: Pick<Principals, 'audiencesOf' | 'trustPolicy'>
  credentials: Pick<Credentials, 'startRoleSession'>
}

/** The claims that STS reads. */
interface Claims {
  iss: string
  sub: string
  aud: string[]
  /** Seconds since 1970. */
  exp: number
}

/** Default duration of a role's session, in seconds (AWS STS API Reference). */
const defaultDuration = 3600

/**
 * AssumeRoleWithWebIdentity of STS: verifies the token's signature, issuer, audience and expiry, and that the role's
 * trust policy allows its subject, before it starts a session.
 *
 * @throws AwsError with the code and the message of STS.
 */
export async function assumeRoleWithWebIdentity(
  request: AwsRequest,
  options: WebIdentityOptions,
): Promise<AwsResponse> {
  const roleArn = required(request, 'RoleArn', /^arn:aws:iam::\d{12}:role\/.+$/)
  const sessionName = required(request, 'RoleSessionName', /^[\w+=,.@-]{2,64}$/)
  const token = required(request, 'WebIdentityToken', /^.{4,20000}$/s)
  const duration = Number(parameter(request, 'DurationSeconds') ?? defaultDuration)
  if (!(Number.isInteger(duration) && duration >= 900 && duration <= 43_200)) {
    throw new AwsError('invalid', 'DurationSeconds must be between 900 and 43200')
  }
  const claims = readClaims(token)
  const issuer = claims.iss.replace(/^https:\/\//, '')
  const provider = `arn:aws:iam::${options.account}:oidc-provider/${issuer}`
  const accepted = await options.principals.audiencesOf(provider)
  if (accepted === undefined) {
    throw new AwsError('identity', `No OpenIDConnect provider found in your account for ${claims.iss}`)
  }
  const key = options.issuers.get(claims.iss)
  if (key === undefined) {
    throw new AwsError(
      'identity',
      `Couldn't retrieve verification key from your identity provider: the box knows only its own cluster's, not ${claims.iss}`,
    )
  }
  if (!isSignedBy(token, key)) {
    throw new AwsError('identity', 'The web identity token that was passed could not be validated by AWS')
  }
  const audiences = claims.aud.filter((audience) => accepted.includes(audience))
  if (audiences.length === 0) throw new AwsError('identity', 'Incorrect token audience')
  if (claims.exp * 1000 <= Date.now()) {
    throw new AwsError(
      'identityExpired',
      `Token expired: current date/time ${Math.floor(Date.now() / 1000)} must be before the expiration date/time ${claims.exp}`,
    )
  }
  const policy = await options.principals.trustPolicy(roleArn)
  const isTrusted =
    policy !== undefined &&
    trusts(policy, {
      principal: { type: 'Federated', names: [provider] },
      actions: ['sts:AssumeRoleWithWebIdentity'],
      context: { [`${issuer}:sub`]: claims.sub, [`${issuer}:aud`]: audiences },
    })
  if (!isTrusted) throw new AwsError('denied', 'Not authorized to perform sts:AssumeRoleWithWebIdentity')
  const session = await options.credentials.startRoleSession(roleArn, sessionName, duration)
  const elements = (values: Readonly<Record<string, string>>) =>
    Object.entries(values)
      .map(([name, value]) => `<${name}>${escapeXml(value)}</${name}>`)
      .join('')
  const requestId = randomUUID()
  const body = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult>
${elements({ SubjectFromWebIdentityToken: claims.sub, Audience: audiences[0] ?? '', Provider: claims.iss })}
<AssumedRoleUser>${elements({ Arn: session.arn, AssumedRoleId: session.assumedRoleId })}</AssumedRoleUser>
<Credentials>${elements({
    AccessKeyId: session.accessKeyId,
    SecretAccessKey: session.secretAccessKey,
    SessionToken: session.sessionToken,
    Expiration: session.expiresAt.toISOString(),
  })}</Credentials>
</AssumeRoleWithWebIdentityResult>
<ResponseMetadata>${elements({ RequestId: requestId })}</ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>`
  return {
    status: 200,
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': requestId },
    body: Buffer.from(body),
  }
}

function required(request: AwsRequest, name: string, pattern: RegExp): string {
  const value = parameter(request, name)
  if (value !== undefined && pattern.test(value)) return value
  throw new AwsError(
    'invalid',
    `1 validation error detected: ${name} ${value === undefined ? 'is missing' : `must match ${pattern.source}`}`,
  )
}

function readClaims(token: string): Claims {
  const [header, payload] = token.split('.').map(parsePart)
  const { iss, sub, aud, exp } = payload ?? {}
  const isValid =
    token.split('.').length === 3 &&
    header?.['alg'] === 'RS256' &&
    typeof iss === 'string' &&
    typeof sub === 'string' &&
    typeof exp === 'number'
  if (!isValid) {
    throw new AwsError(
      'identity',
      'The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)',
    )
  }
  if (aud === undefined) throw new AwsError('identity', 'Missing a required claim: aud')
  return { iss, sub, aud: [aud].flat().map(String), exp }
}

/** Parses the header or the payload of a token; undefined when it is not an object in JSON. */
function parsePart(part: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined
  } catch {
    return undefined
  }
}

function isSignedBy(token: string, key: KeyObject): boolean {
  const end = token.lastIndexOf('.')
  const signature = Buffer.from(token.slice(end + 1), 'base64url')
  return verify('RSA-SHA256', Buffer.from(token.slice(0, end)), key, signature)
}
