#!/usr/bin/env node
import { createReadStream, existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Argument, Command, Option } from 'commander'
import { execa } from 'execa'
import { Listr, type ListrTask } from 'listr2'
import { awsEnvironment, type BoxConfig, kubeconfigPath, readBoxConfig } from 'shared/box'
import { readEnvironment, requireBox } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import {
  BOX_TOOLS,
  MONITORING_TOOLS,
  missingTools,
  programPath,
  TOOL_NAMES,
  TOOLS,
  type Tool,
  UP_TOOLS,
} from 'shared/tools'
import { COMPONENT_NAMES, type ComponentName, NODE_COMPONENT_NAMES } from './components/component.ts'
import { awaitReady, isCurrent, removeBox, runningBox, startBox, stopBox } from './lifecycle/box.ts'
import { exportLogs } from './lifecycle/log-export.ts'
import { insideBox, notRunning } from './lifecycle/namespaces.ts'
import { handOver, handOverTools } from './lifecycle/ownership.ts'
import { checkMachine, requireRoot } from './lifecycle/preconditions.ts'
import type { BoxStatus, ComponentStatus } from './lifecycle/status.ts'
import { installMonitoring } from './monitoring/monitoring.ts'
import { type NodeStatus, readNodes } from './node/status.ts'
import { BOX_PACKAGES, MONITORING_PACKAGES, PACKAGES, type Package } from './packages.ts'
import { boxPaths, nodePaths } from './state-directory.ts'
import { buildCache } from './tools/go.ts'
import { elapsed, prepareTasks } from './tools/prepare.ts'
import { markUsed, removeUnused } from './tools/unused.ts'

// Redraw progress in a terminal; print plain lines elsewhere.
const watched = process.stdout.isTTY && process.env['CI'] !== 'true'
/** The logs that each node has; `node` is its first process. */
const nodeLogs = ['node', ...NODE_COMPONENT_NAMES] as const
/** The component of a log; `box` is the box's own processes. */
type Log = ComponentName | 'box' | 'node'
/** Interval between progress reports of a build, in milliseconds. */
const progressInterval = watched ? 100 : 15_000

function stopTask(config: BoxConfig): ListrTask {
  return {
    title: `Stop box ${config.name}, because its code or settings have changed`,
    task: () => stopBox(config),
  }
}

function startTask(config: BoxConfig, interrupt: AbortSignal): ListrTask {
  return {
    title: `Start box ${config.name}`,
    task: async (_, task) => {
      const since = Date.now()
      await startBox(
        config,
        ({ components }) => {
          const ready = components.filter(({ state }) => state === 'ready')
          const starting = components.filter(({ state }) => state === 'starting').map(({ name }) => name)
          task.output = `${ready.length} of ${components.length} ready; starting ${starting.join(', ')}`
        },
        interrupt,
      )
      await handOver(config, process.env)
      task.title = `Started box ${config.name}: ${COMPONENT_NAMES.length} components ready (${elapsed(since)})`
    },
  }
}

async function perform(tasks: ListrTask[]): Promise<void> {
  await new Listr(tasks, {
    renderer: watched ? 'default' : 'simple',
    rendererOptions: { collapseErrors: false, showErrorMessage: false },
    registerSignalListeners: false,
  }).run()
}

/** Builds and installs what is missing; returns whether there was anything to do. */
async function prepare(
  config: BoxConfig,
  tools: readonly Tool[],
  packages: readonly Package[],
  interrupt: AbortSignal,
): Promise<boolean> {
  const tasks = prepareTasks(config, tools, packages, interrupt, progressInterval)
  if (tasks.length > 0) {
    try {
      await perform(tasks)
    } catch (error) {
      // What is still ending may remove files meanwhile; the cause of the failure matters more.
      await handOverTools(config, process.env).catch(() => {})
      throw error
    }
    await handOverTools(config, process.env)
    for (const name of await removeUnused(config)) console.log(`removed ${name}, unused for two weeks`)
  }
  await markUsed(config, tools)
  return tasks.length > 0
}

