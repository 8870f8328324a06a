/**
 * `make test`: runs all checks that a change must pass, and prints the time of each. Arguments select steps by name.
 * `make test-full` (`--full`) adds the checks that take too long for every change.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { BOX_PACKAGES } from 'eks-box/packages'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import {
  awsPythonPath,
  MONITORING_TOOLS,
  programPath,
  SIMULATION_TOOLS,
  TOOL_NAMES,
  type Tool,
  UP_TOOLS,
} from 'shared/tools'

interface Step {
  name: string
  what: string
  command: readonly [string, ...string[]]
  environment?: Readonly<Record<string, string>>
  /** Pinned tools that the step needs. They are built first. */
  tools?: readonly Tool[]
  /** Debian packages that the step needs. They are installed first. */
  packages?: readonly string[]
  /** Whether the step may run beside its neighbours: it is independent of them and measures nothing. */
  concurrent?: true
  /** When the step runs if it is not selected by name; without it, in `make test` and `make test-full`. */
  runs?: 'in test-full' | 'only by name'
}

const box = readBoxConfig(process.env)
const program = (name: Parameters<typeof programPath>[1]) => programPath(box, name)
const pinned = {
  HELM: program('helm'),
  KUBECONFORM: program('kubeconform'),
  BOX_AWS_PYTHON: awsPythonPath(box),
}

/** Listed by name, because there are few and they have no file extension. */
const shellScripts = ['.ci/run']

const workflows = join('.github', 'workflows')

/** A task of a workspace. Turborepo skips it if its inputs have not changed. */
function turboTask(task: string, workspace: string): Step['command'] {
  return ['turbo', 'run', task, `--filter=${workspace}`, '--output-logs=new-only']
}

/** Packages that the box needs. */
const boxPackages = BOX_PACKAGES.map(({ name }) => name)

/** A test file that starts its own box and takes too long for every change. */
function longTest(file: string, what: string, tools: readonly Tool[] = []): Step {
  return {
    name: file,
    what,
    tools: [...UP_TOOLS, ...tools],
    packages: boxPackages,
    command: ['npm', 'run', '--silent', 'e2e-full', '--workspace=eks-box', `e2e/full/${file}.test.ts`],
    runs: 'in test-full',
  }
}

const steps: readonly Step[] = [
  {
    name: 'workspaces',
    what: 'lint, typecheck and unit tests of every workspace',
    tools: [...UP_TOOLS, 'kubeconform'],
    packages: [...boxPackages, 'pgbouncer', 'prometheus'],
    command: [
      'turbo',
      'run',
      'build',
      'lint',
      'typecheck',
      'test',
      '--output-logs=errors-only',
      '--concurrency=3',
      '--continue',
    ],
    environment: pinned,
  },
  {
    name: 'fuzz',
    what: 'send 10,000 generated requests and check the responses against the OpenAPI document',
    tools: ['schemathesis'],
    packages: ['postgresql'],
    command: turboTask('fuzz', 'fastify-api'),
    environment: { SCHEMATHESIS: program('schemathesis') },
    concurrent: true,
  },
  {
    name: 'chart',
    what: "lint the charts and validate their manifests against Kubernetes' schemas",
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
    name: 'browser',
    what: 'open the reports of load tests in Chromium',
    // Ubuntu has no such package.
    packages: ['chromium'],
    command: turboTask('browser', 'loadtest'),
    concurrent: true,
    runs: 'in test-full',
  },
  {
    name: 'workflows',
    what: 'actionlint',
    tools: ['actionlint'],
    // actionlint uses it to check scripts in the workflows.
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
    name: 'e2e',
    what: 'the infrastructure and the service, faults and clean-up, each in its own box',
    tools: UP_TOOLS,
    packages: boxPackages,
    command: ['npm', 'run', '--silent', 'e2e', '--workspace=eks-box'],
  },
  longTest('karpenter', "Karpenter's behaviour with the project's NodePool"),
  longTest('scale-out', 'load, until Karpenter launches nodes and removes them again'),
  longTest('generators', 'load from pods of the cluster: counts, interruption, failures of pods'),
  longTest('components', 'every component of the box killed in turn'),
  longTest('resilience', 'disturbances under load, each protection switched off, an interrupted destroy'),
  longTest('rotation', 'new passwords and a failover of the database, under load'),
  longTest(
    'recovery',
    'lost data, a bad migration, a lost state and a lost cluster, and how each comes back',
  ),
  longTest(
    'monitoring',
    '`make monitoring`: targets, the HPA on custom metrics, every expression',
    MONITORING_TOOLS,
  ),
  longTest('alerts', 'a fault for each alert, until it fires and ends again', MONITORING_TOOLS),
  longTest('environment', 'every stack: applied, planned again, changed, destroyed'),
  longTest('cloudwatch', 'the alarms stack: apply, change, a night of sleep, destroy'),
  longTest('getting-started', 'the commands of docs/getting-started-aws.md, from an empty account and back'),
  longTest('edge', 'a domain: HTTPS, web ACL, CloudFront, and a destroy that leaves nothing'),
  longTest('simulation', '`make simulate` with a few nodes', SIMULATION_TOOLS),
  {
    name: 'systemd',
    what: 'the box in a virtual machine with systemd and cgroup v2',
    tools: UP_TOOLS,
    packages: boxPackages,
    command: ['node', 'scripts/src/checks/check-systemd.ts'],
    runs: 'only by name',
  },
]

/** The first step: builds the tools and installs the packages that `chosen` need. */
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

/** Number of concurrent steps. Most steps keep one core busy, and the smallest supported machine has two. */
const CONCURRENCY = 2

/**
 * Runs a step.
 *
 * @param alone whether to print its output immediately.
 * @returns the lines that explain a failure; undefined when it passed.
 */
async function runStep(step: Step, alone: boolean): Promise<string[] | undefined> {
  const title = `\n== ${step.name}: ${step.what}`
  if (alone) console.log(title)
  const since = performance.now()
  const [file, ...args] = step.command
  const { failed, shortMessage, all } = await execa(file, args, {
    cwd: REPOSITORY_ROOT,
    // Outside the checkout, so that a fresh clone finds the results of an earlier one.
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

/** Number of lines of a failed step that the final summary repeats. */
const SUMMARY_LENGTH = 40

/** The names and differences of failed tests; for any other failure, the last lines. */
function summarizeFailure(output: readonly string[]): string[] {
  const failures = output.flatMap((line, index) =>
    /\bnot ok \d+ - /.test(line) ? output.slice(index, index + 10) : [],
  )
  return failures.length > 0 ? failures.slice(0, SUMMARY_LENGTH) : output.slice(-SUMMARY_LENGTH)
}

/** Groups the steps in order. The steps of a group run concurrently. */
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

async function runChecks(args: readonly string[]): Promise<void> {
  const isFull = args.includes('--full')
  const names = args.filter((arg) => arg !== '--full')
  const known = ['tools', ...steps.map(({ name }) => name)]
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    throw new ActionableError(`there is no check ${unknown.join(', ')}`, `choose from: ${known.join(', ')}`)
  }
  const byDefault = steps.filter(({ runs }) => runs === undefined || (isFull && runs === 'in test-full'))
  const wanted = names.length === 0 ? byDefault : steps.filter(({ name }) => names.includes(name))
  // `ONLY=tools` prepares for a whole `make test`.
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
