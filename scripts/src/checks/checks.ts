/**
 * `make test`: runs all checks of a change, and prints the time of each step. Arguments select steps by name; without
 * arguments, all steps run except those that need an emulated machine.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { BOX_PACKAGES } from 'eks-box/packages'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { awsPythonPath, programPath, TOOL_NAMES, type Tool, UP_TOOLS } from 'shared/tools'

interface Step {
  name: string
  what: string
  command: readonly [string, ...string[]]
  environment?: Readonly<Record<string, string>>
  /** The pinned tools that it runs. They are built first. */
  tools?: readonly Tool[]
  /** The Debian packages that it needs. They are installed first. */
  packages?: readonly string[]
  /** May run at the same time as its neighbours: it does not depend on them and does not measure anything. */
  concurrent?: true
  /** Runs only if it is selected by name. */
  onRequest?: true
}

const box = readBoxConfig(process.env)
const program = (name: Parameters<typeof programPath>[1]) => programPath(box, name)
const pinned = {
  HELM: program('helm'),
  KUBECONFORM: program('kubeconform'),
  BOX_AWS_PYTHON: awsPythonPath(box),
}

/** The shell scripts. They have no file extension, so they are listed here. */
const shellScripts = ['.ci/run']

const workflows = join('.github', 'workflows')

/** A task of a workspace. Turborepo repeats it only if its inputs have changed. */
function turboTask(task: string, workspace: string): Step['command'] {
  return ['turbo', 'run', task, `--filter=${workspace}`, '--output-logs=new-only']
}

/** The packages that the box itself needs. */
const boxPackages = BOX_PACKAGES.map(({ name }) => name)

const steps: readonly Step[] = [
  {
    name: 'workspaces',
    what: 'lint, typecheck and unit tests of every workspace',
    tools: [...UP_TOOLS, 'kubeconform'],
    packages: [...boxPackages, 'pgbouncer'],
    command: [
      'turbo',
      'run',
      'build',
      'lint',
      'typecheck',
      'test',
      '--output-logs=errors-only',
      '--concurrency=2',
      '--continue',
    ],
    environment: pinned,
  },
  {
    name: 'chart',
    what: "lint the charts, validate their manifests against Kubernetes' schemas",
    tools: ['helm', 'kubeconform', 'kubernetes'],
    command: turboTask('chart', 'scripts'),
    environment: pinned,
    concurrent: true,
  },
  {
    name: 'terraform',
    what: 'format, lint, security rules, validation and tests of the stacks',
    tools: ['tflint', 'checkov', 'terraform-config-inspect'],
    command: turboTask('terraform', 'scripts'),
    concurrent: true,
  },
  {
    name: 'shell',
    what: 'shellcheck',
    packages: ['shellcheck'],
    command: ['shellcheck', ...shellScripts],
    concurrent: true,
  },
  {
    name: 'workflows',
    what: 'actionlint',
    tools: ['actionlint'],
    // actionlint checks the scripts in the workflows with it.
    packages: ['shellcheck'],
    command: [
      program('actionlint'),
      ...readdirSync(join(REPOSITORY_ROOT, workflows)).map((name) => join(workflows, name)),
    ],
    concurrent: true,
  },
  {
    name: 'workflow-security',
    what: 'zizmor',
    tools: ['zizmor'],
    command: [program('zizmor'), '--offline', '--no-progress', '--persona', 'pedantic', workflows],
    concurrent: true,
  },
  {
    name: 'compose',
    what: 'resolve docker-compose.yml',
    tools: ['compose'],
    command: [program('docker-compose'), '--file', 'docker-compose.yml', 'config', '--quiet'],
    concurrent: true,
  },
  {
    name: 'fuzz',
    what: 'check the service against its OpenAPI document with 20,000 generated requests',
    tools: ['schemathesis'],
    packages: ['postgresql'],
    command: turboTask('fuzz', 'fastify-api'),
    environment: { SCHEMATHESIS: program('schemathesis') },
  },
  {
    name: 'e2e',
    what: 'infrastructure, deployment, faults and clean-up in separate boxes',
    tools: UP_TOOLS,
    packages: boxPackages,
    command: ['npm', 'run', '--silent', 'e2e', '--workspace=eks-box'],
  },
  {
    name: 'systemd',
    what: 'the box in a virtual machine with systemd and cgroup v2',
    tools: UP_TOOLS,
    packages: boxPackages,
    command: ['node', 'scripts/src/checks/check-systemd.ts'],
    onRequest: true,
  },
]

