import { type AccessKey, REGION } from 'shared/box'
import { PORTS } from '../cluster.ts'
import type { AccountKeys } from './keys.ts'

/** The access key id of the box itself. It belongs to no user of the account. */
const id = 'box'

/** The options with which the box's own programs call the emulated AWS. */
export function ownClient(keys: AccountKeys): { endpoint: string; region: string; credentials: AccessKey } {
  return {
    endpoint: `http://127.0.0.1:${PORTS.aws}`,
    region: REGION,
    credentials: { accessKeyId: id, secretAccessKey: keys.secretOf(id) },
  }
}
