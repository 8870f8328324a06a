import { existsSync, readdirSync } from 'node:fs'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { builtProgram } from 'eks-box/tools'
import { execa } from 'execa'
import { awsEnvironment, type BoxConfig } from 'shared/box'
import { type Environment, REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { chooseModules, type ModuleSource, reachesRegistry, writeManifest } from './modules.ts'

/** The stacks, in the order in which they build on one another. */
export const STACKS = ['bootstrap', 'cluster', 'platform'] as const
export type StackName = (typeof STACKS)[number]

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')

/** A stack of an environment, ready for Terraform's commands. */
export interface Stack {
  name: StackName
  environment: Environment
  directory: string
  /** Holds modules, providers and saved plans; one for each environment. */
  dataDirectory: string
  /** What Terraform finds in its environment. */
  variables: Record<string, string | undefined>
  /** Options of every command that reads variables. */
  options: string[]
}

/**
 * How long a command waits for another run's lock on the state. Enough for a plan or a short apply; longer than that,
 * the operator should know who holds it.
 */
export const LOCK_TIMEOUT = '-lock-timeout=2m'

/** A line of what Terraform says with -json. */
interface Message {
  '@level': string
  '@message': string
  type: string
  diagnostic?: Diagnostic
}

interface Diagnostic {
  severity: string
  summary: string
  detail: string
  address?: string
  range?: { filename: string; start: { line: number } }
}

/** Causes that Terraform's messages give away, and what to do about each. */
const remedies: readonly { pattern: RegExp; nextStep: (stack: Stack) => string }[] = [
  {
    pattern: /Error acquiring the state lock/,
    nextStep: () =>
      'wait for the run that holds it; if it was killed, release the lock: `terraform force-unlock <ID>` in the stack',
  },
  {
    pattern: /Resource already managed by Terraform/,
    nextStep: () => 'another run has recorded it in the meantime: run the command again',
  },
  {
    pattern: /No valid credential sources|ExpiredToken|InvalidClientTokenId|could not be found in the shared/,
    nextStep: () => 'sign in to AWS (`aws sso login`, or AWS_PROFILE), then run the command again',
  },
  {
    pattern: /Failed to query available provider packages|no available releases match|Incompatible provider/,
    nextStep: () =>
      'set TERRAFORM_PROVIDER_MIRROR to a directory made by `terraform providers mirror` (docs/infrastructure.md, without internet access)',
  },
  {
    pattern: /remote module registry|[Mm]odule is not yet installed|discovery document|connect to registry/,
    nextStep: () =>
      'check the network and the proxy settings, or set TERRAFORM_MODULE_MIRROR to a directory with the modules (docs/infrastructure.md, without internet access)',
  },
  {
    pattern: /recorded in the dependency lock file|Provider dependency changes detected|locked provider/,
    nextStep: () =>
      'use the official package of that version; after a change of versions.tf, `terraform init -upgrade` in the stack updates .terraform.lock.hcl: commit it',
  },
  {
    pattern: /ECONNREFUSED|connection refused|no such host/,
    nextStep: ({ environment }) =>
      environment.usesBox ? 'start the box with `make box`' : 'check the network and the proxy settings',
  },
]

/**
 * Makes a stack ready: in place for AWS; for the box in a copy beside its state, so that what init writes there,
 * made-up checksums above all, never reaches the repository.
 *
 * @throws ActionableError when modules, providers, credentials or the state cannot be had.
 */
export async function prepareStack(name: StackName, environment: Environment): Promise<Stack> {
  const { box } = environment
  if (!stacksOf(environment).includes(name)) {
    throw new ActionableError(
      `the stack ${name} is not part of ${environment.name}`,
      `choose STACK from ${stacksOf(environment).join(', ')}`,
    )
  }
  const isLocal = environment.name === 'local'
  const base = join(box.stateDir, 'terraform')
  const directory = isLocal ? join(base, 'infrastructure-hcl', name) : join(root, name)
  const dataDirectory = join(directory, '.terraform', environment.name)
  const stack: Stack = {
    name,
    environment,
    directory,
    dataDirectory,
    variables: {
      TF_DATA_DIR: dataDirectory,
      TF_IN_AUTOMATION: 'true',
      TF_INPUT: 'false',
      CHECKPOINT_DISABLE: 'true',
      ...(isLocal ? { ...awsEnvironment(box), PATH: pathWithAws(box) } : {}),
    },
    options: variableFiles(name, environment.name).map((file) => `-var-file=${file}`),
  }
  const backend: string[] = []
  let clusterState: object
  if (isLocal) {
    clusterState = { backend: 'local', config: { path: statePath(box, 'cluster') } }
  } else {
    const bucket = await stateBucket(environment)
    const key = (other: StackName) => `${environment.name}/${other}.tfstate`
    backend.push(
      `-backend-config=${join(root, 'environments', environment.name, 'backend.hcl')}`,
      `-backend-config=bucket=${bucket.name}`,
      `-backend-config=key=${key(name)}`,
    )
    clusterState = {
      backend: 's3',
      config: { bucket: bucket.name, key: key('cluster'), region: bucket.region },
    }
  }
  if (name === 'platform') stack.variables['TF_VAR_cluster_state'] = JSON.stringify(clusterState)

  const choose = () =>
    chooseModules({
      mirror: process.env['TERRAFORM_MODULE_MIRROR'],
      standIns: join(root, 'tests', 'stand-ins'),
      isLocal,
      registryAnswers: reachesRegistry,
    })
  let modules: ModuleSource
  if (isLocal) {
    await copyStack(name, base)
    modules = await settleModules(directory, statePath(box, name), choose)
    await writeFile(
      join(directory, 'backend_override.tf'),
      `terraform {\n  backend "local" {\n    path = "${statePath(box, name)}"\n  }\n}\n`,
    )
  } else modules = await choose()
  if (modules.kind !== 'registry') {
    await writeManifest(directory, dataDirectory, modules, builtProgram(box, 'terraform-config-inspect'))
  }
  const offline = modules.kind !== 'registry' || Boolean(process.env['TERRAFORM_PROVIDER_MIRROR'])
  const mirror = offline ? providerMirror() : undefined
  if (mirror !== undefined) {
    const file = join(dataDirectory, 'mirror.tfrc')
    await mkdir(dataDirectory, { recursive: true })
    await writeFile(file, mirrorConfig(mirror))
    stack.variables['TF_CLI_CONFIG_FILE'] = file
  }
  // In CI a provider that the lock file does not know is refused, not written to the lock file.
  const lock = !isLocal && process.env['CI'] === 'true' ? ['-lockfile=readonly'] : []
  await run(stack, ['init', '-no-color', '-reconfigure', ...lock, ...backend])
  return stack
}

/** The AWS CLI that the platform's provider signs in with is, in the box, the box's own. */
function pathWithAws(box: BoxConfig): string {
  return [dirname(builtProgram(box, 'aws')), process.env['PATH']].join(delimiter)
}

/**
 * Where the box's copy of a stack takes its modules from. Once applied, it keeps its source, because resources of one
 * source are not those of another. With nothing applied, `choose` decides, and everything that an earlier init left is
 * removed: Terraform would keep those modules and the providers that went with them.
 */
async function settleModules(
  directory: string,
  state: string,
  choose: () => Promise<ModuleSource>,
): Promise<ModuleSource> {
  const record = join(directory, '.terraform', 'modules-from.json')
  const former = existsSync(record) ? await readFile(record, 'utf8') : undefined
  if (former !== undefined && (await holdsResources(state))) return JSON.parse(former) as ModuleSource
  const chosen = await choose()
  if (former === JSON.stringify(chosen)) return chosen
  for (const left of ['.terraform', '.terraform.lock.hcl']) {
    await rm(join(directory, left), { recursive: true, force: true })
  }
  await mkdir(join(directory, '.terraform'), { recursive: true })
  await writeFile(record, JSON.stringify(chosen))
  return chosen
}

async function holdsResources(state: string): Promise<boolean> {
  if (!existsSync(state)) return false
  const { resources } = JSON.parse(await readFile(state, 'utf8')) as { resources: unknown[] }
  return resources.length > 0
}

/** The files with a stack's variables; the cluster's network, which is somebody else's, has one of its own. */
function variableFiles(name: StackName, network: string, environment = network): string[] {
  const own = join(root, 'environments', environment, `${name}.tfvars`)
  return name === 'cluster' ? [join(root, 'environments', network, 'network.tfvars'), own] : [own]
}

/**
 * Plans the cluster stack of any environment from nothing in the box, with the box's network in place of the
 * environment's own: what the environment would create, without an account.
 *
 * @param local the environment of the box.
 * @param wanted the environment to plan.
 * @returns the plan, as `terraform show -json` gives it.
 * @throws ActionableError when it cannot be planned.
 */
export async function planFromNothing(local: Environment, wanted: string): Promise<string> {
  const stack = await prepareStack('cluster', local)
  const file = join(stack.dataDirectory, `${wanted}-from-nothing`)
  const options = variableFiles('cluster', local.name, wanted).map((name) => `-var-file=${name}`)
  await follow(stack, ['plan', `-out=${file}`, `-state=${file}.tfstate`, ...options], () => {})
  return run(stack, ['show', '-json', file])
}

/**
 * The outputs of an environment's cluster stack; none of them when it is not applied.
 *
 * @throws ActionableError when its state cannot be read.
 */
export async function clusterOutputs(environment: Environment): Promise<Record<string, string | undefined>> {
  const state = statePath(environment.box, 'cluster')
  let text: string
  if (environment.name !== 'local') {
    text = await run(await prepareStack('cluster', environment), ['output', '-json'])
  } else if (existsSync(state)) {
    // Straight from the file: no stack to prepare, no plugin to start.
    text = await readOutputs(state)
  } else return {}
  const outputs = JSON.parse(text) as Record<string, { value: unknown }>
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { value }]) => [name, typeof value === 'string' ? value : undefined]),
  )
}

