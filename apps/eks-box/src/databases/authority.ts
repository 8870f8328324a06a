import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type BoxConfig, databaseAuthorityPath } from 'shared/box'
import { type AuthorityFiles, type IssuedCertificate, issueCertificate } from '../issue-certificate.ts'
import { boxPaths } from '../state-directory.ts'

/** Remaining validity below which a certificate is renewed, in milliseconds: 30 days. */
const renewBefore = 30 * 24 * 3_600_000

/** The authority that signs the certificates of the database and the cache, in place of Amazon's. */
export class DatabaseAuthority {
  readonly #directory: string
  readonly #published: string

  constructor(config: BoxConfig) {
    this.#directory = join(boxPaths(config).data, 'database-authority')
    this.#published = databaseAuthorityPath(config)
  }

  get #files(): AuthorityFiles {
    return { certificate: join(this.#directory, 'ca.crt'), key: join(this.#directory, 'ca.key') }
  }

  /** Creates the authority when the box is new, and publishes its certificate. */
  async ensure(): Promise<void> {
    if (!existsSync(this.#directory)) {
      // Under a temporary name, so that an interrupted attempt leaves nothing behind.
      const attempt = `${this.#directory}.new`
      await rm(attempt, { recursive: true, force: true })
      await mkdir(attempt, { recursive: true, mode: 0o700 })
      await execa('openssl', [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
        ...['-sha256', '-days', '3650', '-subj', '/O=eks-box/CN=RDS of the box'],
        ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
        ...['-keyout', join(attempt, 'ca.key'), '-out', join(attempt, 'ca.crt')],
      ])
      await rename(attempt, this.#directory)
    }
    await copyFile(this.#files.certificate, this.#published)
  }

  /**
   * Issues a certificate for a server, unless it has a valid one.
   *
   * @param present path of the server's present certificate.
   * @param names DNS names that clients use.
   * @returns undefined if the present one is valid.
   */
  async renew(present: string, names: readonly string[]): Promise<IssuedCertificate | undefined> {
    if (existsSync(present)) {
      const certificate = new X509Certificate(await readFile(present))
      const isCurrent = Date.parse(certificate.validTo) - Date.now() > renewBefore
      const authority = new X509Certificate(await readFile(this.#files.certificate))
      if (
        isCurrent &&
        certificate.verify(authority.publicKey) &&
        names.every((name) => certificate.checkHost(name) !== undefined)
      ) {
        return undefined
      }
    }
    return issueCertificate(this.#files, names)
  }
}
