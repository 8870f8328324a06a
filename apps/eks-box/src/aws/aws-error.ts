import { randomUUID } from 'node:crypto'
import { type AwsRequest, type AwsResponse, isForm, operation } from './request.ts'

/** Why a request is rejected before its operation runs. */
export type Reason =
  /** The request has no signature. */
  | 'unsigned'
  /** A part of the signature is missing or malformed. */
  | 'incomplete'
  /** The signature has another version. */
  | 'unsupported'
  /** The access key is unknown or inactive, or the session token belongs to another access key. */
  | 'unknown'
  /** The signature was made with another key, or the request was changed. */
  | 'mismatch'
  /** The body was changed. */
  | 'payload'
  /** The session has expired. */
  | 'expired'
  /** The presigned URL has expired. */
  | 'outdated'
  /** The clocks of client and server differ too much. */
  | 'skewed'
  /** The caller is not allowed to perform the operation. */
  | 'denied'
  /** The web identity token cannot be verified. */
  | 'identity'
  /** The web identity token has expired. */
  | 'identityExpired'
  /** A parameter is missing or malformed. */
  | 'invalid'
  /** There is no room for the instance. */
  | 'capacity'
  /** The caller is allowed to perform the operation, which it only wanted to know. */
  | 'dryRun'
  /** The launch template does not exist. */
  | 'noLaunchTemplate'
  /** The box has a single database server, which serves another instance. */
  | 'databaseQuota'
  /** The snapshot does not exist. */
  | 'noDatabaseSnapshot'
  | 'noAutomatedBackup'
  /** The box has a single cache server, which serves another replication group. */
  | 'cacheQuota'
  | 'noCacheSubnetGroup'
  | 'cacheSubnetGroupExists'
  | 'cacheSubnetGroupInUse'
  | 'noReplicationGroup'
  | 'replicationGroupExists'
  | 'noCacheCluster'

/** An error with which AWS rejects a request. */
export class AwsError extends Error {
  readonly reason: Reason

  constructor(reason: Reason, message: string) {
    super(message)
    this.name = 'AwsError'
    this.reason = reason
  }
}

/** HTTP status and error code. */
type StatusAndCode = readonly [status: number, code: string]

/** The codes of the query protocol (IAM and STS API References, "Common Errors"). */
const query: Readonly<Record<Reason, StatusAndCode>> = {
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
  identityExpired: [400, 'ExpiredTokenException'],
  invalid: [400, 'ValidationError'],
  capacity: [500, 'InsufficientInstanceCapacity'],
  dryRun: [412, 'DryRunOperation'],
  noLaunchTemplate: [400, 'InvalidLaunchTemplateName.NotFoundException'],
  databaseQuota: [400, 'InstanceQuotaExceeded'],
  noDatabaseSnapshot: [404, 'DBSnapshotNotFound'],
  noAutomatedBackup: [404, 'DBInstanceAutomatedBackupNotFound'],
  cacheQuota: [400, 'ClusterQuotaForCustomerExceeded'],
  noCacheSubnetGroup: [400, 'CacheSubnetGroupNotFoundFault'],
  cacheSubnetGroupExists: [400, 'CacheSubnetGroupAlreadyExists'],
  cacheSubnetGroupInUse: [400, 'CacheSubnetGroupInUse'],
  noReplicationGroup: [404, 'ReplicationGroupNotFoundFault'],
  replicationGroupExists: [400, 'ReplicationGroupAlreadyExists'],
  noCacheCluster: [404, 'CacheClusterNotFound'],
}

/** The codes of EC2 (Amazon EC2 API Reference, "Error codes"). */
const ec2: Readonly<Record<Reason, StatusAndCode>> = {
  ...query,
  unknown: [401, 'AuthFailure'],
  mismatch: [401, 'AuthFailure'],
  payload: [401, 'AuthFailure'],
  expired: [400, 'RequestExpired'],
  outdated: [400, 'RequestExpired'],
  skewed: [400, 'RequestExpired'],
  denied: [403, 'UnauthorizedOperation'],
}

/** The codes of S3 (Amazon S3 API Reference, "Error responses"). */
const s3: Readonly<Record<Reason, StatusAndCode>> = {
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

/** The codes of JSON services. Those that name the operation in a header always respond with status 400. */
const json: Readonly<Record<Reason, StatusAndCode>> = {
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
 * The error in the wire format of the requested service, so that clients raise the same exception as on AWS.
 *
 * @param service the service in the signature's credential scope, if known.
 */
export function errorResponse(
  request: AwsRequest,
  service: string | undefined,
  { reason, message }: AwsError,
): AwsResponse {
  const requestId = randomUUID()
  if (request.headers['x-amz-target'] !== undefined) {
    const [, code] = json[reason]
    return inJson(400, code, message, requestId)
  }
  if (isForm(request) || operation(request) !== undefined) {
    const [status, code] = (service === 'ec2' ? ec2 : query)[reason]
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
    const [status, code] = s3[reason]
    const error = `<Code>${code}</Code><Message>${escapeXml(message)}</Message><RequestId>${requestId}</RequestId>`
    return inXml(status, `<Error>${error}</Error>`, requestId)
  }
  const [status, code] = json[reason]
  return inJson(status, code, message, requestId)
}

/** Whether an unsigned request without an operation has a path of EKS. As in moto, all others belong to S3. */
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

/** Escapes text for the content of an XML element. */
export function escapeXml(text: string): string {
  return text.replace(/[<>&]/g, (character) => `&#${character.charCodeAt(0)};`)
}
