import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { DatabaseAuthority } from '../databases/authority.ts'
import { noClients, usersConfiguration } from '../databases/cache-server.ts'
import { initialRules, RULES_FILE, writeServerCertificate } from '../databases/postgres-server.ts'
import { boxPaths } from '../state-directory.ts'
import { cachePasswordPath, cacheUsersPath } from './credentials.ts'
import { POSTGRES_DATA } from './postgres-data.ts'

/** Directory with the certificate of the cache. */
export function cacheCertificates(config: BoxConfig): string {
  return join(boxPaths(config).data, 'cache')
}

/**
 * Creates the files with which the database and the cache start, as long as the account has no instance and no
 * replication group: the authority, certificates, and the rules for clients. Later, the component `aws` changes them.
 */
export async function prepareDatabases(config: BoxConfig): Promise<void> {
  const authority = new DatabaseAuthority(config)
  await authority.ensure()
  // A certificate that exists is of an endpoint; `aws` renews it.
  if (!existsSync(join(POSTGRES_DATA, 'server.key'))) {
    const issued = await authority.renew('', ['localhost'])
    if (issued !== undefined) await writeServerCertificate(POSTGRES_DATA, issued)
  }
  if (!existsSync(join(POSTGRES_DATA, RULES_FILE))) {
    await writeFile(join(POSTGRES_DATA, RULES_FILE), initialRules)
  }
  const cache = cacheCertificates(config)
  if (!existsSync(join(cache, 'server.crt'))) {
    await mkdir(cache, { recursive: true, mode: 0o700 })
    const issued = await authority.renew('', ['localhost'])
    await writeFile(join(cache, 'server.key'), issued?.key ?? '', { mode: 0o600 })
    await writeFile(join(cache, 'server.crt'), issued?.certificate ?? '')
  }
  if (!existsSync(cacheUsersPath(config))) {
    const password = await readFile(cachePasswordPath(config), 'utf8')
    await writeFile(cacheUsersPath(config), usersConfiguration(password, noClients), { mode: 0o600 })
  }
}