async function readOutputs(file: string): Promise<string> {
  try {
    return (await execa('terraform', ['output', `-state=${file}`, '-json'], { cwd: dirname(file) })).stdout
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw terraformMissing()
    throw error
  }
}

/** A resource in a state, wherever it is declared. */
export interface StateResource {
  address: string
  type: string
  /** Set when its creation was not seen to the end. */
  tainted?: boolean
  values: Record<string, unknown>
}

/** What Terraform knows of a stack. A destroy that has begun has forgotten the outputs already. */
export interface StackState {
  outputs: Record<string, unknown>
  resources: StateResource[]
}

interface StateModule {
  resources?: (StateResource & { mode: string })[]
  child_modules?: StateModule[]
}

/**
 * Reads a stack's state.
 *
 * @throws ActionableError when it cannot be read.
 */
export async function readState(stack: Stack): Promise<StackState> {
  return parseState(await run(stack, ['show', '-json']))
}

/** Reads a state as `terraform show -json` prints it; without values when there is nothing in it. */
export function parseState(json: string): StackState {
  const { values } = JSON.parse(json) as {
    values?: { outputs?: Record<string, { value?: unknown }>; root_module?: StateModule }
  }
  const flatten = ({ resources = [], child_modules = [] }: StateModule): StateResource[] => [
    ...resources.filter(({ mode }) => mode === 'managed'),
    ...child_modules.flatMap(flatten),
  ]
  const outputs = Object.entries(values?.outputs ?? {}).map(([name, { value }]) => [name, value])
  return { outputs: Object.fromEntries(outputs), resources: flatten(values?.root_module ?? {}) }
}