/** A signal that Ctrl-C aborts, so that the current task shuts down in order. */
function interruption(): AbortSignal {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort())
  return interrupted.signal
}

/** Starts the box, unless it runs. Builds the tools of all steps of `make up` first, or `onlyOwnTools`. */
async function up(config: BoxConfig, { onlyOwnTools }: { onlyOwnTools?: true }): Promise<void> {
  const wanted = onlyOwnTools ? BOX_TOOLS : UP_TOOLS
  requireBox(readEnvironment(process.env))
  const interrupt = interruption()
  const running = await runningBox(config)
  const reusable = running !== undefined && running.phase !== 'stopping' && isCurrent(config, running)
  if (reusable && missingTools(config, wanted).length === 0) {
    await markUsed(config, wanted)
    if (running.phase !== 'ready') {
      console.log(`box ${config.name} is ${running.phase}: waiting until every component is ready`)
    }
    await awaitReady(config, running, interrupt)
    if (process.getuid?.() === 0) await handOver(config, process.env)
    console.log(`box ${config.name} is up: nothing to build, ${running.components.length} components running`)
    return
  }
  await checkMachine(config, running)
  // The running box is stopped only after everything that the new one needs is installed and built.
  await prepare(config, wanted, BOX_PACKAGES, interrupt)
  await perform([...(running === undefined ? [] : [stopTask(config)]), startTask(config, interrupt)])
}

/** Installs Prometheus and its companions in the running box, or updates them. */
async function monitoring(config: BoxConfig): Promise<void> {
  requireBox(readEnvironment(process.env))
  if ((await runningBox(config)) === undefined) throw await notRunning(config)
  requireRoot(`box ${config.name} belongs to root`, 'monitoring')
  await prepare(config, MONITORING_TOOLS, MONITORING_PACKAGES, interruption())
  await perform([
    {
      title: 'Install monitoring',
      task: async (_, task) => {
        const since = Date.now()
        await installMonitoring(config, (step) => {
          task.output = step
        })
        task.title = `Installed monitoring (${elapsed(since)})`
      },
    },
  ])
  console.log(`Prometheus is served at http://127.0.0.1:${config.ports.prometheus}`)
}

async function stop(config: BoxConfig): Promise<void> {
  const running = await runningBox(config)
  await stopBox(config)
  console.log(
    running === undefined
      ? `box ${config.name} is not running`
      : `box ${config.name} is stopped; \`make up\` starts it again with its data`,
  )
}

async function down(config: BoxConfig): Promise<void> {
  const existed = await removeBox(config)
  console.log(existed ? `removed box ${config.name}` : `there is no box ${config.name}`)
}

async function status(config: BoxConfig): Promise<void> {
  const running = await runningBox(config)
  if (running === undefined) throw await notRunning(config)
  const nodes = await readNodes(config)
  printStatus(config, running, nodes)
  const parts = [...running.components, ...nodes, ...nodes.flatMap(({ components }) => components)]
  if (parts.some(({ state, message }) => state !== 'ready' || message !== undefined)) process.exitCode = 1
}

function printStatus(
  config: BoxConfig,
  { phase, components }: BoxStatus,
  nodes: readonly NodeStatus[],
): void {
  console.log(`box ${config.name}: ${phase}\n`)
  console.log(`${'COMPONENT'.padEnd(26)}${'STATE'.padEnd(12)}${'PID'.padEnd(8)}RESTARTS`)
  for (const component of components) printComponent(component)
  for (const { name, instanceId, instanceType, zone, state, components: ofNode, message } of nodes) {
    console.log(`\nnode ${name}: ${state} (${instanceId}, ${instanceType}, ${zone})`)
    if (message !== undefined) console.log(`  ${message}`)
    for (const component of ofNode) printComponent(component)
  }
  if (nodes.length === 0) console.log('\nno nodes: `make apply` creates the node group')
  console.log(`
service     http://127.0.0.1:${config.ports.service}
API server  https://127.0.0.1:${config.ports.api}
registry    http://127.0.0.1:${config.ports.registry}
AWS         http://127.0.0.1:${config.ports.aws}
Prometheus  http://127.0.0.1:${config.ports.prometheus}, after \`make monitoring\`
kubeconfig  ${kubeconfigPath(config)}
logs        ${boxPaths(config).logs}
process ids are those inside the box: \`make exec CMD="ps ax"\` lists them`)
}

