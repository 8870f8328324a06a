import { createHash } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { DatabaseAuthority } from './authority.ts'

/** A replication group of ElastiCache. */
export interface Cache {
  /** The names of its endpoints. */
  hosts: readonly string[]
  /** The SHA-256 of each token that it accepts, in hexadecimal. */
  tokens: readonly string[]
  /** Whether clients need a token. */
  tokenRequired: boolean
}

export interface CacheServerOptions {
  authority: DatabaseAuthority
  /** Directory of the certificate. */
  directory: string
  /** File of the server's configuration with its users. */
  users: string
  /** The address and port without TLS, and the file with the password of the box's own user. */
  own: { host: string; port: number; passwordFile: string }
}

/** Name of the user with which the box itself administers the server. */
export const OWN_USER = 'box'

/** What the users of ElastiCache may not do (its user guide, restricted commands). */
const permissions = '~* &* +@all -@admin'

/** The SHA-256 of a token or password, by which the server knows it. */
export const tokenHash = (token: string) => createHash('sha256').update(token).digest('hex')

/** The part of the server's configuration with its users. `rules` are those of the user that clients have by default. */
export function usersConfiguration(ownPassword: string, rules: readonly string[]): string {
  return `user ${OWN_USER} on #${tokenHash(ownPassword)} ~* &* +@all\nuser default ${rules.join(' ')}\n`
}

/** Nobody can sign in. */
export const noClients = ['off']

/** The box's Redis, as a replication group of ElastiCache. */
export class CacheServer {
  readonly #options: CacheServerOptions

  constructor(options: CacheServerOptions) {
    this.#options = options
  }

  /** Makes the server the replication group, or, without one, empties it and refuses all clients. */
  async apply(cache: Cache | undefined): Promise<void> {
    if (cache !== undefined) await this.#certify(cache.hosts)
    const rules = cache === undefined ? noClients : clientRules(cache)
    const { users, own } = this.#options
    const password = await readFile(own.passwordFile, 'utf8')
    // For the next start, and for the present.
    await writeFile(`${users}.new`, usersConfiguration(password, rules), { mode: 0o600 })
    await rename(`${users}.new`, users)
    await this.#command('ACL', 'SETUSER', 'default', 'reset', ...rules)
    if (cache !== undefined) return
    await this.#command('CLIENT', 'KILL', 'USER', 'default')
    await this.#command('FLUSHALL')
  }

  async #certify(hosts: readonly string[]): Promise<void> {
    const { authority, directory } = this.#options
    const file = join(directory, 'server.crt')
    const issued = await authority.renew(file, hosts)
    if (issued === undefined) return
    await writeFile(join(directory, 'server.key'), issued.key, { mode: 0o600 })
    await writeFile(file, issued.certificate)
    // Setting them again makes the server read the files.
    await this.#command('CONFIG', 'SET', 'tls-cert-file', file, 'tls-key-file', join(directory, 'server.key'))
  }

  async #command(...command: string[]): Promise<void> {
    const { host, port, passwordFile } = this.#options.own
    const { stdout } = await execa(
      'redis-cli',
      ['-h', host, '-p', String(port), '--user', OWN_USER, '--no-auth-warning', '-e', ...command],
      { env: { REDISCLI_AUTH: await readFile(passwordFile, 'utf8') } },
    )
    if (/^(ERR|NOAUTH|WRONGPASS|NOPERM)/.test(stdout))
      throw new Error(`Redis refused ${command[0]}: ${stdout}`)
  }
}

function clientRules({ tokens, tokenRequired }: Cache): string[] {
  const passwords = tokenRequired ? tokens.map((hash) => `#${hash}`) : ['nopass']
  return ['on', ...passwords, ...permissions.split(' ')]
}
