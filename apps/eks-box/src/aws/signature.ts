import { createHash, timingSafeEqual } from 'node:crypto'
import { Sha256Node } from '@smithy/core/checksum'
import { SignatureV4 } from '@smithy/signature-v4'
import { AwsError } from './aws-error.ts'
import type { AwsRequest } from './request.ts'

/** A request's signature (AWS Signature Version 4), from its headers or its query. */
export interface Signature {
  accessKeyId: string
  region: string
  service: string
  /** Lower case. */
  signedHeaders: readonly string[]
  value: string
  /** Milliseconds since 1970. */
  signedAt: number
  /** How long a presigned URL is valid, in milliseconds. */
  lifetime?: number
  sessionToken?: string
}

const algorithm = 'AWS4-HMAC-SHA256'
const minute = 60_000

/** Allowed clock difference between client and service, in milliseconds (AWS General Reference; S3 API Reference). */
const clockSkew = (service: string) => (service === 's3' ? 15 : 5) * minute

/**
 * Reads the signature of a request.
 *
 * @returns undefined when the request is unsigned.
 * @throws AwsError when the signature is incomplete or has another version.
 */
export function readSignature({ url, headers }: AwsRequest): Signature | undefined {
  const { authorization } = headers
  const query = new URLSearchParams(url.split('?')[1])
  if (authorization !== undefined) {
    if (!authorization.startsWith(`${algorithm} `)) {
      throw new AwsError('unsupported', `Authorization must be of the form ${algorithm}`)
    }
    const parts = authorization
      .slice(algorithm.length)
      .split(',')
      .map((part) => part.trim())
    const part = (name: string) => parts.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1)
    return compose({
      credential: part('Credential'),
      signedHeaders: part('SignedHeaders'),
      value: part('Signature'),
      date: single(headers['x-amz-date']),
      sessionToken: single(headers['x-amz-security-token']),
    })
  }
  if (query.get('X-Amz-Algorithm') === null) return undefined
  if (query.get('X-Amz-Algorithm') !== algorithm) {
    throw new AwsError('unsupported', `X-Amz-Algorithm must be ${algorithm}`)
  }
  const seconds = query.get('X-Amz-Expires') ?? ''
  if (!/^\d{1,6}$/.test(seconds))
    throw new AwsError('incomplete', 'X-Amz-Expires must be a number of seconds')
  return compose({
    credential: query.get('X-Amz-Credential'),
    signedHeaders: query.get('X-Amz-SignedHeaders'),
    value: query.get('X-Amz-Signature'),
    date: query.get('X-Amz-Date'),
    sessionToken: query.get('X-Amz-Security-Token'),
    lifetime: Number(seconds) * 1000,
  })
}

