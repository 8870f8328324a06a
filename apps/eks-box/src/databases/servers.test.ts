/** Runs a PostgreSQL and a Redis of its own, as the box does, and connects to them as clients of RDS and ElastiCache. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { databaseAuthorityPath, readBoxConfig } from 'shared/box'
import t from 'tap'
import { openPort } from '../lifecycle/ports.ts'
import { asPostgres, findPrograms } from '../preparation/postgres-data.ts'
import { DatabaseAuthority } from './authority.ts'
import { archiveSettings, Backups } from './backups.ts'
import { CacheServer, noClients, tokenHash, usersConfiguration } from './cache-server.ts'
import {
  type Database,
  initialRules,
  PostgresServer,
  RULES_FILE,
  writeServerCertificate,
} from './postgres-server.ts'

async function freePort(): Promise<number> {
  const listener = await openPort(0, 'port')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

// Sockets need short paths, and the user postgres must be able to enter the directory.
const directory = mkdtempSync(join(tmpdir(), 'databases-'))
chmodSync(directory, 0o755)
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const stateDir = join(directory, 'box')
mkdirSync(stateDir)
const config = { ...readBoxConfig({}), stateDir }
const authority = new DatabaseAuthority(config)
await authority.ensure()
const programs = findPrograms(undefined)

await t.test('the database', async (t) => {
  const data = join(directory, 'data')
  const sockets = join(directory, 'sockets')
  const archive = join(directory, 'backups')
  const port = await freePort()
  for (const path of [data, sockets]) {
    await execa('install', ['--directory', '--owner=postgres', '--group=postgres', '--mode=0700', path])
  }
  const [prefix, ...rest] = asPostgres
  await execa(prefix, [...rest, join(programs, 'initdb'), '-D', data, '--auth=reject'], { cwd: '/' })
  writeFileSync(
    join(data, 'postgresql.conf'),
    `listen_addresses = '127.0.0.1'\nport = ${port}\nunix_socket_directories = '${sockets}'\nhba_file = '${data}/${RULES_FILE}'\nssl = on\n${archiveSettings(archive)}`,
  )
  writeFileSync(join(data, RULES_FILE), initialRules)
  const initial = await authority.renew('', ['localhost'])
  if (initial !== undefined) await writeServerCertificate(data, initial)
  // The server's own environment, so that the programs find its socket by the port.
  process.env['PGPORT'] = String(port)
  const start = () =>
    execa(prefix, [...rest, join(programs, 'postgres'), '-D', data], {
      cwd: '/',
      reject: false,
      stdio: 'ignore',
    })
  let running = start()
  let isOver = false
  running.finally(function again() {
    if (!isOver) running = start()
  })
  t.teardown(async () => {
    isOver = true
    running.kill('SIGINT')
    await running
  })
  const isReady = async () =>
    !(await execa(join(programs, 'pg_isready'), [`--host=${sockets}`], { reject: false })).failed
  while (!(await isReady())) await sleep(100)

  const options = { authority, data, programs, sockets, restartTimeout: 60_000 }
  const server = new PostgresServer(options)
  const host = 'shop.aaaaaaaaaa.eu-central-1.rds.amazonaws.com'
  const database: Database = {
    host,
    masterUser: 'master',
    masterPassword: 'the-first-password',
    name: 'shop',
    forceSsl: true,
    stopped: false,
  }
  /** Runs a statement as a client that verifies the server's name. */
  const query = (
    sql: string,
    { sslmode = 'verify-full', user = 'master', password = 'the-first-password' } = {},
  ) =>
    execa(
      'psql',
      [
        `host=${host} hostaddr=127.0.0.1 port=${port} user=${user} dbname=shop sslmode=${sslmode} sslrootcert=${databaseAuthorityPath(config)}`,
        ...['--no-psqlrc', '--tuples-only', '--no-align', `--command=${sql}`],
      ],
      { env: { PGPASSWORD: password } },
    ).then(({ stdout }) => stdout)
  const failure = (request: Promise<unknown>) =>
    request.then(
      () => '',
      (error: unknown) => String(error),
    )

  await t.test('the master user creates roles and databases, but is no superuser', async (t) => {
    await server.apply(database)
    t.equal(await query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'), 't')
    t.equal(
      await query("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'master'"),
      'f|t|t',
    )
    t.equal(await query("SELECT pg_has_role('master', 'rds_superuser', 'MEMBER')"), 't')
    await query("CREATE ROLE service LOGIN PASSWORD 'of-the-service'; CREATE TABLE tasks (title text)")
    await query("INSERT INTO tasks VALUES ('kept'); GRANT SELECT ON tasks TO service")
    t.match(await failure(query("COPY tasks TO PROGRAM 'true'")), 'pg_execute_server_program')
  })

  await t.test('rds.force_ssl decides whether connections need TLS', async (t) => {
    t.match(await failure(query('SELECT 1', { sslmode: 'disable' })), /no pg_hba.conf entry/)
    await server.apply({ ...database, forceSsl: false })
    t.equal(await query('SELECT 1', { sslmode: 'disable' }), '1')
    await server.apply(database)
    t.match(await failure(query('SELECT 1', { sslmode: 'disable' })), /no pg_hba.conf entry/)
  })

  await t.test('a wrong password is refused, and a new one replaces the former', async (t) => {
    t.match(await failure(query('SELECT 1', { password: 'wrong' })), 'password authentication failed')
    await server.apply({ ...database, masterPassword: 'the-second-password' })
    t.match(await failure(query('SELECT 1')), 'password authentication failed')
    t.equal(await query('SELECT 1', { password: 'the-second-password' }), '1')
    await server.apply(database)
  })

  await t.test('a stopped instance refuses connections until it is started', async (t) => {
    await server.apply({ ...database, stopped: true })
    t.match(await failure(query('SELECT 1')), /no pg_hba.conf entry/)
    await server.apply(database)
    t.equal(await query('SELECT title FROM tasks'), 'kept')
  })

  await t.test('a restart keeps the data', async (t) => {
    const started = 'SELECT pg_postmaster_start_time()'
    const before = await query(started)
    await server.restart()
    t.not(await query(started), before)
    t.equal(await query('SELECT title FROM tasks'), 'kept')
  })

  await t.test('a snapshot contains data and roles; without an instance, nothing remains', async (t) => {
    const snapshot = join(directory, 'snapshot')
    await server.dump(snapshot)
    await server.apply(undefined)
    const { stdout } = await execa('psql', [
      ...[`--host=${sockets}`, '--username=postgres', '--no-psqlrc', '--tuples-only', '--no-align'],
      "--command=SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' UNION SELECT datname FROM pg_database WHERE NOT datistemplate",
    ])
    t.equal(stdout, 'postgres')
    t.match(await failure(query('SELECT 1')), /no pg_hba.conf entry/)
    await server.load(snapshot)
    await server.apply(database)
    t.equal(await query('SELECT title FROM tasks', { user: 'service', password: 'of-the-service' }), 'kept')
    t.equal(await query("SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'"), 'master')
  })

  await t.test('the backup of a deleted instance restores each point in time', async (t) => {
    const backups = new Backups({ server: options, directory: archive })
    const titles = "SELECT string_agg(title, ',' ORDER BY title) FROM tasks"
    await backups.begin('db-1')
    await query("INSERT INTO tasks VALUES ('later')")
    const later = await query(
      `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
    )
    await query('DELETE FROM tasks')
    await backups.retain({ Engine: 'postgres' })
    await server.apply(undefined)
    const [backup] = await backups.list()
    t.match(backup, { resourceId: 'db-1', instance: { Engine: 'postgres' }, until: String })
    if (backup === undefined) return
    const recovered = join(directory, 'recovered')
    for (const [time, expected] of [
      [later, 'kept,later'],
      [undefined, ''],
    ] as const) {
      await backups.recover(backup, time, recovered)
      await server.load(recovered)
      await server.apply(database)
      t.equal(await query(titles), expected, time ?? 'the end')
    }
    await backups.begin('db-2')
    t.strictSame((await backups.list()).map(({ resourceId }) => resourceId).sort(), ['db-1', 'db-2'])
    await backups.delete(backup)
    await backups.discard()
    t.strictSame(await backups.list(), [])
  })
})

await t.test('the cache', async (t) => {
  const cache = join(directory, 'cache')
  mkdirSync(cache)
  const at = (name: string) => join(cache, name)
  const [port, tlsPort] = [await freePort(), await freePort()]
  const issued = await authority.renew('', ['localhost'])
  writeFileSync(at('server.crt'), issued?.certificate ?? '')
  writeFileSync(at('server.key'), issued?.key ?? '')
  writeFileSync(at('password'), 'of-the-box')
  writeFileSync(at('users.conf'), usersConfiguration('of-the-box', noClients))
  writeFileSync(
    at('redis.conf'),
    `bind 127.0.0.1\nprotected-mode no\nport ${port}\ntls-port ${tlsPort}\ntls-cert-file ${at('server.crt')}\ntls-key-file ${at('server.key')}\ntls-auth-clients no\nsave ""\ndir ${cache}\ninclude ${at('users.conf')}\n`,
  )
  const start = () => execa('redis-server', [at('redis.conf')], { reject: false, stdio: 'ignore' })
  let running = start()
  t.teardown(async () => {
    running.kill()
    await running
  })
  const hosts = [
    'master.shop.box000.euc1.cache.amazonaws.com',
    'replica.shop.box000.euc1.cache.amazonaws.com',
  ]
  /** Sends a command as a client that verifies the server's name. */
  const send = async (token: string | undefined, ...command: string[]) => {
    const options = ['-h', '127.0.0.1', '-p', String(tlsPort), '--no-auth-warning']
    const tls = ['--tls', '--cacert', databaseAuthorityPath(config), '--sni', hosts[0] ?? '']
    const { stdout, stderr } = await execa('redis-cli', [...options, ...tls, ...command], {
      env: token === undefined ? {} : { REDISCLI_AUTH: token },
      reject: false,
    })
    return `${stdout}${stderr}`
  }
  while (!/PONG|NOAUTH|WRONGPASS/.test(await send(undefined, 'PING'))) await sleep(100)
  const server = new CacheServer({
    authority,
    directory: cache,
    users: at('users.conf'),
    own: { host: '127.0.0.1', port, passwordFile: at('password') },
  })
  const [first, second] = ['first-token-of-the-cache', 'second-token-of-the-cache']
  const group = { hosts, tokens: [tokenHash(first)], tokenRequired: true }

  await t.test('without a replication group, nobody can sign in', async (t) => {
    t.match(await send(undefined, 'PING'), 'NOAUTH')
  })

  await t.test('a group without a token accepts everybody', async (t) => {
    await server.apply({ hosts, tokens: [], tokenRequired: false })
    t.equal(await send(undefined, 'SET', 'key', 'value'), 'OK')
  })

  await t.test('a group with tokens accepts each of them, and nobody else', async (t) => {
    await server.apply({ ...group, tokens: [tokenHash(second), tokenHash(first)] })
    t.equal(await send(first, 'GET', 'key'), 'value')
    t.equal(await send(second, 'GET', 'key'), 'value')
    t.match(await send('another-token-of-the-cache', 'GET', 'key'), 'WRONGPASS')
    t.match(await send(undefined, 'GET', 'key'), 'NOAUTH')
    t.match(await send(first, 'CONFIG', 'GET', '*'), 'NOPERM', 'as on ElastiCache')
  })

  await t.test('the certificate has the names of the endpoints', async (t) => {
    for (const host of hosts) {
      const { stdout } = await execa(
        'openssl',
        [
          ...['s_client', '-connect', `127.0.0.1:${tlsPort}`, '-servername', host, '-verify_hostname', host],
          ...['-CAfile', databaseAuthorityPath(config), '-verify_return_error', '-brief'],
        ],
        { input: '', all: true },
      )
      t.ok(stdout !== undefined)
    }
  })

  await t.test('after a restart, the same tokens are valid', async (t) => {
    await server.apply(group)
    running.kill()
    await running
    running = start()
    while (!/PONG/.test(await send(first, 'PING'))) await sleep(100)
    t.match(await send(second, 'PING'), 'WRONGPASS')
  })

  await t.test('without the group, the cache is empty', async (t) => {
    await send(first, 'SET', 'key', 'value')
    await server.apply(undefined)
    t.match(await send(first, 'GET', 'key'), 'WRONGPASS')
    await server.apply(group)
    t.equal(await send(first, 'GET', 'key'), '')
  })
})
