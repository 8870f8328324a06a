import { AwsError } from './aws-error.ts'
import type { Caller } from './caller.ts'
import type { AccountKeys } from './keys.ts'
import type { AwsRequest } from './request.ts'
import { checkSignature, checkTime, readSignature, type Signature } from './signature.ts'

/** A verified request's signature and caller. */
export interface Authenticated {
  signature: Signature
  caller: Caller
  /** The access key by which the emulator knows the caller. For a session of a user, it is the user's own key. */
  accessKeyId: string
}

/** Finds the principal of an access key; undefined when the key is unknown or inactive. */
export type FindCaller = (accessKeyId: string) => Promise<Caller | undefined>

const invalidToken = 'The security token included in the request is invalid.'

/**
 * Verifies that a principal of the account signed the request, as AWS does.
 *
 * @param lifetime overrides the lifetime of a presigned URL, in milliseconds.
 * @throws AwsError when the request is unsigned or the signature is invalid.
 */
export async function authenticate(
  request: AwsRequest,
  keys: AccountKeys,
  findCaller: FindCaller,
  lifetime?: number,
): Promise<Authenticated> {
  const signature = readSignature(request)
  if (signature === undefined) throw new AwsError('unsigned', 'Missing Authentication Token')
  checkTime(signature, lifetime)
  const { accessKeyId, sessionToken } = signature
  const session = sessionToken === undefined ? undefined : keys.session(sessionToken)
  const isTemporary = accessKeyId.startsWith('ASIA')
  if (isTemporary !== (sessionToken !== undefined) || (isTemporary && session?.accessKeyId !== accessKeyId)) {
    throw new AwsError('unknown', invalidToken)
  }
  const principalKeyId = session?.of ?? accessKeyId
  const caller = await findCaller(principalKeyId)
  if (caller === undefined) throw new AwsError('unknown', invalidToken)
  await checkSignature(request, signature, keys.secretOf(accessKeyId))
  if (session !== undefined && session.expiresAt <= Date.now()) {
    throw new AwsError('expired', 'The security token included in the request is expired')
  }
  return { signature, caller, accessKeyId: principalKeyId }
}