/** The cluster and region that the cluster stack's variables name, whatever is applied. */
export interface DeclaredCluster {
  name: string
  region: string
}

/** @throws ActionableError when the variables are incomplete. */
export async function declaredCluster(stack: Stack): Promise<DeclaredCluster> {
  const expression = 'jsonencode({ name = var.cluster_name, region = var.region })\n'
  const answer = await run(stack, ['console', ...stack.options], expression)
  // A text of HCL that holds JSON.
  return JSON.parse(JSON.parse(answer) as string) as DeclaredCluster
}

/** Whether a stack was ever applied, even if nothing of it is left. */
export async function wasApplied(stack: Stack): Promise<boolean> {
  return (await run(stack, ['state', 'pull'])).trim() !== ''
}

/** The stacks an environment has, in the order in which they are applied; bootstrap is applied once, by hand. */
export function stacksOf({ name }: Environment): StackName[] {
  const files = readdirSync(join(root, 'environments', name))
  return STACKS.filter((stack) => files.includes(`${stack}.tfvars`))
}

/** Whether a stack was ever applied in the box. */
export function hasLocalState({ name: environment, box }: Environment, name: StackName): boolean {
  return environment === 'local' && existsSync(statePath(box, name))
}

/** Where the box keeps a stack's state. */
function statePath(box: BoxConfig, name: StackName): string {
  return join(box.stateDir, 'terraform', `${name}.tfstate`)
}