/** The first step: builds and installs the tools and packages of the `chosen` steps. */
function toolsStep(chosen: readonly Step[]): Step {
  const packages = new Set(chosen.flatMap((step) => step.packages ?? []))
  const tools = new Set(chosen.flatMap((step) => step.tools ?? []))
  return {
    name: 'tools',
    what: 'build the pinned tools and install the packages that the steps need',
    command: [
      ...(['node', 'apps/eks-box/src/cli.ts', 'tools'] as const),
      ...TOOL_NAMES.filter((tool) => tools.has(tool)),
      ...[...packages].map((name) => `--package=${name}`),
    ],
  }
}

/** How many steps may run at the same time. Most of them keep one core busy, and the smallest supported machine has two. */
const CONCURRENCY = 2

/**
 * Runs a step.
 *
 * @param alone whether its output can be shown immediately.
 * @returns the lines that explain a failure; undefined when it passed.
 */
async function runStep(step: Step, alone: boolean): Promise<string[] | undefined> {
  const title = `\n== ${step.name}: ${step.what}`
  if (alone) console.log(title)
  const since = performance.now()
  const [file, ...args] = step.command
  const { failed, shortMessage, all } = await execa(file, args, {
    cwd: REPOSITORY_ROOT,
    // Outside the checkout, so that a fresh clone can use the results of an earlier one.
    env: { TURBO_CACHE_DIR: join(box.cacheDir, 'turbo'), ...step.environment },
    stdin: 'inherit',
    stdout: alone ? ['inherit', 'pipe'] : 'pipe',
    stderr: alone ? ['inherit', 'pipe'] : 'pipe',
    all: true,
    lines: true,
    reject: false,
  })
  if (!alone) console.log([title, ...all].join('\n'))
  const seconds = ((performance.now() - since) / 1000).toFixed(1)
  console.log(`== ${step.name} ${failed ? `FAILED: ${shortMessage}` : 'passed'} (${seconds} s)`)
  return failed ? summarizeFailure(all) : undefined
}

/** How many lines of a failed step the summary repeats. */
const SUMMARY_LENGTH = 40

/** The names and differences of failed tests; for other steps, the last lines. */
function summarizeFailure(output: readonly string[]): string[] {
  const failures = output.flatMap((line, index) =>
    /\bnot ok \d+ - /.test(line) ? output.slice(index, index + 10) : [],
  )
  return failures.length > 0 ? failures.slice(0, SUMMARY_LENGTH) : output.slice(-SUMMARY_LENGTH)
}

/** The steps in order, in groups that may run at the same time. */
function groupSteps(chosen: readonly Step[]): Step[][] {
  const groups: Step[][] = []
  for (const step of chosen) {
    const last = groups.at(-1)
    if (step.concurrent && last?.[0]?.concurrent) last.push(step)
    else groups.push([step])
  }
  return groups
}

async function runGroup(
  group: readonly Step[],
  onFailure: (step: Step, lines: string[]) => void,
): Promise<void> {
  const waiting = group.values()
  const worker = async () => {
    for (const step of waiting) {
      const failure = await runStep(step, group.length === 1)
      if (failure !== undefined) onFailure(step, failure)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
}

async function runChecks(names: readonly string[]): Promise<void> {
  const known = ['tools', ...steps.map(({ name }) => name)]
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    throw new ActionableError(`there is no check ${unknown.join(', ')}`, `choose from: ${known.join(', ')}`)
  }
  const byDefault = steps.filter(({ onRequest }) => onRequest === undefined)
  const wanted = names.length === 0 ? byDefault : steps.filter(({ name }) => names.includes(name))
  // `ONLY=tools` prepares all steps of `make test`.
  const chosen = [toolsStep(wanted.length === 0 ? byDefault : wanted), ...wanted]
  const failed: string[] = []
  const summary: string[] = []
  for (const group of groupSteps(chosen)) {
    await runGroup(group, ({ name }, lines) => {
      failed.push(name)
      summary.push(`\n== ${name} failed:`, ...lines)
    })
    // Every other step would only report that its tools are missing.
    if (failed.includes('tools')) break
  }

  if (failed.length > 0) {
    process.exitCode = 1
    console.log(summary.join('\n'))
    console.log(`\nfailed: ${failed.join(', ')}; run one alone with \`make test ONLY=${failed[0]}\``)
  }
  if (!failed.includes('tools')) {
    console.log(`\n${chosen.length - failed.length} passed, ${failed.length} failed`)
  }
}

await runChecks(process.argv.slice(2)).catch(reportFailure)
