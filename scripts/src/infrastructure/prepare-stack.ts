/** Initialises stacks: where their files, modules, providers and states are. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { cp, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { HeadBucketCommand } from '@aws-sdk/client-s3'
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts'
import { pushImage } from 'eks-box/images'
import { awsEnvironment, type BoxConfig } from 'shared/box'
import { type Environment, type NetworkSource, REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, rootCause } from 'shared/errors'
import { builtProgram, CONTROLLERS, type Controller, chartsDirectory, imageLayout } from 'shared/tools'
import { awsClients, needsCredentials, readRegion } from './aws.ts'
import { useFirstState } from './first-state.ts'
import { canReachRegistry, chooseModules, type ModuleSource, writeManifest } from './modules.ts'
import { mirrorConfig, providerMirror } from './providers.ts'
import { run, STACKS, type Stack, type StackName } from './terraform.ts'

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')

/**
 * Initialises a stack: for AWS in the repository, for the box in a copy beside its state. The copy keeps the box's
 * lock file, with the checksums of the stand-ins, out of the repository.
 *
 * @throws ActionableError when modules, providers, credentials or the state are not available.
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
      ...terraformVariables(dataDirectory),
      ...(isLocal ? { ...awsEnvironment(box), PATH: pathWithAws(box) } : {}),
    },
    options: [
      ...variableFiles(name, environment.name).map((file) => `-var-file=${file}`),
      ...(name === 'cluster' && environment.network !== undefined
        ? [`-var=network=${environment.network}`]
        : []),
    ],
  }
  const state = await stateOf(name, environment)
  const backend =
    state.backend === 'local'
      ? []
      : [
          `-backend-config=${join(root, 'environments', environment.name, 'backend.hcl')}`,
          `-backend-config=bucket=${state.config['bucket']}`,
          `-backend-config=key=${state.config['key']}`,
        ]
  if (name === 'cluster') {
    stack.variables['TF_VAR_network_state'] = JSON.stringify(await stateOf('network', environment))
  }
  if (buildsOnCluster(name)) {
    stack.variables['TF_VAR_cluster_state'] = JSON.stringify(await stateOf('cluster', environment))
  }
  if (name === 'platform' && isLocal) Object.assign(stack.variables, await mirrorVariable(box))
  if (name === 'data') stack.variables['TF_VAR_passwords'] = JSON.stringify(newPasswords())
  if (name === 'alarms') {
    stack.variables['TF_VAR_states'] = JSON.stringify(await appliedStates(environment))
    // The bootstrap stack creates it. In the box, which is not bootstrapped, the stack creates a key of its own.
    if (!isLocal) stack.variables['TF_VAR_topic_key'] = 'alias/fastify-eks-alarms'
  }

  const choose = () =>
    chooseModules({
      mirror: environment.mirrors.modules,
      standIns: join(root, 'tests', 'stand-ins'),
      isLocal,
      canReachRegistry,
    })
  let modules: ModuleSource
  if (isLocal) {
    await copyStack(name, base)
    modules = await keepOrChooseModules(directory, statePath(box, name), choose)
    if (state.backend === 'local') {
      await writeFile(
        join(directory, 'backend_override.tf'),
        `terraform {\n  backend "local" {\n    path = "${statePath(box, name)}"\n  }\n}\n`,
      )
    }
  } else modules = await choose()
  if (name === 'bootstrap') {
    const first = {
      file: isLocal ? statePath(box, name) : join(directory, `${environment.name}.tfstate`),
      override: join(directory, 'backend_override.tf'),
      backend,
    }
    if (await useFirstState(first, () => stateBucketExists(environment))) stack.firstState = first
  }
  if (modules.kind !== 'registry') {
    await writeManifest(directory, dataDirectory, modules, builtProgram(box, 'terraform-config-inspect'))
  }
  const { providers } = environment.mirrors
  const offline = modules.kind !== 'registry' || providers !== undefined
  const mirror = offline ? providerMirror(providers) : undefined
  if (mirror !== undefined) {
    const file = join(dataDirectory, 'mirror.tfrc')
    await mkdir(dataDirectory, { recursive: true })
    await writeFile(file, mirrorConfig(mirror))
    stack.variables['TF_CLI_CONFIG_FILE'] = file
  }
  // CI refuses providers that the committed lock file lacks, instead of adding them to it.
  const lock = !isLocal && environment.isCi ? ['-lockfile=readonly'] : []
  await run(stack, ['init', '-no-color', '-reconfigure', ...lock, ...(stack.firstState ? [] : backend)])
  return stack
}

/**
 * Initialises the module that describes the platform's releases, in the box's copy of the stack. It needs no provider.
 *
 * @param cluster - the outputs of the cluster stack
 * @param described - the name of the environment to describe
 * @throws ActionableError when the charts are not built.
 */
