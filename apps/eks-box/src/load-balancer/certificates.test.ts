import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ACMClient } from '@aws-sdk/client-acm'
import { execa } from 'execa'
import t from 'tap'
import { Certificates, importedKey } from './certificates.ts'

/** An ACM client that gets these responses, by operation, and no others. */
function fakeAcm(responses: Readonly<Record<string, object>>): ACMClient {
  const client = new ACMClient({
    region: 'eu-central-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  })
  client.middlewareStack.add(
    (_next, { commandName = '' }) =>
      async () => {
        const output = responses[commandName]
        if (output === undefined) throw new Error(`unexpected ${commandName}`)
        return { output: { $metadata: {}, ...output }, response: {} }
      },
    { step: 'initialize' },
  )
  return client
}

async function selfSigned(directory: string, name: string): Promise<{ certificate: string; key: string }> {
  const path = (extension: string) => join(directory, `${name}.${extension}`)
  await execa('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-subj', `/CN=${name}`, '-keyout', path('key'), '-out', path('crt')],
  ])
  return { certificate: readFileSync(path('crt'), 'utf8'), key: readFileSync(path('key'), 'utf8') }
}

t.test("a requested certificate is issued by the box's authority for the same names", async (t) => {
  const directory = t.testdir()
  const authority = await selfSigned(directory, 'ca')
  const certificates = new Certificates({
    acm: fakeAcm({
      DescribeCertificateCommand: {
        Certificate: {
          Type: 'AMAZON_ISSUED',
          DomainName: 'shop.example',
          SubjectAlternativeNames: ['shop.example', '*.shop.example'],
        },
      },
    }),
    directory: join(directory, 'files'),
    pki: directory,
    journal: join(directory, 'journal.jsonl'),
  })
  const path = await certificates.file('arn')
  const pem = readFileSync(path, 'utf8')
  const issued = new X509Certificate(pem)
  t.ok(issued.verify(new X509Certificate(authority.certificate).publicKey))
  t.equal(issued.subjectAltName, 'DNS:shop.example, DNS:*.shop.example')
  t.match(pem, '-----BEGIN PRIVATE KEY-----')
  t.equal(await certificates.file('arn'), path, 'it is issued once')
})

t.test('an imported certificate is used with the key that it was imported with', async (t) => {
  const directory = t.testdir()
  const { certificate, key } = await selfSigned(directory, 'own')
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const body = JSON.stringify({ Certificate: base64(certificate), PrivateKey: base64(key) })
  const journal = join(directory, 'journal.jsonl')
  writeFileSync(
    journal,
    [
      JSON.stringify({
        headers: { 'x-amz-target': 'CertificateManager.ImportCertificate' },
        body: base64(body),
      }),
      JSON.stringify({
        headers: { 'x-amz-target': 'CertificateManager.AddTagsToCertificate' },
        body: 'e30=',
      }),
      '',
    ].join('\n'),
  )
  const certificates = new Certificates({
    acm: fakeAcm({
      DescribeCertificateCommand: { Certificate: { Type: 'IMPORTED' } },
      GetCertificateCommand: { Certificate: certificate },
    }),
    directory: join(directory, 'files'),
    pki: directory,
    journal,
  })
  const pem = readFileSync(await certificates.file('arn'), 'utf8')
  t.match(pem, certificate.trim())
  t.match(pem, key.trim())
  t.throws(() => importedKey('', certificate), { message: /no import/ })
})
