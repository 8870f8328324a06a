import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** The content of a session token. */
export interface Session {
  accessKeyId: string
  /** Milliseconds since 1970. */
  expiresAt: number
  /** The access key of the session's user; a role's session has none. */
  of?: string
}

/**
 * The secrets of the emulated account. The emulator is seeded identically in every box to get the same identifiers, so
 * its secrets are predictable. They are replaced by secrets derived from the access key id and a random key of the box.
 * None of them is stored: an id always has the same secret, and a session token contains its own expiry.
 */
export class AccountKeys {
  readonly #root: Buffer

  /** @param root the random key of the box, at least 32 bytes. */
  constructor(root: Buffer) {
    if (root.length < 32) throw new RangeError('the root key of the account must have at least 32 bytes')
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

  /** Verifies and reads a session token; undefined when this account did not issue it. */
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

/** Reads the account's root key from its file, which only root can read, or creates it when the box is new. */
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