export async function prepareDescription(
  environment: Environment,
  cluster: Record<string, unknown>,
  described: string,
): Promise<Stack> {
  const { box } = environment
  const base = join(box.stateDir, 'terraform')
  const directory = join(base, 'infrastructure-hcl', 'platform', 'releases')
  const dataDirectory = join(directory, '.terraform', environment.name)
  await copyStack('platform', base)
  await mkdir(dataDirectory, { recursive: true })
  const stack: Stack = {
    name: 'platform',
    environment,
    directory,
    dataDirectory,
    variables: {
      ...terraformVariables(dataDirectory),
      ...(await mirrorVariable(box)),
      TF_VAR_cluster: JSON.stringify(cluster),
    },
    options: variableFiles('platform', environment.name, described).map((file) => `-var-file=${file}`),
  }
  await run(stack, ['init', '-no-color'])
  return stack
}

/** A stack's state, as another stack reads it: the type of the backend, and its settings. */
export interface State {
  backend: 'local' | 's3'
  config: Record<string, string>
}

/** In the box, only the bootstrap stack has its state in the bucket, as on AWS. */
async function stateOf(name: StackName, environment: Environment): Promise<State> {
  if (environment.name === 'local' && name !== 'bootstrap') {
    return { backend: 'local', config: { path: statePath(environment.box, name) } }
  }
  const { name: bucket, region } = await stateBucket(environment)
  return { backend: 's3', config: { bucket, key: `${environment.name}/${name}.tfstate`, region } }
}

/** The stacks with resources that the alarms stack watches. */
const WATCHED: readonly string[] = ['network', 'cluster', 'data']

/** The states of the watched stacks, by the stack's name. Terraform cannot read a state that does not exist. */
async function appliedStates(environment: Environment): Promise<Record<string, State>> {
  const states: Record<string, State> = {}
  for (const name of stacksOf(environment)) {
    if (!WATCHED.includes(name)) continue
    const exists =
      environment.name === 'local'
        ? existsSync(statePath(environment.box, name))
        : (await run(await prepareStack(name, environment), ['state', 'pull'])).trim() !== ''
    if (exists) states[name] = await stateOf(name, environment)
  }
  return states
}

/** Whether a stack reads the outputs of the cluster stack. */
export function buildsOnCluster(name: StackName): boolean {
  return name === 'data' || name === 'platform'
}

/** Passwords that the data stack uses where it creates or rotates credentials: 240 random bits each. */
function newPasswords(): Record<'service' | 'migration' | 'cache', string> {
  const password = () => randomBytes(30).toString('base64url')
  return { service: password(), migration: password(), cache: password() }
}

function terraformVariables(dataDirectory: string): Record<string, string> {
  return {
    TF_DATA_DIR: dataDirectory,
    TF_IN_AUTOMATION: 'true',
    TF_INPUT: 'false',
    CHECKPOINT_DISABLE: 'true',
  }
}

/**
 * Pushes the controllers' images to the box's registry, in which its nodes look for images of public registries.
 *
 * @throws ActionableError when the images are not built, or the registry does not answer.
 */
export async function pushControllerImages(box: BoxConfig): Promise<void> {
  for (const controller of CONTROLLERS) {
    const layout = imageLayout(box, controller)
    requireBuilt(layout, controller)
    await pushImage(`http://127.0.0.1:${box.ports.registry}`, layout).catch((cause) => {
      throw new ActionableError(
        `the image of ${controller} cannot be pushed to the box's registry: ${rootCause(cause)}`,
        'check the box with `make status`, then run the command again',
        { cause },
      )
    })
  }
}

/** @throws ActionableError unless the tool's charts or image exist. */
function requireBuilt(path: string, controller: Controller): void {
  if (existsSync(path)) return
  throw new ActionableError(
    `${controller} is not built at the version that this checkout pins`,
    `build it with \`make tools TOOL=${controller}\``,
  )
}

/** The variable with the platform's charts in the box: one directory with the charts of all controllers. */
async function mirrorVariable(box: BoxConfig): Promise<Record<string, string>> {
  if (process.env['TF_VAR_chart_mirror']) return {}
  const mirror = join(box.stateDir, 'terraform', 'charts')
  await mkdir(mirror, { recursive: true })
  for (const controller of CONTROLLERS) {
    const charts = chartsDirectory(box, controller)
    requireBuilt(charts, controller)
    for (const file of readdirSync(charts)) {
      // Another run may be reading the present one.
      const fresh = join(mirror, `.${file}.${process.pid}`)
      await symlink(join(charts, file), fresh)
      await rename(fresh, join(mirror, file))
    }
  }
  return { TF_VAR_chart_mirror: mirror }
}

