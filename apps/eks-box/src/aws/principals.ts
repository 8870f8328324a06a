import { REGION } from 'shared/box'
import type { Caller } from './caller.ts'
import type { AwsRequest, AwsResponse } from './request.ts'

/** The interface of the emulator that principals and credentials need. */
export interface Backend {
  forward: (request: AwsRequest) => Promise<AwsResponse>
}

/** The users, roles and identity providers of the emulated account. */
export class Principals {
  readonly #emulator: Backend
  readonly #callers = new Map<string, Caller | undefined>()
  #changes = 0

  constructor(emulator: Backend) {
    this.#emulator = emulator
  }

  /** Clears the cache, because the account may have changed. */
  forget(): void {
    this.#changes++
    this.#callers.clear()
  }

  /** The principal of an access key; undefined when the key is unknown or inactive, or its role no longer exists. */
  async callerOf(accessKeyId: string): Promise<Caller | undefined> {
    if (this.#callers.has(accessKeyId)) return this.#callers.get(accessKeyId)
    const changes = this.#changes
    const caller = await this.#find(accessKeyId)
    // Do not cache a result that a change during the lookup may have invalidated.
    if (changes === this.#changes) this.#callers.set(accessKeyId, caller)
    return caller
  }

  async #find(accessKeyId: string): Promise<Caller | undefined> {
    const identity = await this.#query('sts', { Action: 'GetCallerIdentity' }, accessKeyId)
    if (identity === undefined) return undefined
    const arn = field(identity, 'Arn')
    // The emulator reports this user for every unknown access key.
    if (/:sts::\d+:user\/moto$/.test(arn)) return undefined
    const [, account, role] = /^arn:aws:sts::(\d+):assumed-role\/([^/]+)\//.exec(arn) ?? []
    const principalArn = role === undefined ? arn : `arn:aws:iam::${account}:role/${role}`
    const isValid =
      role === undefined
        ? await this.#isActive(accessKeyId, arn)
        : (await this.#query('iam', { Action: 'GetRole', RoleName: role })) !== undefined
    if (!isValid) return undefined
    return { account: field(identity, 'Account'), userId: field(identity, 'UserId'), arn, principalArn }
  }

  /** Whether the account has a user or role with exactly this ARN. */
  async exists(arn: string): Promise<boolean> {
    const [, kind, name = ''] = /^arn:aws:iam::\d{12}:(role|user)\/(?:.*\/)?([^/]+)$/.exec(arn) ?? []
    if (kind === undefined) return false
    const found =
      kind === 'role'
        ? await this.#query('iam', { Action: 'GetRole', RoleName: name })
        : await this.#query('iam', { Action: 'GetUser', UserName: name })
    return found !== undefined && field(found, 'Arn') === arn
  }

  /** A role's trust policy, as JSON; undefined when the account has no role with this ARN. */
  async trustPolicy(roleArn: string): Promise<string | undefined> {
    const RoleName = /^arn:aws:iam::\d{12}:role\/(?:.*\/)?([^/]+)$/.exec(roleArn)?.[1]
    if (RoleName === undefined) return undefined
    const role = await this.#query('iam', { Action: 'GetRole', RoleName })
    if (role === undefined || field(role, 'Arn') !== roleArn) return undefined
    return decodeURIComponent(field(role, 'AssumeRolePolicyDocument'))
  }

  /** The audiences (client ids) of an OpenID Connect provider; undefined when the account does not have it. */
  async audiencesOf(providerArn: string): Promise<string[] | undefined> {
    const provider = await this.#query('iam', {
      Action: 'GetOpenIDConnectProvider',
      OpenIDConnectProviderArn: providerArn,
    })
    const list = /<ClientIDList>(.*?)<\/ClientIDList>/s.exec(provider ?? '')?.[1] ?? ''
    return provider === undefined
      ? undefined
      : [...list.matchAll(/<member>([^<]*)<\/member>/g)].map(([, audience = '']) => audience)
  }

  async #isActive(accessKeyId: string, userArn: string): Promise<boolean> {
    const UserName = userArn.split('/').at(-1) ?? ''
    const keys = await this.#query('iam', { Action: 'ListAccessKeys', UserName })
    const members = keys?.match(/<member>.*?<\/member>/gs) ?? []
    return members.some(
      (member) => field(member, 'AccessKeyId') === accessKeyId && field(member, 'Status') === 'Active',
    )
  }

  /** The response of IAM or STS; undefined when the resource does not exist. */
  async #query(
    service: 'iam' | 'sts',
    parameters: Record<string, string>,
    accessKeyId?: string,
  ): Promise<string | undefined> {
    const { status, body } = await this.#emulator.forward(queryRequest(service, parameters, accessKeyId))
    if (status === 404) return undefined
    if (status !== 200) throw new Error(`the emulator responded with ${status} to ${parameters['Action']}`)
    return body.toString()
  }
}

/** A request of the box itself to IAM or STS, in the form that the emulator understands. */
export function queryRequest(
  service: 'iam' | 'sts',
  parameters: Readonly<Record<string, string>>,
  accessKeyId = 'box',
): AwsRequest {
  const Version = service === 'iam' ? '2010-05-08' : '2011-06-15'
  return {
    method: 'POST',
    url: '/',
    headers: {
      host: `${service}.${REGION}.amazonaws.com`,
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/${REGION}/${service}/aws4_request`,
    },
    body: Buffer.from(new URLSearchParams({ ...parameters, Version }).toString()),
  }
}

/** The text of an XML element in a response of the query protocol; empty if the element is missing. */
export function field(xml: string, name: string): string {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? ''
}
