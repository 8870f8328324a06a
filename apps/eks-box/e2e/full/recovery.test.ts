/**
 * Loses data, the database, the state of Terraform and the cluster, and gets each back as docs/disaster-recovery.md
 * says. The seconds in that page are those that this test prints.
 */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { CLUSTER_NAME } from '../../src/cluster.ts'
import { deriveImage } from '../derived-image.ts'
import { eventually, operate, WITHOUT_LOAD_SHEDDING } from '../operator.ts'
import { failures, type Results, STEADY_CLIENT, startLoad, sum } from '../steady-load.ts'

const { environment, config, make, aws, kubectl, killAndRecover } = await operate('e2e-recovery', 26_100)
const service = `http://127.0.0.1:${config.ports.service}`
const tasks = `${service}/api/v1/tasks`
const inService = '--namespace=fastify-app'
const directory = t.testdir()
const values = join(directory, 'values.json')
const snapshot = `${CLUSTER_NAME}-before-the-change`
const instance = ['--db-instance-identifier', CLUSTER_NAME]

t.teardown(async () => {
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})

const deploy = (image: Record<string, string> = {}, failing = false) =>
  make('deploy', { VALUES: values, ...image }, failing)
const psql = (sql: string) =>
  make('exec', { CMD: `psql --username=postgres --no-align --tuples-only fastify --command="${sql}"` })
const load = (url: string, rate: number) => startLoad([STEADY_CLIENT, url, String(rate), '4'], environment)

/** Variables of the data stack, beside those of the environment. They accumulate, as in a file that is edited. */
const variables: Record<string, unknown> = {}
async function applyData(changes: Record<string, unknown>): Promise<string> {
  const file = join(directory, 'data.tfvars.json')
  writeFileSync(file, JSON.stringify(Object.assign(variables, changes)))
  const stack = { STACK: 'data', ARGS: `-var-file=${file}` }
  const said = await make('apply', stack)
  if (!/data \(local\): no changes/.test(await make('plan', stack)))
    throw new Error('a second plan has changes')
  return said
}

async function measure<Result>(t: Test, what: string, action: () => Promise<Result>): Promise<Result> {
  const since = Date.now()
  const result = await action()
  t.comment(`${what}: ${((Date.now() - since) / 1000).toFixed(0)} s`)
  return result
}

async function createTask(title: string): Promise<Response> {
  return fetch(tasks, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ title }),
  })
}

async function createTasks(prefix: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const { status } = await createTask(`${prefix} ${index}`)
    if (status !== 201) throw new Error(`the task was answered with ${status}`)
  }
}

