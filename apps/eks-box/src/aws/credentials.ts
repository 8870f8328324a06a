import { randomInt } from 'node:crypto'
import type { Authenticated } from './authentication.ts'
import { AwsError } from './aws-error.ts'
import { isChange } from './emulator.ts'
import type { AccountKeys } from './keys.ts'
import { type Backend, field, type Principals, queryRequest } from './principals.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from './request.ts'
import type { Signature } from './signature.ts'

/** Default duration of a user's session, in seconds (AWS STS API Reference). */
const sessionDuration = 12 * 3600

/** A role's session, with its credentials. */
export interface RoleSession {
  accessKeyId: string
  secretAccessKey: string
  sessionToken: string
  expiresAt: Date
  /** ARN of the session. */
  arn: string
  /** Id of the role and name of the session. */
  assumedRoleId: string
}

/**
 * Handles the operations that issue credentials. The emulator manages users, roles and access keys; this class replaces
 * its secrets and session tokens with those of the box.
 */
export class Credentials {
  readonly #emulator: Backend
  readonly #keys: AccountKeys
  readonly #principals: Principals

  constructor(emulator: Backend, keys: AccountKeys, principals: Principals) {
    this.#emulator = emulator
    this.#keys = keys
    this.#principals = principals
  }

  /**
   * Sends a verified request to the emulator, and replaces the credentials in its response with those of the box.
   *
   * @throws AwsError for a session that AWS would refuse or the box does not support.
   */
  async forward(request: AwsRequest, by: Authenticated): Promise<AwsResponse> {
    try {
      return await this.#dispatch(request, by)
    } finally {
      if (isChange(request)) this.#principals.forget()
    }
  }

  /** Starts a session of a role, for a principal whose right to assume it has been verified. */
  async startRoleSession(
    roleArn: string,
    sessionName: string,
    durationSeconds: number,
  ): Promise<RoleSession> {
    const request = queryRequest('sts', {
      Action: 'AssumeRole',
      RoleArn: roleArn,
      RoleSessionName: sessionName,
      DurationSeconds: String(durationSeconds),
    })
    const { status, body } = await this.#issue(request)
    this.#principals.forget()
    const xml = body.toString()
    if (status !== 200) throw new Error(`the emulator responded with ${status} to AssumeRole: ${xml}`)
    return {
      accessKeyId: field(xml, 'AccessKeyId'),
      secretAccessKey: field(xml, 'SecretAccessKey'),
      sessionToken: field(xml, 'SessionToken'),
      expiresAt: new Date(field(xml, 'Expiration')),
      arn: field(xml, 'Arn'),
      assumedRoleId: field(xml, 'AssumedRoleId'),
    }
  }

  async #dispatch(
    request: AwsRequest,
    { caller, accessKeyId, signature }: Authenticated,
  ): Promise<AwsResponse> {
    const forwarded = withAccessKey(request, signature, accessKeyId)
    if (signature.service === 'iam' && operation(request) === 'CreateAccessKey') return this.#issue(forwarded)
    if (signature.service !== 'sts') return this.#emulator.forward(forwarded)
    switch (operation(request)) {
      case 'AssumeRole': {
        const role = parameter(request, 'RoleArn') ?? ''
        if (!(await this.#principals.exists(role))) {
          throw new AwsError(
            'denied',
            `User: ${caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${role}`,
          )
        }
        return this.#issue(forwarded)
      }
      case 'GetSessionToken':
        if (caller.arn !== caller.principalArn) {
          throw new AwsError('denied', 'Cannot call GetSessionToken with session credentials')
        }
        return this.#startUserSession(forwarded, accessKeyId)
      case 'GetFederationToken':
        throw new AwsError('denied', 'The box does not support federated users: use AssumeRole')
      default:
        return this.#emulator.forward(forwarded)
    }
  }

  /** Replaces the secret that the emulator issued and, for a session, its token. */
  async #issue(request: AwsRequest): Promise<AwsResponse> {
    const response = await this.#emulator.forward(request)
    if (response.status >= 400) return response
    const xml = response.body.toString()
    const accessKeyId = field(xml, 'AccessKeyId')
    const expiration = field(xml, 'Expiration')
    return this.#replace(response, {
      SecretAccessKey: this.#keys.secretOf(accessKeyId),
      ...(expiration === ''
        ? {}
        : { SessionToken: this.#keys.sessionToken({ accessKeyId, expiresAt: Date.parse(expiration) }) }),
    })
  }

  /** Starts a session of a user. The emulator returns the same credentials each time, so all of them are replaced. */
  async #startUserSession(request: AwsRequest, of: string): Promise<AwsResponse> {
    const response = await this.#emulator.forward(request)
    if (response.status >= 400) return response
    const expiresAt = Date.now() + 1000 * Number(parameter(request, 'DurationSeconds') ?? sessionDuration)
    const accessKeyId = temporaryKeyId()
    return this.#replace(response, {
      AccessKeyId: accessKeyId,
      SecretAccessKey: this.#keys.secretOf(accessKeyId),
      SessionToken: this.#keys.sessionToken({ accessKeyId, expiresAt, of }),
      Expiration: new Date(expiresAt).toISOString(),
    })
  }

  #replace(response: AwsResponse, values: Readonly<Record<string, string>>): AwsResponse {
    let xml = response.body.toString()
    for (const [name, value] of Object.entries(values)) {
      const element = new RegExp(`<${name}>[^<]*</${name}>`)
      if (!element.test(xml)) throw new Error(`the emulator issued credentials without ${name}`)
      xml = xml.replace(element, `<${name}>${value}</${name}>`)
    }
    return { ...response, body: Buffer.from(xml) }
  }
}

/**
 * The request in the form that the emulator understands. It takes the caller's access key id and the service only from
 * the Authorization header, and reads presigned URLs only for S3.
 */
function withAccessKey(request: AwsRequest, signature: Signature, accessKeyId: string): AwsRequest {
  const { region, service } = signature
  const isHeader = request.headers.authorization !== undefined
  if (isHeader ? signature.accessKeyId === accessKeyId : service === 's3') return request
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/${region}/${service}/aws4_request`
  return { ...request, headers: { ...request.headers, authorization } }
}

/** A random id in the form of AWS's temporary access keys. */
function temporaryKeyId(): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return `ASIA${Array.from({ length: 16 }, () => digits[randomInt(digits.length)]).join('')}`
}
