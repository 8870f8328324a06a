import { randomInt } from 'node:crypto'
import type { Authenticated } from './authentication.ts'
import { isChange } from './emulator.ts'
import type { AccountKeys } from './keys.ts'
import { type Backend, field, type Principals } from './principals.ts'
import { Refusal } from './refusal.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from './request.ts'
import type { Signature } from './signature.ts'

/** How long a session of a user lasts, in seconds, unless it asks for another time (AWS STS API Reference). */
const sessionDuration = 12 * 3600

/**
 * The operations that hand out credentials. The emulator keeps the users, roles and access keys; the secrets and
 * session tokens are the box's own.
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
   * Sends a verified request to the emulator; what credentials its answer holds are this box's.
   *
   * @throws Refusal for a session that AWS would not begin, or that the box cannot.
   */
  async forward(request: AwsRequest, by: Authenticated): Promise<AwsResponse> {
    try {
      return await this.#answer(request, by)
    } finally {
      if (isChange(request)) this.#principals.forget()
    }
  }

  async #answer(
    request: AwsRequest,
    { caller, accessKeyId, signature }: Authenticated,
  ): Promise<AwsResponse> {
    const known = withAccessKey(request, signature, accessKeyId)
    if (signature.service === 'iam' && operation(request) === 'CreateAccessKey') return this.#issue(known)
    if (signature.service !== 'sts') return this.#emulator.forward(known)
    switch (operation(request)) {
      case 'AssumeRole': {
        const role = parameter(request, 'RoleArn') ?? ''
        if (!(await this.#principals.exists(role))) {
          throw new Refusal(
            'denied',
            `User: ${caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${role}`,
          )
        }
        return this.#issue(known)
      }
      case 'GetSessionToken':
        if (caller.arn !== caller.principalArn) {
          throw new Refusal('denied', 'Cannot call GetSessionToken with session credentials')
        }
        return this.#beginSession(known, accessKeyId)
      case 'GetFederationToken':
        throw new Refusal('denied', 'The box has no federated users: use AssumeRole')
      default:
        return this.#emulator.forward(known)
    }
  }

  /** Puts this box's secret, and for a session its token, into what the emulator made. */
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

  /** Begins a session of a user, for whom the emulator has one and the same answer always. */
  async #beginSession(request: AwsRequest, of: string): Promise<AwsResponse> {
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
 * The request as the emulator takes it. It knows the caller by the access key id and the service by the scope, in
 * the header alone; only for S3 does it read presigned URLs.
 */
function withAccessKey(request: AwsRequest, signature: Signature, accessKeyId: string): AwsRequest {
  const { region, service } = signature
  const isHeader = request.headers.authorization !== undefined
  if (isHeader ? signature.accessKeyId === accessKeyId : service === 's3') return request
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/${region}/${service}/aws4_request`
  return { ...request, headers: { ...request.headers, authorization } }
}

/** An id as AWS gives to temporary access keys. */
function temporaryKeyId(): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return `ASIA${Array.from({ length: 16 }, () => digits[randomInt(digits.length)]).join('')}`
}
