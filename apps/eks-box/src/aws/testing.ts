import { Sha256Node } from '@smithy/core/checksum'
import { SignatureV4 } from '@smithy/signature-v4'
import type { Reason } from './aws-error.ts'
import type { AwsRequest } from './request.ts'

/** Matches an `AwsError` with this reason. */
export const awsError = (reason: Reason) => ({ name: 'AwsError', reason })

/** The credentials with which a test signs a request. */
export interface Signer {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  service?: string
  signingDate?: Date
}

function signerOf({ service = 'sts', ...credentials }: Signer): SignatureV4 {
  return new SignatureV4({
    credentials,
    region: 'eu-central-1',
    service,
    sha256: Sha256Node,
    uriEscapePath: service !== 's3',
  })
}

function parse({ method, url, headers, body }: AwsRequest) {
  const { pathname, searchParams } = new URL(url, 'http://127.0.0.1')
  const query = Object.fromEntries([...searchParams.keys()].map((name) => [name, searchParams.getAll(name)]))
  const present = Object.entries(headers).filter(([, value]) => value !== undefined)
  return {
    method,
    protocol: 'http:',
    hostname: '127.0.0.1',
    path: pathname,
    query,
    headers: {
      host: '127.0.0.1',
      ...Object.fromEntries(present.map(([name, value]) => [name, String(value)])),
    },
    body,
  }
}

/** Signs a request as an AWS client does. */
export async function sign(request: AwsRequest, signer: Signer): Promise<AwsRequest> {
  const { signingDate = new Date(Date.now()) } = signer
  const { headers } = await signerOf(signer).sign(parse(request), { signingDate })
  return { ...request, headers }
}

/** A signed GetCallerIdentity. */
export function signedRequest(signer: Partial<Signer> = {}): Promise<AwsRequest> {
  return sign(
    {
      method: 'POST',
      url: '/',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: Buffer.from('Action=GetCallerIdentity&Version=2011-06-15'),
    },
    { accessKeyId: 'AKIAOPERATOR', secretAccessKey: 'secret', ...signer },
  )
}

/** A token like that of `aws eks get-token`. */
export async function presignedToken(
  signer: Signer,
  cluster: string,
  host = 'sts.eu-central-1.amazonaws.com',
): Promise<string> {
  const { signingDate = new Date(Date.now()) } = signer
  const { query = {} } = await signerOf(signer).presign(
    {
      method: 'GET',
      protocol: 'https:',
      hostname: host,
      path: '/',
      query: { Action: 'GetCallerIdentity', Version: '2011-06-15' },
      headers: { host, 'x-k8s-aws-id': cluster },
    },
    { expiresIn: 60, signingDate, unhoistableHeaders: new Set(['x-k8s-aws-id']) },
  )
  const text = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
  )
  return `k8s-aws-v1.${Buffer.from(`https://${host}/?${text}`).toString('base64url')}`
}