async function readTasks(): Promise<{ id: string; title: string }[]> {
  const found: { id: string; title: string }[] = []
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const response = await fetch(`${tasks}?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
    if (!response.ok) throw new Error(`the tasks were answered with ${response.status}`)
    const page = (await response.json()) as { items: typeof found; nextCursor?: string }
    found.push(...page.items)
    cursor = page.nextCursor
  }
  return found
}

const readTitles = async () => (await readTasks()).map(({ title }) => title).sort()
const answers = () => eventually('the service answers', () => readTitles().catch(() => undefined))

/** Creates tasks until it is stopped. Tells which of them the service confirmed. */
function startWriting(rate: number) {
  const results: Results = {}
  const confirmed: string[] = []
  let isOver = false
  const writing = (async () => {
    while (!isOver) {
      const title = randomUUID()
      const result = await createTask(title).then(
        ({ status, headers }) => `${status}${headers.has('retry-after') ? ' with Retry-After' : ''}`,
        (error: unknown) => String(error),
      )
      results[result] = (results[result] ?? 0) + 1
      if (result === '201') confirmed.push(title)
      await sleep(1000 / rate)
    }
  })()
  return async () => {
    isOver = true
    await writing
    return { results, confirmed }
  }
}

await t.test('the service is deployed, with a database whose backups outlive it', async () => {
  writeFileSync(
    values,
    JSON.stringify({ autoscaling: { minReplicas: 2, maxReplicas: 2 }, ...WITHOUT_LOAD_SHEDDING }),
  )
  for (const target of ['box', 'apply', 'build', 'push']) await make(target)
  // As in staging and prod.
  const database = { instance_class: 'db.t4g.micro', multi_az: false, backup_retention_days: 1 }
  await applyData({ database: { ...database, deletion_protection: false, final_snapshot: true } })
  await deploy()
  await createTasks('before the snapshot', 20)
})

await t.test('a snapshot brings back deleted tasks and a dropped table', async (t) => {
  const expected = await readTitles()
  await measure(t, 'snapshot', () =>
    aws('rds', 'create-db-snapshot', ...instance, '--db-snapshot-identifier', snapshot),
  )
  const [first] = await readTasks()
  t.equal(
    (await fetch(`${tasks}/${first?.id}`, { method: 'DELETE', headers: { 'if-match': '*' } })).status,
    204,
  )
  await psql('DROP TABLE tasks')
  t.equal((await fetch(tasks)).status, 500)
  const said = await measure(t, 'apply of the snapshot', () =>
    applyData({ restore: { snapshot_id: snapshot }, credentials_version: 2 }),
  )
  t.match(said, /replace +aws_db_instance\.this/)
  await measure(t, 'until the pods answer', answers)
  t.strictSame(await readTitles(), expected, 'before any pod was replaced')
  await measure(t, 'deployment', () => deploy())
  t.strictSame(await readTitles(), expected)
  const left: string[] = await aws(
    'rds',
    'describe-db-snapshots',
    '--query',
    'DBSnapshots[].DBSnapshotIdentifier',
  )
  t.ok(
    left.some((name) => name.startsWith(`${CLUSTER_NAME}-final-`)),
    'what was lost can still be examined',
  )
})

const image = { from: '', to: '' }
const registry = `http://127.0.0.1:${config.ports.registry}`
async function pushMigration(to: string, sql: string): Promise<void> {
  const [container] = JSON.parse(
    await kubectl(
      'get',
      'deployment',
      'fastify-app',
      inService,
      '--output=jsonpath={.spec.template.spec.containers}',
    ),
  ) as { image: string }[]
  if (image.from === '') image.from = container?.image.split(':').at(-1) ?? ''
  await deriveImage(registry, 'fastify-app', { ...image, to }, { 'app/migrations/003.do.bad.sql': sql })
}
const schemaVersion = async () => (await psql('SELECT max(version) FROM schema_version')).trim()

await t.test('a migration that fails changes nothing, and no request fails', async (t) => {
  await pushMigration('fails', 'ALTER TABLE tasks ADD COLUMN owner text; SELECT 1 / 0;')
  const clients = load(tasks, 20)
  const said = await measure(t, 'failed deployment', () => deploy({ IMAGE_TAG: 'fails' }, true))
  t.match(said, /cannot apply 003\.do\.bad\.sql: division by zero/)
  t.match(said, /no pod was replaced/)
  t.strictSame(failures(await clients.stop()), {})
  t.equal(await schemaVersion(), '2')
})

await t.test('a new master password is used by the next migration, and no request fails', async (t) => {
  const secret: string = await aws(
    ...['rds', 'describe-db-instances', ...instance],
    ...['--query', 'DBInstances[0].MasterUserSecret.SecretArn', '--output', 'text'],
  )
  const read = () =>
    aws(...['secretsmanager', 'get-secret-value', '--secret-id', secret, '--query', 'SecretString'])
  const before = await read()
  const clients = load(tasks, 20)
  await aws('rds', 'modify-db-instance', ...instance, '--rotate-master-user-password', '--apply-immediately')
  t.not(await read(), before)
  await deploy()
  t.strictSame(failures(await clients.stop()), {})
})

await t.test('a point in time brings back what a migration has destroyed', async (t) => {
  await createTasks('after the snapshot', 20)
  const expected = await readTitles()
  const resourceId: string = await aws(
    ...['rds', 'describe-db-instances', ...instance],
    ...['--query', 'DBInstances[0].DbiResourceId', '--output', 'text'],
  )
  // RDS restores whole seconds.
  await sleep(1_500)
  const time = `${new Date().toISOString().slice(0, 19)}Z`
  await sleep(1_500)
  await pushMigration('destroys', 'ALTER TABLE tasks DROP COLUMN notes;')
  await deploy({ IMAGE_TAG: 'destroys' })
  t.equal((await fetch(tasks)).status, 500)
  t.equal(await schemaVersion(), '3')
  await measure(t, 'apply of the point in time', () =>
    applyData({
      restore: { point_in_time: { source_resource_id: resourceId, time } },
      credentials_version: 3,
    }),
  )
  await measure(t, 'until the pods answer', answers)
  await measure(t, 'deployment of the former image', () => deploy({ IMAGE_TAG: image.from }))
  t.strictSame(await readTitles(), expected)
  t.equal(await schemaVersion(), '2')
  const backups: string[] = await aws(
    ...['rds', 'describe-db-instance-automated-backups'],
    ...['--query', 'DBInstanceAutomatedBackups[].Status'],
  )
  t.ok(
    backups.includes('active') && backups.includes('retained'),
    'the former instance can be restored again',
  )
})

await t.test('while the database restarts, no confirmed task is lost', async (t) => {
  const others = load(`${service}/`, 20)
  const stopWriting = startWriting(20)
  await sleep(5_000)
  await measure(t, 'restart of the database', () => killAndRecover('postgres'))
  await measure(t, 'until the pods answer', answers)
  await sleep(10_000)
  const { results, confirmed } = await stopWriting()
  t.comment(JSON.stringify(results))
  const { 201: created, '503 with Retry-After': _refused, ...unexpected } = results
  t.ok(Number(created) > 100)
  t.strictSame(unexpected, {})
  const rest = await others.stop()
  t.ok(sum(rest) > 100)
  t.strictSame(failures(rest), {})
  const present = new Set(await readTitles())
  t.strictSame(
    confirmed.filter((title) => !present.has(title)),
    [],
  )
})

await t.test('an earlier version of a state in S3 replaces a deleted and a damaged one', async (t) => {
  const state = join(config.stateDir, 'terraform', 'data.tfstate')
  const object = ['--bucket', 'states', '--key', 'local/data.tfstate']
  const versions = (query: string): Promise<string> =>
    aws(
      ...['s3api', 'list-object-versions', '--bucket', 'states', '--prefix', 'local/data.tfstate'],
      ...['--query', query, '--output', 'text'],
    )
  const download = join(directory, 'state.json')
  const isIntact = async () => {
    await aws('s3api', 'get-object', ...object, download)
    return readFileSync(download, 'utf8') === readFileSync(state, 'utf8')
  }
  await aws(
    's3api',
    'create-bucket',
    '--bucket',
    'states',
    '--create-bucket-configuration',
    'LocationConstraint=eu-central-1',
  )
  await aws(
    's3api',
    'put-bucket-versioning',
    '--bucket',
    'states',
    '--versioning-configuration',
    'Status=Enabled',
  )
  await aws('s3api', 'put-object', ...object, '--body', state)
  t.ok(await isIntact())

  await aws('s3api', 'delete-object', ...object)
  await t.rejects(isIntact(), 'the state is lost')
  const marker = await versions('DeleteMarkers[?IsLatest].VersionId')
  await aws('s3api', 'delete-object', ...object, '--version-id', marker)
  t.ok(await isIntact())

  writeFileSync(download, '{}')
  await aws('s3api', 'put-object', ...object, '--body', download)
  t.notOk(await isIntact())
  const former = await versions('Versions[1].VersionId')
  const copy = ['--copy-source', `states/local/data.tfstate?versionId=${former}`]
  await aws('s3api', 'copy-object', ...object, ...copy)
  t.ok(await isIntact())

  const stack = { STACK: 'data', ARGS: `-var-file=${join(directory, 'data.tfvars.json')}` }
  await rename(state, `${state}.lost`)
  t.match(
    await make('plan', stack),
    /data \(local\): [1-9]\d* to add, 0 to change, 0 to replace, 0 to destroy/,
  )
  await rename(download, state)
  t.match(await make('plan', stack), /data \(local\): no changes/)
})

await t.test('a deleted cluster is built again around the database', async (t) => {
  const expected = await readTitles()
  const cluster = ['--cluster-name', CLUSTER_NAME]
  await kubectl('delete', 'namespace', 'fastify-app')
  for (const name of await aws('eks', 'list-nodegroups', ...cluster, '--query', 'nodegroups')) {
    await aws('eks', 'delete-nodegroup', ...cluster, '--nodegroup-name', name)
    await aws('eks', 'wait', 'nodegroup-deleted', ...cluster, '--nodegroup-name', name)
  }
  await aws('eks', 'delete-cluster', '--name', CLUSTER_NAME)
  await aws('eks', 'wait', 'cluster-deleted', '--name', CLUSTER_NAME)
  for (const STACK of ['cluster', 'platform']) {
    await measure(t, `apply of ${STACK}`, () => make('apply', { STACK }))
  }
  await measure(t, 'deployment', () => deploy())
  t.strictSame(await readTitles(), expected)
})