async function copyStack(name: StackName, base: string): Promise<void> {
  for (const part of [join('infrastructure-hcl', name), join('helm', 'karpenter-nodes')]) {
    const [from, to] = [join(REPOSITORY_ROOT, part), join(base, part)]
    if (!existsSync(from)) continue
    await mkdir(to, { recursive: true })
    const stale = readdirSync(to).filter((entry) => !['.terraform', '.terraform.lock.hcl'].includes(entry))
    for (const entry of stale) await rm(join(to, entry), { recursive: true })
    await cp(from, to, {
      recursive: true,
      filter: (path) => !/\.terraform|tests/.test(path.slice(from.length)),
    })
  }
}

/**
 * The bucket that bootstrap made for this account's states, named after the account and the environment's region. The
 * region of the caller's shell has no say: it may be set for other work.
 */
async function stateBucket(environment: Environment): Promise<{ name: string; region: string }> {
  const file = join('infrastructure-hcl', 'environments', environment.name, 'backend.hcl')
  const text = await readFile(join(REPOSITORY_ROOT, file), 'utf8')
  const region = /^region\s*=\s*"([a-z0-9-]+)"/m.exec(text)?.[1]
  if (region === undefined) {
    throw new ActionableError(`${file} names no region`, 'add the region of the state bucket: region = "..."')
  }
  try {
    const { Account } = await new STSClient({ region }).send(new GetCallerIdentityCommand({}))
    return { name: `fastify-eks-state-${Account}-${region}`, region }
  } catch (cause) {
    throw new ActionableError(
      `ENV=${environment.name} needs AWS credentials: ${cause instanceof Error ? cause.message : cause}`,
      'sign in to AWS (`aws sso login`, or AWS_PROFILE), then run the command again',
      { cause },
    )
  }
}

/** A directory with providers: the one `TERRAFORM_PROVIDER_MIRROR` names, or one somebody put on this machine. */
export function providerMirror(): string | undefined {
  const named = process.env['TERRAFORM_PROVIDER_MIRROR']
  const installed = ['/opt', '/usr/local/share/terraform', '/usr/share/terraform']
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((entry) => join(directory, entry)))
  return [...(named ? [named] : []), ...installed].find((directory) =>
    existsSync(join(directory, 'registry.terraform.io')),
  )
}

/** Terraform's configuration that takes the providers a mirror has from there, and the others from the registry. */
export function mirrorConfig(mirror: string): string {
  const host = join(mirror, 'registry.terraform.io')
  const providers = readdirSync(host).flatMap((namespace) =>
    readdirSync(join(host, namespace)).map((type) => `registry.terraform.io/${namespace}/${type}`),
  )
  const list = JSON.stringify(providers)
  return `provider_installation {
  filesystem_mirror {
    path    = ${JSON.stringify(mirror)}
    include = ${list}
  }
  direct {
    exclude = ${list}
  }
}
`
}

/**
 * Runs a Terraform command and waits for it.
 *
 * @param input for the commands that read some.
 * @returns what it printed.
 * @throws ActionableError with its errors and what to do about them.
 */
