import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { CACHE_HOST, DATABASE, DATABASE_HOST, PORTS } from '../cluster.ts'
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

/** File with the password of the cache, as a line of Redis's configuration. */
export function cachePasswordPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'redis-password.conf')
}

/** File with the random key from which the secrets of the emulated account are derived. */
export function accountKeysPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'aws-account-keys')
}

function connectionsPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'connections.json')
}

/** Generates the passwords of the database and the cache when the box is new. */
export async function ensureCredentials(config: BoxConfig): Promise<void> {
  // This file is written last, so that an interrupted run starts over.
  if (existsSync(connectionsPath(config))) return
  await mkdir(boxPaths(config).credentials, { recursive: true, mode: 0o700 })
  const database = generatePassword()
  const cache = generatePassword()
  const connections: Connections = {
    DATABASE_URL: `postgres://${DATABASE}:${database}@${DATABASE_HOST}:${PORTS.postgres}/${DATABASE}`,
    REDIS_URL: `redis://default:${cache}@${CACHE_HOST}:${PORTS.redis}`,
  }
  const secret = { mode: 0o600 }
  await writeFile(databasePasswordPath(config), database, secret)
  await writeFile(cachePasswordPath(config), `requirepass ${cache}\n`, secret)
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
