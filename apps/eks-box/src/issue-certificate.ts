import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

/** PEM files of a certificate authority. */
export interface AuthorityFiles {
  certificate: string
  key: string
}

/** A certificate and its key, in PEM. */
export interface IssuedCertificate {
  certificate: string
  key: string
}

/**
 * Issues a server certificate for a year.
 *
 * @param names DNS names of the server.
 */
export async function issueCertificate(
  authority: AuthorityFiles,
  names: readonly string[],
): Promise<IssuedCertificate> {
  const directory = await mkdtemp(join(tmpdir(), 'eks-box-certificate-'))
  try {
    const extensions = join(directory, 'extensions.cnf')
    await writeFile(
      extensions,
      `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n`,
    )
    const keyFile = join(directory, 'issued.key')
    const request = await execa('openssl', [
      ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-keyout', keyFile, '-subj', '/O=eks-box'],
    ])
    const { stdout: certificate } = await execa(
      'openssl',
      [
        ...['x509', '-req', '-sha256', '-days', '365', '-set_serial', `0x${randomBytes(15).toString('hex')}`],
        ...['-CA', authority.certificate, '-CAkey', authority.key, '-extfile', extensions],
      ],
      { input: request.stdout },
    )
    return { certificate, key: await readFile(keyFile, 'utf8') }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
