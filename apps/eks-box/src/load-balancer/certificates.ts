import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ACMClient, DescribeCertificateCommand, GetCertificateCommand } from '@aws-sdk/client-acm'
import { issueCertificate } from '../issue-certificate.ts'

export interface CertificateOptions {
  acm: ACMClient
  /** Where the PEM files with certificates and keys are written. */
  directory: string
  /** Directory with the box's certificate authority, `ca.crt` and `ca.key`. */
  pki: string
  /** Journal of the emulated AWS. It contains the keys of imported certificates, which ACM never returns. */
  journal: string
}

/**
 * The certificates of HTTPS listeners, as files for HAProxy. An imported certificate is used as it is. For a requested
 * one, the box's certificate authority issues a certificate with the same names.
 */
export class Certificates {
  readonly #options: CertificateOptions
  /** Paths of issued certificates, by their ARN. */
  readonly #issued = new Map<string, string>()

  constructor(options: CertificateOptions) {
    this.#options = options
  }

  /**
   * The path of a PEM file with the certificate, its chain and its key. The path changes with the content.
   *
   * @throws Error when ACM has no such certificate.
   */
  async file(arn: string): Promise<string> {
    const known = this.#issued.get(arn)
    if (known !== undefined) return known
    const { acm, directory } = this.#options
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const { Certificate } = await acm.send(new DescribeCertificateCommand({ CertificateArn: arn }))
    if (Certificate?.Type === 'IMPORTED') return this.#write(await this.#imported(arn))
    const names = [Certificate?.DomainName ?? '', ...(Certificate?.SubjectAlternativeNames ?? [])]
    const path = await this.#write(await this.#issue([...new Set(names)].filter(Boolean)))
    this.#issued.set(arn, path)
    return path
  }

  async #write(pem: string): Promise<string> {
    const name = createHash('sha256').update(pem).digest('hex').slice(0, 16)
    const path = join(this.#options.directory, `${name}.pem`)
    await writeFile(path, pem, { mode: 0o600 })
    return path
  }

  async #imported(arn: string): Promise<string> {
    const { acm, journal } = this.#options
    const { Certificate = '' } = await acm.send(new GetCertificateCommand({ CertificateArn: arn }))
    const { chain, key } = importedKey(await readFile(journal, 'utf8'), Certificate)
    return [Certificate, chain, key].map((part) => `${part.trim()}\n`).join('')
  }

  async #issue(names: readonly string[]): Promise<string> {
    const authority = join(this.#options.pki, 'ca')
    const { certificate, key } = await issueCertificate(
      { certificate: `${authority}.crt`, key: `${authority}.key` },
      names,
    )
    const issuer = await readFile(`${authority}.crt`, 'utf8')
    return [certificate, issuer, key].map((part) => `${part.trim()}\n`).join('')
  }
}

interface ImportRequest {
  Certificate?: string
  CertificateChain?: string
  PrivateKey?: string
}

/**
 * Finds the key and chain with which a certificate was imported.
 *
 * @param journal the journal of the emulated AWS, one request per line.
 * @param certificate PEM.
 */
export function importedKey(journal: string, certificate: string): { chain: string; key: string } {
  const decode = (base64 = '') => Buffer.from(base64, 'base64').toString()
  for (const line of journal.split('\n').toReversed()) {
    if (!line.includes('CertificateManager.ImportCertificate')) continue
    const { body } = JSON.parse(line) as { body: string }
    const request = JSON.parse(decode(body)) as ImportRequest
    if (decode(request.Certificate).trim() !== certificate.trim()) continue
    return { chain: decode(request.CertificateChain), key: decode(request.PrivateKey) }
  }
  throw new Error('the journal has no import of this certificate')
}