function printComponent({ name, state, pid, restarts, message, nextStep }: ComponentStatus): void {
  console.log(`${name.padEnd(26)}${state.padEnd(12)}${String(pid ?? '-').padEnd(8)}${restarts}`)
  if (message !== undefined) console.log(`  ${message}`)
  if (nextStep !== undefined) console.log(`  next: ${nextStep}`)
}

/** The directory with the log of `component`: that of the box, or of a node. */
async function logDirectory(config: BoxConfig, component: Log, node?: string): Promise<string> {
  if (!nodeLogs.some((name) => name === component)) return boxPaths(config).logs
  const nodes = await readNodes(config)
  const [first, ...others] = nodes.filter(
    ({ name, instanceId }) => node === undefined || name.startsWith(node) || instanceId === node,
  )
  if (first === undefined) {
    throw new ActionableError(
      node === undefined ? 'the box has no nodes' : `the box has no node ${node}`,
      'run `make status` to list the nodes; `make apply` creates the node group',
    )
  }
  if (others.length > 0) {
    throw new ActionableError(
      `each of ${others.length + 1} nodes has a log of ${component}`,
      `choose one: make logs C='${component} --node=${first.name.split('.')[0]}'`,
    )
  }
  return nodePaths(config, first).logs
}

async function logs(
  config: BoxConfig,
  component: Log,
  { follow, node }: { follow?: boolean; node?: string },
): Promise<void> {
  const path = join(await logDirectory(config, component, node), `${component}.log`)
  if (!existsSync(path)) {
    throw new ActionableError(`${component} has no log in ${dirname(path)}`, 'start the box with `make up`')
  }
  if (follow) await execa('tail', ['-n', '+1', '-F', path], { stdio: 'inherit', reject: false })
  else await pipeline(createReadStream(path), process.stdout, { end: false })
}

/** Runs a command in the box's mount, network and PID namespaces. */
async function exec(config: BoxConfig, command: string[]): Promise<void> {
  const inside = await insideBox(config, command, "exec CMD='...'")
  const [file, ...args] = inside.command
  const result = await execa(file, args, {
    stdio: 'inherit',
    reject: false,
    env: inside.environment,
    extendEnv: false,
  })
  process.exitCode = result.exitCode ?? 1
}

async function kubeconfig(config: BoxConfig): Promise<void> {
  const path = kubeconfigPath(config)
  if (!existsSync(path)) {
    throw new ActionableError(`box ${config.name} has no kubeconfig yet`, 'start it with `make up`')
  }
  console.log(path)
}

async function logsExport(config: BoxConfig, file?: string): Promise<void> {
  const archive = resolve(file ?? `eks-box-${config.name}-logs.tar.gz`)
  await exportLogs(config, archive)
  console.log(archive)
}

/** Prints shell lines that give the caller the pinned programs, the box's cluster and its AWS. */
function environment(config: BoxConfig): void {
  const directories = new Set(
    TOOL_NAMES.flatMap((tool) => TOOLS[tool].programs).map((program) =>
      dirname(programPath(config, program)),
    ),
  )
  console.log(`export KUBECONFIG='${kubeconfigPath(config)}'`)
  for (const [variable, value] of Object.entries(awsEnvironment(config))) {
    console.log(value === undefined ? `unset ${variable}` : `export ${variable}='${value}'`)
  }
  console.log(`export PATH='${[...directories].join(':')}':"$PATH"`)
}

