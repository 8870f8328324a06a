/**
 * Rotates the passwords of the database and kills its server, while clients read tasks through the load balancer. The
 * pods reach the database as the data stack's secrets say: over TLS that they verify, as users that the migration makes.
 * In the end, no password is where others could read it.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'
import type { Pod } from '../objects.ts'
import { eventually, operate, WITHOUT_LOAD_SHEDDING } from '../operator.ts'
import {
  findIn,
  keepingTerraform,
  type Places,
  passwordsIn,
  readFiles,
  readObjects,
  readRuns,
} from '../secret-scan.ts'
import { failures, STEADY_CLIENT, startLoad, sum } from '../steady-load.ts'

const directory = t.testdir({})
const box = await operate('e2e-rotation', 26_100, {
  PATH: `${await keepingTerraform(directory)}:${process.env['PATH']}`,
})
const { environment, config, aws, kubectl, list, exec, killAndRecover } = box
const service = `http://127.0.0.1:${config.ports.service}`
const inService = '--namespace=fastify-app'
const values = join(directory, 'values.json')

/** What the make targets printed. */
const outputs: Places = new Map()
const make: typeof box.make = async (target, ...rest) => {
  const output = await box.make(target, ...rest)
  outputs.set(`output ${outputs.size + 1}, make ${target}`, Buffer.from(output))
  return output
}

t.teardown(async () => {
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})

const deploy = () => make('deploy', { VALUES: values })
const load = (path: string, rate: number) =>
  startLoad([STEADY_CLIENT, `${service}${path}`, String(rate), '4'], environment)

const pods = async () =>
  (await list<Pod>('pods', inService, '--selector=app.kubernetes.io/name=fastify-app'))
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata }) => metadata.name)

async function createTask(pod: string, title: string): Promise<void> {
  const address = await kubectl('get', 'pod', pod, inService, '--output=jsonpath={.status.podIP}')
  const task = ['--header', 'content-type: application/json', '--data', JSON.stringify({ title })]
  await exec('curl', '--silent', '--show-error', '--fail', ...task, `http://${address}:3000/api/v1/tasks`)
}

async function titlesSeenBy(pod: string): Promise<string[]> {
  const proxy = `/api/v1/namespaces/fastify-app/pods/${pod}:3000/proxy/api/v1/tasks`
  const page = JSON.parse(await kubectl('get', '--raw', proxy)) as { items: { title: string }[] }
  return page.items.map(({ title }) => title).sort()
}

/** A value of the Secret that the pods read. */
async function connectionUrl(key: string): Promise<URL> {
  const secret = JSON.parse(await kubectl('get', 'secret', 'fastify-app', inService, '--output=json')) as {
    data: Record<string, string>
  }
  return new URL(Buffer.from(secret.data[key] ?? '', 'base64').toString())
}

await t.test('the service is deployed with a database that it verifies', async (t) => {
  writeFileSync(
    values,
    JSON.stringify({ autoscaling: { minReplicas: 2, maxReplicas: 2 }, ...WITHOUT_LOAD_SHEDDING }),
  )
  for (const target of ['box', 'apply', 'build', 'push']) await make(target)
  await deploy()
  await eventually('the autoscaler adds the second pod', async () => (await pods()).length === 2 || undefined)
  await kubectl('rollout', 'status', 'deployment/fastify-app', inService, '--timeout=600s')
  const url = await connectionUrl('DATABASE_URL')
  t.match(url, { username: 'fastify_app_a', search: '?sslmode=verify-full' })
  t.equal((await connectionUrl('REDIS_URL')).protocol, 'rediss:')
})

await t.test('the administrator’s password is in the cluster only while a migration runs', async (t) => {
  const secrets = await list<Pod>('secrets', inService)
  t.notOk(secrets.some(({ metadata }) => metadata.name === 'fastify-app-migration'))
})

await t.test('a task that one pod creates is read through the other', async (t) => {
  const [one = '', other = ''] = await pods()
  await createTask(one, 'first')
  t.strictSame(await titlesSeenBy(other), ['first'])
})

