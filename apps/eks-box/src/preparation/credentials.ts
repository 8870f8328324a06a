import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { CACHE_HOST, DATABASE, DATABASE_HOST, PORTS } from '../cluster.ts'
import { OWN_USER } from '../databases/cache-server.ts'
import { boxPaths } from '../state-directory.ts'

/** URLs of the service's database and cache, by the names of the service's environment variables. */
export interface Connections {
  DATABASE_URL: string
  REDIS_URL: string
}

/** File with the password of the service's database user, as plain text. */
export function databasePasswordPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'database-password')
}

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

function connectionsPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'connections.json')
}

/**
 * Generates the passwords of the database and the cache when the box is new.
 *
 * @throws ActionableError when an older checkout, with other files, created the box.
 */
export async function ensureCredentials(config: BoxConfig): Promise<void> {
  // This file is written last, so that an interrupted run starts over.
  if (existsSync(connectionsPath(config))) {
    if (existsSync(cachePasswordPath(config))) return
    throw new ActionableError(
      'the box was created by an older checkout, without the passwords that this one needs',
      'replace it with a new one: `make down`, then `make up`',
    )
  }
  await mkdir(boxPaths(config).credentials, { recursive: true, mode: 0o700 })
  const database = generatePassword()
  const cache = generatePassword()
  const connections: Connections = {
    DATABASE_URL: `postgres://${DATABASE}:${database}@${DATABASE_HOST}:${PORTS.postgres}/${DATABASE}`,
    REDIS_URL: `redis://${OWN_USER}:${cache}@${CACHE_HOST}:${PORTS.redisWithoutTls}`,
  }
  const secret = { mode: 0o600 }
  await writeFile(databasePasswordPath(config), database, secret)
  await writeFile(cachePasswordPath(config), cache, secret)
  await writeFile(connectionsPath(config), JSON.stringify(connections), secret)
}

/** Reads the URLs that `ensureCredentials` wrote. */
export async function readConnections(config: BoxConfig): Promise<Connections> {
  return JSON.parse(await readFile(connectionsPath(config), 'utf8')) as Connections
}

/** 144 random bits, in characters that need no escaping in a URL. */
function generatePassword(): string {
  return randomBytes(18).toString('base64url')
}
