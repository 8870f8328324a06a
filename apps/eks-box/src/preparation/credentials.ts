import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { boxPaths } from '../state-directory.ts'

/** File with the password of the box's own user of the cache, as plain text. */
export function cachePasswordPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'cache-password')
}

/** Part of the cache's configuration, with its users. */
export function cacheUsersPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'cache-users.conf')
}

/** File with the random key from which the secrets of the emulated account are derived. */
export function accountKeysPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'aws-account-keys')
}

/**
 * Generates the password of the box's own user of the cache when the box is new.
 *
 * @throws ActionableError when an older checkout, with other files, created the box.
 */
export async function ensureCredentials(config: BoxConfig): Promise<void> {
  const { credentials } = boxPaths(config)
  // Its database and cache did not belong to the account.
  if (existsSync(join(credentials, 'connections.json'))) {
    throw new ActionableError(
      'the box was created by an older checkout, with another database and cache',
      'replace it with a new one: `make down`, then `make up`',
    )
  }
  if (existsSync(cachePasswordPath(config))) return
  await mkdir(credentials, { recursive: true, mode: 0o700 })
  await writeFile(cachePasswordPath(config), generatePassword(), { mode: 0o600 })
}

/** 144 random bits, in characters that need no escaping in a URL. */
function generatePassword(): string {
  return randomBytes(18).toString('base64url')
}