await t.test('a rotation of the passwords loses no request', async (t) => {
  const before = await pods()
  const clients = load('/api/v1/tasks', 100)
  await make('apply', { STACK: 'data', ARGS: '-var=credentials_version=2' })
  t.strictSame(await pods(), before, 'the pods continue with the former user')
  await deploy()
  await sleep(10_000)
  const results = await clients.stop()
  t.comment(JSON.stringify(results))
  t.ok(sum(results) > 1_000)
  t.strictSame(failures(results), {})
  t.equal((await connectionUrl('DATABASE_URL')).username, 'fastify_app_b')
  t.notOk(
    (await pods()).some((pod) => before.includes(pod)),
    'all pods use the new user',
  )
})

await t.test('without a change, a deployment replaces no pod', async (t) => {
  t.match(await deploy(), /no pod was replaced/)
})

await t.test(
  'while the database restarts, only routes that need it answer 503, with Retry-After',
  async (t) => {
    const [tasks, others] = [load('/api/v1/tasks', 50), load('/', 50)]
    await sleep(5_000)
    await killAndRecover('postgres')
    await sleep(30_000)
    const results = await tasks.stop()
    t.comment(JSON.stringify(results))
    const { '503 with Retry-After': _refused, ...unexpected } = failures(results)
    t.strictSame(unexpected, {})
    t.strictSame(failures(await others.stop()), {})
    const [pod = ''] = await pods()
    t.strictSame(await titlesSeenBy(pod), ['first'], 'all data is there')
  },
)

/** The passwords in all versions of the account's secrets. */
async function storedPasswords(): Promise<string[]> {
  const passwords: string[] = []
  for (const secret of await aws('secretsmanager', 'list-secrets', '--query', 'SecretList[].ARN')) {
    const versions = ['--include-deprecated', '--query', 'Versions[].VersionId']
    const ids = await aws('secretsmanager', 'list-secret-version-ids', '--secret-id', secret, ...versions)
    for (const id of ids) {
      const version = ['--secret-id', secret, '--version-id', id]
      const { SecretString } = await aws('secretsmanager', 'get-secret-value', ...version)
      passwords.push(...passwordsIn(SecretString))
    }
  }
  return passwords
}

await t.test('no password is in a state, a plan, an output, a log or a value of Helm', async (t) => {
  await make('plan', { STACK: 'data', ARGS: '-var=credentials_version=3' })
  const logs = join(directory, 'logs')
  mkdirSync(logs)
  await make('logs-export', { OUT: join(directory, 'logs.tar.gz') })
  await execa('tar', ['--extract', '--file', join(directory, 'logs.tar.gz'), '--directory', logs])
  const runs = await readRuns(directory)
  const kinds = 'pods,deployments,replicasets,jobs,configmaps,events,externalsecrets,secrets'
  const places = {
    terraform: runs.places,
    outputs,
    logs: readFiles(logs),
    objects: readObjects(await kubectl('get', kinds, '--all-namespaces', '--output=json')),
  }

  // What is no secret is found, so passwords would be.
  const { hostname } = await connectionUrl('DATABASE_URL')
  const controls: [keyof typeof places, string, RegExp][] = [
    ['terraform', hostname, /data\.tfstate$/],
    ['terraform', hostname, /data\.tfstate\.backup$/],
    ['terraform', hostname, /plan$/],
    ['terraform', hostname, /plan\.json$/],
    ['outputs', 'fastify-app is served at', /make deploy/],
    ['logs', 'database system is ready', /postgres\.log$/],
    ['logs', 'the shared cache answers', /fastify-app.*\.log$/],
    ['objects', 'fastify-eks-cluster/fastify-app', /^ExternalSecret /],
    ['objects', 'fastify-eks-cluster/fastify-app', /^Secret .*sh\.helm\.release/],
  ]
  for (const [what, control, place] of controls) {
    t.ok(
      findIn(places[what], [control]).some((found) => place.test(found)),
      `${what}: ${place}`,
    )
  }

  const passwords = new Set([...(await storedPasswords()), ...runs.passwords])
  t.ok(passwords.size >= 7, 'of two versions of three passwords, and of the administrator')
  t.notOk(passwords.has(''))
  for (const [what, searched] of Object.entries(places)) {
    const allowed = what === 'objects' ? ['Secret fastify-app/fastify-app'] : []
    t.strictSame(findIn(searched, passwords), allowed, what)
  }
})