export async function run(stack: Stack, args: string[], input?: string): Promise<string> {
  const result = await execa('terraform', args, {
    ...(input === undefined ? {} : { input }),
    cwd: stack.directory,
    env: stack.variables,
    reject: false,
    all: true,
  })
  if (result.code === 'ENOENT') throw terraformMissing()
  if (result.failed) {
    const said = (result.all ?? '').replace(/^[│╷╵]\s?/gm, '')
    const first = /^Error: [\s\S]*?(?=\n\n\n|\nError: |$)/m.exec(said)?.[0] ?? said
    const brief = first
      .replace(/^Error: /, '')
      .replace(/\s+/g, ' ')
      .trim()
    throw failure(stack, `terraform ${args[0]}: ${brief.slice(0, 600)}`, brief)
  }
  return result.stdout ?? ''
}

/**
 * Runs a Terraform command that reports as it goes, and passes on what happens.
 *
 * @param onMessage is told each line worth reading.
 * @throws ActionableError with its errors, one a line, and what to do about the first.
 */
export async function follow(
  stack: Stack,
  args: string[],
  onMessage: (message: string) => void,
): Promise<void> {
  const [command = '', ...rest] = args
  const running = execa('terraform', [command, '-json', ...rest], {
    cwd: stack.directory,
    env: stack.variables,
    reject: false,
    // Ctrl-C reaches Terraform itself, which ends what it has begun and writes its state.
    cleanup: false,
  })
  let interrupted = false
  const onInterrupt = () => {
    interrupted = true
  }
  process.on('SIGINT', onInterrupt)
  const errors: Diagnostic[] = []
  const unreadable: string[] = []
  for await (const line of running.iterable()) {
    const message = parseMessage(line)
    if (message === undefined) unreadable.push(line)
    else if (message.diagnostic?.severity === 'error') errors.push(message.diagnostic)
    else if (/^(apply_complete|refresh_complete|apply_progress)$/.test(message.type)) {
      if (message.type !== 'refresh_complete') onMessage(message['@message'])
    }
  }
  const result = await running
  process.removeListener('SIGINT', onInterrupt)
  if (result.code === 'ENOENT') throw terraformMissing()
  if (!result.failed) return
  if (interrupted) {
    throw new ActionableError(
      `${stack.name} (${stack.environment.name}): interrupted; its state is saved`,
      'nothing is lost: run the command again, it goes on from there',
    )
  }
  const lines = errors.map(describe)
  const message = lines.length > 0 ? lines.join('\n') : [...unreadable, result.stderr].join('\n').trim()
  throw failure(stack, `${stack.name} (${stack.environment.name}): ${message}`, message, command)
}

function parseMessage(line: string): Message | undefined {
  try {
    return JSON.parse(line) as Message
  } catch {
    return undefined
  }
}

/** An error in one line: what is wrong, why, and where. */
export function describe({ summary, detail, address, range }: Diagnostic): string {
  const why = detail
    .replace(/\n\nThis was checked by the validation rule at [\s\S]*$/, '')
    .replace(/\s+/g, ' ')
    .trim()
  const general = [
    'Invalid value for variable',
    'Resource postcondition failed',
    'Resource precondition failed',
  ]
  const what = why === '' ? summary : general.includes(summary) ? why : `${summary}: ${why}`
  const where = address ?? (range === undefined ? undefined : `${range.filename}:${range.start.line}`)
  return where === undefined ? what : `${what} (${where})`
}

function failure(stack: Stack, message: string, evidence: string, command = 'init'): ActionableError {
  const remedy = remedies.find(({ pattern }) => pattern.test(evidence))
  const file = `infrastructure-hcl/environments/${stack.environment.name}/${stack.name}.tfvars`
  const usual =
    command === 'apply'
      ? 'nothing is lost: fix the cause and run the command again, it goes on from there'
      : `correct it, most likely in ${file}; nothing was changed`
  return new ActionableError(message, remedy?.nextStep(stack) ?? usual)
}

function terraformMissing(): ActionableError {
  return new ActionableError(
    'terraform is not installed',
    'install Terraform 1.11 or newer, then run the command again (`make doctor` lists everything needed)',
  )
}
