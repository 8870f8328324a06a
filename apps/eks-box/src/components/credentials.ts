import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { CACHE_HOST, DATABASE, DATABASE_HOST, PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'

/** How pods reach the service's database and cache; the names are the service's environment variables. */
export interface Connections {
  DATABASE_URL: string
  REDIS_URL: string
}

/** The password of the service's database user, as plain text. */
export function databasePasswordPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'database-password')
}

/** The password of the cache, as the line of its configuration that asks for it. */
export function cachePasswordPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'redis-password.conf')
}

/** The random number that the secrets of the emulated account are derived from. */
export function accountKeysPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'aws-account-keys')
}

function connectionsPath(config: BoxConfig): string {
  return join(boxPaths(config).credentials, 'connections.json')
}

/** Makes the passwords of the database and the cache, once for the life of a box. */
export async function ensureCredentials(config: BoxConfig): Promise<void> {
  // Written last: a run that was interrupted halfway starts over.
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

/** Reads what `ensureCredentials` made. */
export async function readConnections(config: BoxConfig): Promise<Connections> {
  return JSON.parse(await readFile(connectionsPath(config), 'utf8')) as Connections
}

/** 144 bits, of characters that a URL takes as they are. */
function generatePassword(): string {
  return randomBytes(18).toString('base64url')
}