function compose(parts: {
  credential: string | null | undefined
  signedHeaders: string | null | undefined
  value: string | null | undefined
  date: string | null | undefined
  sessionToken: string | null | undefined
  lifetime?: number
}): Signature {
  const [, accessKeyId = '', day = '', region = '', service = ''] =
    /^(\w+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request$/.exec(parts.credential ?? '') ?? []
  if (accessKeyId === '') {
    throw new AwsError(
      'incomplete',
      'Credential must have the form <access key id>/<date>/<region>/<service>/aws4_request',
    )
  }
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(parts.date ?? '')
  if (date === null || !parts.date?.startsWith(day)) {
    throw new AwsError('incomplete', `X-Amz-Date must be on the date in Credential, ${day}`)
  }
  const signedHeaders = (parts.signedHeaders ?? '').toLowerCase().split(';')
  if (!signedHeaders.includes('host')) {
    throw new AwsError('mismatch', "'Host' must be a 'SignedHeader' in the AWS Authorization.")
  }
  const value = parts.value ?? ''
  if (!/^[0-9a-f]{64}$/.test(value))
    throw new AwsError('incomplete', 'Signature must be 64 hexadecimal digits')
  const [, year = 0, month = 0, dayOfMonth, hour, minutes, seconds] = date.map(Number)
  return {
    accessKeyId,
    region,
    service,
    signedHeaders,
    value,
    signedAt: Date.UTC(year, month - 1, dayOfMonth, hour, minutes, seconds),
    ...(parts.sessionToken ? { sessionToken: parts.sessionToken } : {}),
    ...(parts.lifetime === undefined ? {} : { lifetime: parts.lifetime }),
  }
}

/**
 * Checks that a signature is valid at this time.
 *
 * @param lifetime overrides the lifetime of a presigned URL, in milliseconds.
 * @throws AwsError when the signature has expired or its date is in the future.
 */
export function checkTime(signature: Signature, lifetime = signature.lifetime, now = Date.now()): void {
  const skew = clockSkew(signature.service)
  const [at, present] = [time(signature.signedAt), time(now)]
  if (signature.signedAt > now + skew) {
    throw new AwsError(
      'skewed',
      `Signature not yet current: ${at} is still later than ${time(now + skew)} (${present} + ${skew / minute} min.)`,
    )
  }
  if (lifetime !== undefined && signature.signedAt + lifetime < now) {
    throw new AwsError(
      'outdated',
      `Signature expired: ${time(signature.signedAt + lifetime)} is before ${present}`,
    )
  }
  if (lifetime === undefined && signature.signedAt < now - skew) {
    throw new AwsError(
      'skewed',
      `Signature expired: ${at} is now earlier than ${time(now - skew)} (${present} - ${skew / minute} min.)`,
    )
  }
}

/**
 * Checks that the request was signed with `secretAccessKey`, by signing it again and comparing.
 *
 * This includes the body, unless the client declared it unsigned, which S3 allows. For a streamed body, only the seed
 * signature is checked, not the signatures of the chunks.
 *
 * @throws AwsError when the signature was made with another key, or the request was changed.
 */
export async function checkSignature(
  request: AwsRequest,
  signature: Signature,
  secretAccessKey: string,
): Promise<void> {
  const [path = '/', query] = request.url.split(/\?(.*)/s)
  const signed = new Set(signature.signedHeaders)
  const headers: Record<string, string> = { 'x-amz-content-sha256': payloadHash(request, signature) }
  for (const name of signed) {
    const value = request.headers[name]
    if (value === undefined) throw new AwsError('mismatch', `the signed header ${name} is missing`)
    headers[name] = Array.isArray(value) ? value.join(',') : value
  }
  const signer = new SignatureV4({
    credentials: { accessKeyId: signature.accessKeyId, secretAccessKey },
    region: signature.region,
    service: signature.service,
    sha256: Sha256Node,
    // Only S3 signs the path without escaping it twice (AWS IAM User Guide, "Create a signed AWS API request").
    uriEscapePath: signature.service !== 's3',
    applyChecksum: false,
  })
  const expectedRequest = await signer.sign(
    {
      method: request.method,
      protocol: 'http:',
      hostname: '',
      path,
      query: readQuery(query),
      headers,
    },
    {
      signingDate: new Date(signature.signedAt),
      signableHeaders: signed,
      unsignableHeaders: new Set(['x-amz-date', 'x-amz-content-sha256'].filter((name) => !signed.has(name))),
    },
  )
  const expected = expectedRequest.headers['authorization']?.split('Signature=')[1] ?? ''
  if (expected.length === signature.value.length) {
    if (timingSafeEqual(Buffer.from(expected), Buffer.from(signature.value))) return
  }
  throw new AwsError(
    'mismatch',
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
  )
}

/** The payload hash that the signature covers; AWS defines a fixed text for a body that is not signed. */
function payloadHash(request: AwsRequest, { service, signedHeaders, lifetime }: Signature): string {
  const declared = request.headers['x-amz-content-sha256']
  // Presigned URLs of S3 do not sign the body.
  if (service === 's3' && lifetime !== undefined) return single(declared) ?? 'UNSIGNED-PAYLOAD'
  const actual = createHash('sha256').update(request.body).digest('hex')
  if (typeof declared !== 'string' || !signedHeaders.includes('x-amz-content-sha256')) return actual
  const isUnsigned = service === 's3' && /^(UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+)$/.test(declared)
  if (!isUnsigned && declared !== actual) {
    throw new AwsError(
      'payload',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
  }
  return declared
}

/** Parses a query into all values of each name. */
function readQuery(text: string | undefined): Record<string, string[]> {
  const query: Record<string, string[]> = {}
  for (const [name, value] of new URLSearchParams(text)) {
    const values = Object.hasOwn(query, name) ? query[name] : undefined
    if (values === undefined) {
      Object.defineProperty(query, name, { value: [value], enumerable: true })
    } else values.push(value)
  }
  return query
}

const single = (value: string | string[] | undefined) => (Array.isArray(value) ? value.join(',') : value)

/** The time format of AWS's error messages: 20260131T120000Z. */
const time = (milliseconds: number) => new Date(milliseconds).toISOString().replace(/[-:]|\.\d+/g, '')
