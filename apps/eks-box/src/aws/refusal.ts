import { randomUUID } from 'node:crypto'
import { type AwsRequest, type AwsResponse, isForm, operation } from './request.ts'

/** Why AWS refuses a request before any operation is done. */
export type Reason =
  /** There is no signature. */
  | 'unsigned'
  /** The signature lacks a part. */
  | 'incomplete'
  /** It is of another version. */
  | 'unsupported'
  /** The access key is unknown or inactive, or the session token belongs to another one. */
  | 'unknown'
  /** The signature is another's, or the request was changed. */
  | 'mismatch'
  /** The body is not the one that was signed. */
  | 'payload'
  /** The session has ended. */
  | 'expired'
  /** The presigned URL has expired. */
  | 'outdated'
  /** The clocks differ. */
  | 'skewed'
  /** The caller may not do this. */
  | 'denied'
  /** The web identity token cannot be verified. */
  | 'identity'

/** A request that is refused, in the words of AWS. */
export class Refusal extends Error {
  readonly reason: Reason

  constructor(reason: Reason, message: string) {
    super(message)
    this.name = 'Refusal'
    this.reason = reason
  }
}

/** HTTP status and code of an error. */
type Answer = readonly [status: number, code: string]

/** The codes of the query protocol (IAM and STS API References, "Common Errors"). */
const query: Readonly<Record<Reason, Answer>> = {
  unsigned: [403, 'MissingAuthenticationToken'],
  incomplete: [400, 'IncompleteSignature'],
  unsupported: [400, 'IncompleteSignature'],
  unknown: [403, 'InvalidClientTokenId'],
  mismatch: [403, 'SignatureDoesNotMatch'],
  payload: [403, 'SignatureDoesNotMatch'],
  expired: [403, 'ExpiredToken'],
  outdated: [403, 'SignatureDoesNotMatch'],
  skewed: [403, 'SignatureDoesNotMatch'],
  denied: [403, 'AccessDenied'],
  identity: [400, 'InvalidIdentityToken'],
}

/** EC2's own (Amazon EC2 API Reference, "Error codes"). */
const ec2: Readonly<Record<Reason, Answer>> = {
  ...query,
  unknown: [401, 'AuthFailure'],
  mismatch: [401, 'AuthFailure'],
  payload: [401, 'AuthFailure'],
  expired: [400, 'RequestExpired'],
  outdated: [400, 'RequestExpired'],
  skewed: [400, 'RequestExpired'],
  denied: [403, 'UnauthorizedOperation'],
}

/** S3's own (Amazon S3 API Reference, "Error responses"). */
const s3: Readonly<Record<Reason, Answer>> = {
  ...query,
  unsigned: [403, 'AccessDenied'],
  incomplete: [400, 'AuthorizationHeaderMalformed'],
  unsupported: [400, 'InvalidRequest'],
  unknown: [403, 'InvalidAccessKeyId'],
  payload: [400, 'XAmzContentSHA256Mismatch'],
  expired: [400, 'ExpiredToken'],
  outdated: [403, 'AccessDenied'],
  skewed: [403, 'RequestTimeTooSkewed'],
}

/** Those of services that speak JSON; with operations named in a header the status is always 400. */
const json: Readonly<Record<Reason, Answer>> = {
  ...query,
  unsigned: [403, 'MissingAuthenticationTokenException'],
  incomplete: [403, 'IncompleteSignatureException'],
  unsupported: [403, 'IncompleteSignatureException'],
  unknown: [403, 'UnrecognizedClientException'],
  mismatch: [403, 'InvalidSignatureException'],
  payload: [403, 'InvalidSignatureException'],
  expired: [403, 'ExpiredTokenException'],
  outdated: [403, 'InvalidSignatureException'],
  skewed: [403, 'InvalidSignatureException'],
  denied: [403, 'AccessDeniedException'],
}

/**
 * A refusal in the wire format of the service that the request is for, so that clients raise the error they
 * raise on AWS.
 *
 * @param service the service in the signature's scope, if there is one.
 */
export function refuse(request: AwsRequest, service: string | undefined, refusal: Refusal): AwsResponse {
  const requestId = randomUUID()
  const { reason, message } = refusal
  const of = (answers: Readonly<Record<Reason, Answer>>) => answers[reason]
  if (request.headers['x-amz-target'] !== undefined) {
    const [, code] = of(json)
    return inJson(400, code, message, requestId)
  }
  if (isForm(request) || operation(request) !== undefined) {
    const [status, code] = of(service === 'ec2' ? ec2 : query)
    const error = `<Code>${code}</Code><Message>${escapeXml(message)}</Message>`
    return inXml(
      status,
      service === 'ec2'
        ? `<Response><Errors><Error>${error}</Error></Errors><RequestID>${requestId}</RequestID></Response>`
        : `<ErrorResponse><Error><Type>Sender</Type>${error}</Error><RequestId>${requestId}</RequestId></ErrorResponse>`,
      requestId,
    )
  }
  if ((service ?? (isEksPath(request.url) ? 'eks' : 's3')) === 's3') {
    const [status, code] = of(s3)
    const error = `<Code>${code}</Code><Message>${escapeXml(message)}</Message><RequestId>${requestId}</RequestId>`
    return inXml(status, `<Error>${error}</Error>`, requestId)
  }
  const [status, code] = of(json)
  return inJson(status, code, message, requestId)
}

/** Whether an unsigned request without an operation looks like one to EKS; S3 gets all others, as with moto. */
function isEksPath(url: string): boolean {
  return /^\/(clusters|addons|access-policies|cluster-versions|tags)(\/|\?|$)/.test(url)
}

function inJson(status: number, code: string, message: string, requestId: string): AwsResponse {
  return {
    status,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': code, 'x-amzn-requestid': requestId },
    body: Buffer.from(JSON.stringify({ __type: code, message })),
  }
}

function inXml(status: number, error: string, requestId: string): AwsResponse {
  return {
    status,
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': requestId },
    body: Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${error}`),
  }
}

function escapeXml(text: string): string {
  return text.replace(/[<>&]/g, (character) => `&#${character.charCodeAt(0)};`)
}
