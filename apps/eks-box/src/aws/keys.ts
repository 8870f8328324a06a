import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** A session of temporary credentials, as its token says. */
export interface Session {
  accessKeyId: string
  /** Milliseconds since 1970. */
  expiresAt: number
  /** The access key of the user whose session it is; a role's session has none. */
  of?: string
}

/**
 * The secrets of an emulated account. The emulator draws its keys from numbers that are the same in every box,
 * so that identifiers are too; therefore its secrets are replaced by ones that are derived from each access key
 * id and a random number of the box. Nothing of them is stored: the same id always has the same secret, and a
 * session token carries its own end.
 */
export class AccountKeys {
  readonly #root: Buffer

  /** @param root the random number of the box, at least 32 bytes. */
  constructor(root: Buffer) {
    if (root.length < 32) throw new RangeError('the root of the account keys must have at least 32 bytes')
    this.#root = root
  }

  /** The secret access key of an access key id: 40 characters, as on AWS. */
  secretOf(accessKeyId: string): string {
    return this.#mac(`secret ${accessKeyId}`).toString('base64').slice(0, 40)
  }

  /** The session token of temporary credentials. */
  sessionToken(session: Session): string {
    const claim = Buffer.from(JSON.stringify(session)).toString('base64url')
    return `${claim}.${this.#mac(`session ${claim}`).toString('base64url')}`
  }

  /** What a session token says; undefined when it was not issued by this account. */
  session(token: string): Session | undefined {
    const [claim = '', mac = ''] = token.split('.')
    const expected = this.#mac(`session ${claim}`)
    const given = Buffer.from(mac, 'base64url')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined
    return JSON.parse(Buffer.from(claim, 'base64url').toString()) as Session
  }

  #mac(text: string): Buffer {
    return createHmac('sha256', this.#root).update(text).digest()
  }
}

/** Reads the account's keys from a file for root alone, or makes them when the box is new. */
export async function readAccountKeys(file: string): Promise<AccountKeys> {
  try {
    return new AccountKeys(await readFile(file))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const root = randomBytes(32)
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeFile(`${file}.new`, root, { mode: 0o600 })
  await rename(`${file}.new`, file)
  return new AccountKeys(root)
}