/** The platform stack's provider gets its token from the AWS CLI; in the box, from the box's own. */
function pathWithAws(box: BoxConfig): string {
  return [dirname(builtProgram(box, 'aws')), process.env['PATH']].join(delimiter)
}

/**
 * Chooses where the box's copy of a stack takes its modules from. A stack with resources keeps its source, because the
 * modules of another source create different resources. Otherwise `choose` decides; if its choice differs from the last
 * one, Terraform's files go too, because init would keep the former modules and providers.
 */
async function keepOrChooseModules(
  directory: string,
  state: string,
  choose: () => Promise<ModuleSource>,
): Promise<ModuleSource> {
  const record = join(directory, '.terraform', 'modules-from.json')
  const previous = existsSync(record) ? await readFile(record, 'utf8') : undefined
  if (previous !== undefined && (await hasResources(state))) return JSON.parse(previous) as ModuleSource
  const chosen = await choose()
  if (previous === JSON.stringify(chosen)) return chosen
  for (const stale of ['.terraform', '.terraform.lock.hcl']) {
    await rm(join(directory, stale), { recursive: true, force: true })
  }
  await mkdir(join(directory, '.terraform'), { recursive: true })
  await writeFile(record, JSON.stringify(chosen))
  return chosen
}

/** Whether a state file contains resources. */
export async function hasResources(state: string): Promise<boolean> {
  if (!existsSync(state)) return false
  const { resources } = JSON.parse(await readFile(state, 'utf8')) as { resources: unknown[] }
  return resources.length > 0
}

/**
 * The files with a stack's variables. The cluster's network and the domain have their own files, because `make cost` plans
 * every environment's stacks in the network and the domain of the box. The box also has files for the architecture of
 * this machine's processor.
 */
export function variableFiles(
  name: StackName,
  network: string,
  environment = network,
  processor: string = process.arch,
): string[] {
  const directory = join(root, 'environments', environment)
  const architecture = join(directory, `${name}.${processor === 'x64' ? 'amd64' : processor}.tfvars`)
  return [
    ...(name === 'cluster' ? [join(root, 'environments', network, networkFile)] : []),
    ...(name === 'edge' ? [join(root, 'environments', network, 'domain.tfvars')] : []),
    join(directory, `${name}.tfvars`),
    ...(existsSync(architecture) ? [architecture] : []),
  ]
}

/** The file with the choice of the cluster's network. */
const networkFile = 'cluster.network.tfvars'

/**
 * Where the environment's cluster gets its network from: `NETWORK`, or the line in the environment's files.
 *
 * @throws ActionableError when there is neither.
 */
export async function networkSource({ name, network }: Environment): Promise<NetworkSource> {
  if (network !== undefined) return network
  const path = join('infrastructure-hcl', 'environments', name, networkFile)
  const text = await readFile(join(REPOSITORY_ROOT, path), 'utf8')
  const chosen = /^network\s*=\s*"(stack|existing)"/m.exec(text)?.[1]
  if (chosen !== undefined) return chosen as NetworkSource
  throw new ActionableError(
    `${path} does not say where the network comes from`,
    'add the line: network = "stack" or network = "existing"',
  )
}

/** An environment's stacks in the order of application. Bootstrap is applied once, by name. */
export function stacksOf({ name }: Environment): StackName[] {
  const files = readdirSync(join(root, 'environments', name))
  return STACKS.filter((stack) => files.includes(`${stack}.tfvars`))
}

/** The box's state file of a stack. */
export function statePath(box: BoxConfig, name: StackName): string {
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
 * The state bucket that the bootstrap stack created, named after the account and the region.
 *
 * @throws ActionableError when the caller is not signed in to AWS.
 */
export async function stateBucket(environment: Environment): Promise<{ name: string; region: string }> {
  const region = await readRegion(environment, 'backend.hcl')
  const { sts } = awsClients(environment, region)
  try {
    const { Account } = await sts.send(new GetCallerIdentityCommand({}))
    return { name: `fastify-eks-state-${Account}-${region}`, region }
  } catch (cause) {
    throw needsCredentials(environment, cause)
  }
}

/** @throws ActionableError when the caller is not signed in to AWS, or may not read the bucket. */
async function stateBucketExists(environment: Environment): Promise<boolean> {
  const { name: Bucket, region } = await stateBucket(environment)
  try {
    await awsClients(environment, region).s3.send(new HeadBucketCommand({ Bucket }))
    return true
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'NotFound') return false
    throw new ActionableError(
      `the state bucket ${Bucket} cannot be read: ${rootCause(cause)}`,
      'use the credentials of an administrator of the account',
      { cause },
    )
  }
}
