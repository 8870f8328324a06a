import type { Caller } from '../eks-api/api.ts'
import type { AccountKeys } from './keys.ts'
import { Refusal } from './refusal.ts'
import type { AwsRequest } from './request.ts'
import { checkSignature, checkTime, readSignature, type Signature } from './signature.ts'

/** Who signed a request. */
export interface Authenticated {
  signature: Signature
  caller: Caller
  /** The access key that the emulator knows the caller by: the user's own when a session of the user signed. */
  accessKeyId: string
}

/** Finds the principal that an access key belongs to; undefined when the key is unknown or inactive. */
export type FindCaller = (accessKeyId: string) => Promise<Caller | undefined>

const invalidToken = 'The security token included in the request is invalid.'

/**
 * Verifies that a request was signed by a principal of the account, as AWS does.
 *
 * @param lifetime how long a presigned URL holds in place of what it says, in milliseconds.
 * @throws Refusal when it was not.
 */
export async function authenticate(
  request: AwsRequest,
  keys: AccountKeys,
  findCaller: FindCaller,
  lifetime?: number,
): Promise<Authenticated> {
  const signature = readSignature(request)
  if (signature === undefined) throw new Refusal('unsigned', 'Missing Authentication Token')
  checkTime(signature, lifetime)
  const { accessKeyId, sessionToken } = signature
  const session = sessionToken === undefined ? undefined : keys.session(sessionToken)
  const isTemporary = accessKeyId.startsWith('ASIA')
  if (isTemporary !== (sessionToken !== undefined) || (isTemporary && session?.accessKeyId !== accessKeyId)) {
    throw new Refusal('unknown', invalidToken)
  }
  const known = session?.of ?? accessKeyId
  const caller = await findCaller(known)
  if (caller === undefined) throw new Refusal('unknown', invalidToken)
  await checkSignature(request, signature, keys.secretOf(accessKeyId))
  if (session !== undefined && session.expiresAt <= Date.now()) {
    throw new Refusal('expired', 'The security token included in the request is expired')
  }
  return { signature, caller, accessKeyId: known }
}
