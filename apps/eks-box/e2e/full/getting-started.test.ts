/**
 * Follows docs/getting-started-aws.md in a box of its own: runs the page's shell blocks as they are, in order, and checks
 * after each section what the page promises. Only environment variables differ from those of a reader.
 */
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { basename, delimiter, dirname, join } from 'node:path'
import { execa } from 'execa'
import { ACCOUNT, awsEnvironment, REGION } from 'shared/box'
import { programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import { insideBox } from '../../src/lifecycle/namespaces.ts'
import { boxPaths } from '../../src/state-directory.ts'
import {
  eventually,
  NETWORK_RESOURCES,
  operate,
  RESOURCES,
  repository,
  WITHOUT_LOAD_SHEDDING,
} from '../operator.ts'

const HOST = 'tasks.company.example'
const { environment, config, make, aws, kubectl } = await operate('e2e-getting-started', 24_900)
const { pki, run } = boxPaths(config)
const directory = t.testdir({
  'values.json': JSON.stringify(WITHOUT_LOAD_SHEDDING),
  // curl verifies the certificate of the load balancer, which it reaches through a socket instead of the internet.
  curl: {},
})
const socket = join(run, 'https.sock')

/** A shell block of the page, and what the page says that it prints. */
interface Block {
  script: string
  printed: string[]
}

interface Section {
  title: string
  blocks: Block[]
}

/** The sections of the page that have shell blocks. Blocks in other languages are for AWS or for editors. */
function readPage(): Section[] {
  const [, ...parts] = readFileSync(join(repository, 'docs', 'getting-started-aws.md'), 'utf8').split(/^## /m)
  return parts.flatMap((part) => {
    const blocks: Block[] = []
    for (const [, language, text = ''] of part.matchAll(/^ *```(\w+)\n([\s\S]*?)^ *```$/gm)) {
      if (language === 'sh') blocks.push({ script: text, printed: [] })
      else if (language === 'text') blocks.at(-1)?.printed.push(...text.split('\n').filter(Boolean))
    }
    const [title = ''] = part.split('\n')
    return blocks.length === 0 ? [] : [{ title, blocks }]
  })
}

/** The variables that the page sets, with the values that the page gives them. */
function exportsOf(sections: readonly Section[]): Map<string, string> {
  const scripts = sections.flatMap(({ blocks }) => blocks.map(({ script }) => script)).join('\n')
  return new Map(
    [...scripts.matchAll(/^export (\w+)=(\S*)/gm)].map(([, name = '', value = '']) => [name, value]),
  )
}

/** A line of the page as a pattern: the numbers and the values of the reader's variables differ, `...` is anything. */
function pattern(line: string, exported: ReadonlyMap<string, string>): RegExp {
  let text = line.replaceAll(/[\\^$+?()[\]{}|*]/g, '\\$&')
  text = text.replaceAll('...', '\0').replaceAll('.', '\\.').replaceAll('\0', '.*')
  // The name of the service contains that of the environment.
  for (const [name, value] of [...exported].reverse()) {
    text = text.replaceAll(value.replaceAll('.', '\\.'), () => variables[name] ?? value)
  }
  return new RegExp(text.replaceAll(/\d+/g, '\\d+').replaceAll(/ +/g, ' +'), 'm')
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
await make('box')
// The box's account has a role for deployments from the beginning, which an empty account does not have.
await aws('iam', 'delete-role', '--role-name', 'fastify-eks-deploy')

const curl = join(directory, 'curl')
mkdirSync(curl, { recursive: true })
writeFileSync(join(curl, '.curlrc'), `unix-socket = ${socket}\ncacert = ${join(pki, 'ca.crt')}\n`)
const forwarder = join(import.meta.dirname, '..', 'https-socket.ts')
const inside = await insideBox(config, [process.execPath, forwarder, socket], 'test')
// It ends with the box.
void execa(inside.command[0], inside.command.slice(1), {
  env: inside.environment,
  extendEnv: false,
  reject: false,
  stdio: 'inherit',
})
await eventually('the socket of the load balancer exists', async () => existsSync(socket) || undefined)

/** Plain HTTP on this machine, because load is only sent to this machine, for HTTPS at the load balancer. */
const plain = createServer((request, response) => {
  const upstream = httpsRequest(
    {
      ...{ socketPath: socket, servername: HOST, ca: readFileSync(join(pki, 'ca.crt')) },
      ...{ method: request.method, path: request.url, headers: { ...request.headers, host: HOST } },
    },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    },
  )
  upstream.on('error', () => response.destroy())
  request.pipe(upstream)
})
await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
t.teardown(() => plain.close())

const programs = (['aws', 'kubectl'] as const).map((program) => dirname(programPath(config, program)))
const variables: Readonly<Record<string, string | undefined>> = {
  ...environment,
  ...awsEnvironment(config),
  ...{ ENV: 'local', HOST, NETWORK: 'stack' },
  PATH: [...programs, process.env['PATH']].join(delimiter),
  KUBECONFIG: join(directory, 'kubeconfig'),
  CURL_HOME: curl,
  BASE_URL: `http://127.0.0.1:${(plain.address() as AddressInfo).port}`,
  VALUES: join(directory, 'values.json'),
  ROLLOUT_TIMEOUT_SECONDS: '900',
}

const page = readPage()
const exported = exportsOf(page)
const remaining = page.values()
const transcript: string[] = []

/** Runs the blocks of the page's next section, and checks what they print. */
async function follow(
  title: string,
  check: (t: Test, said: string) => Promise<void>,
  { mayFail = false } = {},
): Promise<void> {
  const skip = t.passing() ? false : 'an earlier step failed'
  await t.test(title, { skip }, async (t) => {
    const { value: section } = remaining.next()
    t.equal(section?.title, title, 'the page has the sections of this test')
    const said: string[] = []
    for (const { script, printed } of section?.blocks ?? []) {
      const commands = script.replaceAll(/^export .*\n/gm, '')
      const since = Date.now()
      const { all, failed } = await execa('sh', ['-eu', '-c', commands], {
        cwd: repository,
        env: variables,
        all: true,
        reject: false,
      })
      t.comment(`${((Date.now() - since) / 1000).toFixed(1)} s: ${script}${all}`)
      t.ok(mayFail || !failed, script)
      for (const line of printed) t.match(all, pattern(line, exported), line)
      said.push(all)
    }
    transcript.push(...said)
    await check(t, said.join('\n'))
  })
}

const applied = () => stacksIn(/^applied (\w+) /gm)
const destroyed = () => stacksIn(/^destroyed (\w+) /gm)
const stacksIn = (line: RegExp) => [...transcript.join('\n').matchAll(line)].map(([, stack]) => stack)

/** Everything in the account that the environment could leave behind. */
const INVENTORY: Readonly<Record<string, readonly string[]>> = {
  ...RESOURCES,
  ...NETWORK_RESOURCES,
  databases: ['rds', 'describe-db-instances', '--query', 'DBInstances[].DBInstanceIdentifier'],
  caches: [
    ...['elasticache', 'describe-replication-groups', '--query'],
    'ReplicationGroups[].ReplicationGroupId',
  ],
  secrets: ['secretsmanager', 'list-secrets', '--query', 'SecretList[].Name'],
  certificates: ['acm', 'list-certificates', '--query', 'CertificateSummaryList[].DomainName'],
  topics: ['sns', 'list-topics', '--query', 'Topics'],
  alarms: ['cloudwatch', 'describe-alarms', '--query', 'MetricAlarms[].AlarmName'],
  roles: ['iam', 'list-roles', '--query', 'Roles[].RoleName'],
}

async function account(): Promise<Record<string, unknown[]>> {
  const found: Record<string, unknown[]> = {}
  for (const [what, query] of Object.entries(INVENTORY)) found[what] = (await aws(...query)).sort()
  return found
}

let bootstrapped: Record<string, unknown[]> = {}

await follow('Tools and credentials', async (t) => {
  t.strictSame([...exported.keys()], ['ENV', 'HOST'], 'this test replaces what the page sets')
})

await follow('Bootstrap', async (t) => {
  const { Contents } = await aws(
    's3api',
    'list-objects-v2',
    '--bucket',
    `fastify-eks-state-${ACCOUNT}-${REGION}`,
  )
  t.strictSame(
    Contents.map(({ Key }: { Key: string }) => Key),
    ['local/bootstrap.tfstate'],
    'the state is in the bucket',
  )
  t.match(await make('plan', { STACK: 'bootstrap' }), /^bootstrap \(local\): no changes$/m)
  bootstrapped = await account()
})

await follow('Network', async () => {})

await follow('Cluster', async (t) => {
  const ready = await kubectl('get', 'nodes', '--no-headers')
  t.match(ready, /( Ready .*\n.* Ready )/)
})

await follow('Database and cache', async () => {})

await follow('Platform', async (t, said) => {
  for (const stack of ['network', 'cluster', 'data', 'platform']) {
    t.match(said, new RegExp(`^${stack} \\(local\\): no changes$`, 'm'))
  }
})

await follow('Build and deploy', async (t, said) => {
  t.match(said, /^fastify-app is served at http:/m)
})

await follow('HTTPS under your domain', async (t, said) => {
  t.match(said, /^HTTP\/2 200/m)
  t.match(said, /^strict-transport-security: max-age=31536000/im)
  // Otherwise, `make deploy` names the command that is missing.
  t.notMatch(said, /make apply STACK=edge/, 'the name leads to the load balancer')
  const unverified = await execa('curl', ['-sS', '--unix-socket', socket, `https://${HOST}/readyz`], {
    reject: false,
  })
  t.equal(unverified.exitCode, 60, 'without the authority, curl refuses the certificate')
})

await follow('Tasks survive the pods', async (t, said) => {
  const [, afterRestart = ''] = said.split('successfully rolled out')
  t.match(afterRestart, /"title":"Read the page"/)
})

// Whether the SLO is met depends on the machine; the requests do not.
await follow(
  'Load test',
  async (t, said) => {
    t.match(said, /^[1-9]\d* requests, 0 failed, 0 dropped/m)
  },
  { mayFail: true },
)

await follow('Alarms', async (t) => {
  const stacks = globSync('infrastructure-hcl/*/versions.tf', { cwd: repository })
    .map((file) => basename(dirname(file)))
    .sort()
  t.strictSame([...new Set(applied())].sort(), stacks, 'the page has applied every stack')
})

await follow('Destroy', async (t) => {
  t.strictSame(destroyed().sort(), [...new Set(applied())].filter((stack) => stack !== 'bootstrap').sort())
  t.strictSame(await account(), bootstrapped)
})

t.equal(remaining.next().done, true, 'the page has no section that this test does not know')
