import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { type Client, escapeIdentifier, escapeLiteral } from 'pg'

/** The role without login that owns the service's rights. Its members are the users that passwords alternate between. */
export const SERVICE_ROLE = 'fastify_app'

/** A user, and the password that it shall have. */
export interface Credentials {
  username: string
  password: string
}

/**
 * The user and password in a database's URL.
 *
 * @throws TypeError when the URL is invalid or lacks one of them
 */
export function credentialsIn(url: string): Credentials {
  const { username, password } = new URL(url)
  if (username === '' || password === '') throw new TypeError('user and password are required')
  return { username: decodeURIComponent(username), password: decodeURIComponent(password) }
}

/** The URL with another user. */
export function urlWith(url: string, { username, password }: Credentials): string {
  const changed = new URL(url)
  changed.username = encodeURIComponent(username)
  changed.password = encodeURIComponent(password)
  return changed.href
}

/**
 * Creates the roles, or gives existing ones the passwords and rights that they should have: the migration's user owns the
 * schema and everything in it; the service's user may use it; everybody else has no access to the database.
 *
 * @param client - in a transaction, as a user that owns the database and may create roles
 */
export async function ensureRoles(
  client: Client,
  migration: Credentials,
  service: Credentials,
): Promise<void> {
  const migrator = escapeIdentifier(migration.username)
  await createRole(client, SERVICE_ROLE)
  // Somebody may have created it as a user.
  await client.query(`ALTER ROLE ${SERVICE_ROLE} NOLOGIN`)
  for (const { username, password } of [migration, service]) {
    await createRole(client, username)
    await client.query(
      `ALTER ROLE ${escapeIdentifier(username)} LOGIN PASSWORD ${escapeLiteral(scramVerifier(password))}`,
    )
  }
  await client.query(`GRANT ${SERVICE_ROLE} TO ${escapeIdentifier(service.username)}`)
  // Only a member of a role may make it the owner of something.
  await client.query(`GRANT ${migrator} TO CURRENT_USER`)

  const { rows } = await client.query('SELECT current_database() AS name')
  const [{ name }] = rows as [{ name: string }]
  const database = escapeIdentifier(name)
  await client.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`)
  await client.query(`GRANT CONNECT ON DATABASE ${database} TO ${SERVICE_ROLE}`)
  // CREATE permits trusted extensions, such as pg_trgm.
  await client.query(`GRANT CONNECT, CREATE ON DATABASE ${database} TO ${migrator}`)

  await client.query(`ALTER SCHEMA public OWNER TO ${migrator}`)
  await client.query('REVOKE ALL ON SCHEMA public FROM PUBLIC')
  await client.query(`GRANT USAGE ON SCHEMA public TO ${SERVICE_ROLE}`)
  await takeOver(client, migration.username)
}

/** Lets the service use all tables of the schema, apart from the list of migrations. Runs as the owner of the schema. */
export async function grantTables(client: Client, schemaTable: string): Promise<void> {
  await client.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${SERVICE_ROLE}`)
  await client.query(`GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO ${SERVICE_ROLE}`)
  await client.query(`REVOKE ALL ON ${escapeIdentifier(schemaTable)} FROM ${SERVICE_ROLE}`)
}

async function createRole(client: Client, name: string): Promise<void> {
  const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [name])
  if (rowCount === 0) await client.query(`CREATE ROLE ${escapeIdentifier(name)}`)
}

/** Changes the owner of tables that another user has created, for example before there were these roles. */
async function takeOver(client: Client, owner: string): Promise<void> {
  // Indexes, and sequences of columns, follow their table.
  const { rows } = await client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = $1)`,
    [owner],
  )
  for (const { name } of rows) {
    await client.query(`ALTER TABLE public.${escapeIdentifier(name)} OWNER TO ${escapeIdentifier(owner)}`)
  }
}

/**
 * What PostgreSQL stores of a password (RFC 5803). With it, the password itself reaches neither the server nor its logs.
 */
function scramVerifier(password: string): string {
  const iterations = 4096
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256')
  const key = (name: string) => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(key('Client Key')).digest('base64')
  const server = key('Server Key').toString('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${server}`
}