/** Packages without which a tool cannot be built. */
function packagesToBuild(tools: readonly Tool[]): string[] {
  return tools.some((tool) => TOOLS[tool].installer === 'pip') ? ['python3-venv'] : []
}

/** Builds `names`, and installs `packages` with what the build needs; everything when neither is given. */
async function tools(
  config: BoxConfig,
  names: readonly Tool[],
  { package: packages = [], quiet }: { package?: string[]; quiet?: true },
): Promise<void> {
  const all = names.length === 0 && packages.length === 0
  const chosen = all ? TOOL_NAMES : names
  const needed = [...packages, ...packagesToBuild(missingTools(config, chosen))]
  const prepared = await prepare(
    config,
    chosen,
    all ? PACKAGES : PACKAGES.filter(({ name }) => needed.includes(name)),
    interruption(),
  )
  if (!prepared && !quiet) console.log('nothing to build or to install')
}

async function prune(config: BoxConfig): Promise<void> {
  await rm(buildCache(config), { recursive: true, force: true })
  const removed = await removeUnused(config)
  console.log(['removed', buildCache(config), ...removed].join(' '))
}

const program = new Command('eks-box')
  .description('A real Kubernetes cluster on this machine, in the shape of EKS')
  .enablePositionalOptions()
  .showHelpAfterError('run `eks-box --help` for the commands')

const withConfig =
  <Args extends unknown[]>(action: (config: BoxConfig, ...args: Args) => unknown) =>
  async (...args: Args) => {
    await action(readBoxConfig(process.env), ...args)
  }

program
  .command('up')
  .description('build missing tools and start the box')
  .option('--only-own-tools', 'do not build the tools that only the later steps of `make up` need')
  .action(withConfig(up))
program
  .command('monitoring')
  .description('install Prometheus, kube-state-metrics and prometheus-adapter in the running box')
  .action(withConfig(monitoring))
program.command('down').description('stop the box and remove its data').action(withConfig(down))
program.command('stop').description('stop the box and keep its data').action(withConfig(stop))
program
  .command('status')
  .description("show each component's state; exit with 1 unless all are ready")
  .action(withConfig(status))
program
  .command('logs')
  .description("print a component's log")
  .addArgument(new Argument('<component>').choices([...COMPONENT_NAMES, 'box', ...nodeLogs]))
  .option('-f, --follow', 'keep printing new lines')
  .option('--node <name>', 'the node of the component, by the beginning of its name or its instance id')
  .action(withConfig(logs))
program
  .command('logs-export')
  .description('write an archive with all logs, the status and the state of the cluster')
  .argument('[file]', 'path of the archive (default: eks-box-<name>-logs.tar.gz)')
  .action(withConfig(logsExport))
program.command('kubeconfig').description('print the path of the kubeconfig').action(withConfig(kubeconfig))
program
  .command('env')
  .description('print shell lines that set PATH, KUBECONFIG and the AWS variables')
  .action(withConfig(environment))
program
  .command('exec')
  .description('run a command inside the box')
  .argument('<command...>')
  .passThroughOptions()
  .action(withConfig((config, command: string[]) => exec(config, command)))
program
  .command('tools')
  .description('build the pinned tools and install the Debian packages that they and the checks need')
  .addArgument(new Argument('[tool...]', 'only these').choices(TOOL_NAMES))
  .addOption(
    new Option('--package <name...>', 'only these packages').choices(PACKAGES.map(({ name }) => name)),
  )
  .option('--quiet', 'print nothing when there is nothing to do')
  .action(withConfig(tools))
program
  .command('prune')
  .description('remove intermediate build results, and tools that nothing has used for two weeks')
  .action(withConfig(prune))
await program.parseAsync().catch(reportFailure)
