/**
 * `make test`: everything that must hold before a change lands, each step with its time.
 * Arguments choose steps by name; without any, all run but those that take an emulated machine.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { awsPythonPath, openApiPath, programPath } from 'eks-box/tools'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'

interface Step {
  name: string
  what: string
  command: readonly [string, ...string[]]
  environment?: Readonly<Record<string, string>>
  /** Runs only when it is asked for by its name. */
  onRequest?: true
}

const box = readBoxConfig(process.env)
const program = (name: Parameters<typeof programPath>[1]) => programPath(box, name)
const pinned = {
  HELM: program('helm'),
  KUBECONFORM: program('kubeconform'),
  BOX_AWS_PYTHON: awsPythonPath(box),
}

/** Shell scripts are few and have no ending; each is named here. */
const shellScripts = ['.ci/run']

const workflows = join('.github', 'workflows')

const steps: readonly Step[] = [
  {
    name: 'tools',
    what: 'build the pinned tools',
    command: ['node', 'apps/eks-box/src/cli.ts', 'tools'],
  },
  {
    name: 'workspaces',
    what: 'lint, typecheck and unit tests of every workspace',
    command: [
      'turbo',
      'run',
      'build',
      'lint',
      'typecheck',
      'test',
      '--output-logs=errors-only',
      '--concurrency=1',
      '--continue',
    ],
    environment: pinned,
  },
  {
    name: 'fuzz',
    what: 'hold the service against its OpenAPI document with 20,000 generated requests',
    command: ['npm', 'run', '--silent', 'fuzz', '--workspace=fastify-api'],
    environment: { SCHEMATHESIS: program('schemathesis') },
  },
  {
    name: 'chart',
    what: "lint the chart, hold its manifests against Kubernetes' own schemas",
    command: [
      'node',
      'scripts/src/charts/check-chart.ts',
      '--openapi',
      openApiPath(box),
      '--schemas',
      join(box.cacheDir, 'schemas'),
    ],
    environment: pinned,
  },
  {
    name: 'terraform',
    what: 'format, lint, security rules, validation and tests of the stacks',
    command: ['node', 'scripts/src/checks/check-terraform.ts'],
  },
  { name: 'shell', what: 'shellcheck', command: ['shellcheck', ...shellScripts] },
  {
    name: 'workflows',
    what: 'actionlint',
    command: [
      program('actionlint'),
      ...readdirSync(join(REPOSITORY_ROOT, workflows)).map((name) => join(workflows, name)),
    ],
  },
  {
    name: 'workflow-security',
    what: 'zizmor',
    command: [program('zizmor'), '--offline', '--no-progress', '--persona', 'pedantic', workflows],
  },
  {
    name: 'compose',
    what: 'resolve docker-compose.yml',
    command: [program('docker-compose'), '--file', 'docker-compose.yml', 'config', '--quiet'],
  },
  {
    name: 'e2e',
    what: 'the main job, faults and clean-up in a box of its own',
    command: ['npm', 'run', '--silent', 'e2e', '--workspace=eks-box'],
  },
  {
    name: 'systemd',
    what: 'the box in a virtual machine with systemd and cgroup v2',
    command: ['node', 'scripts/src/checks/check-systemd.ts'],
    onRequest: true,
  },
]

/** Runs a step; returns what a reader needs of a failed one, nothing when it passed. */
async function runStep(step: Step): Promise<string[] | undefined> {
  console.log(`\n== ${step.name}: ${step.what}`)
  const since = performance.now()
  const [file, ...args] = step.command
  const { failed, shortMessage, all } = await execa(file, args, {
    cwd: REPOSITORY_ROOT,
    env: step.environment ?? {},
    stdin: 'inherit',
    stdout: ['inherit', 'pipe'],
    stderr: ['inherit', 'pipe'],
    all: true,
    lines: true,
    reject: false,
  })
  const seconds = ((performance.now() - since) / 1000).toFixed(1)
  console.log(`== ${step.name} ${failed ? `FAILED: ${shortMessage}` : 'passed'} (${seconds} s)`)
  return failed ? essence(all) : undefined
}

/** How much of a failed step is told again at the end, in lines. */
const ESSENCE_LENGTH = 40

/** Of a failed test its name and the diff; of anything else the end. */
function essence(output: readonly string[]): string[] {
  const failures = output.flatMap((line, index) =>
    /\bnot ok \d+ - /.test(line) ? output.slice(index, index + 10) : [],
  )
  return failures.length > 0 ? failures.slice(0, ESSENCE_LENGTH) : output.slice(-ESSENCE_LENGTH)
}

async function runChecks(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => !steps.some((step) => step.name === name))
  if (unknown.length > 0) {
    throw new ActionableError(
      `there is no check ${unknown.join(', ')}`,
      `choose from: ${steps.map(({ name }) => name).join(', ')}`,
    )
  }
  const chosen = steps.filter(({ name, onRequest }) =>
    names.length === 0 ? onRequest === undefined : names.includes(name),
  )
  const failed: string[] = []
  const told: string[] = []
  for (const step of chosen) {
    const failure = await runStep(step)
    if (failure === undefined) continue
    failed.push(step.name)
    told.push(`\n== ${step.name} failed:`, ...failure)
  }

  if (failed.length > 0) {
    process.exitCode = 1
    console.log(told.join('\n'))
    console.log(`\nfailed: ${failed.join(', ')}; run one alone with \`make test ONLY=${failed[0]}\``)
  }
  console.log(`\n${chosen.length - failed.length} passed, ${failed.length} failed`)
}

await runChecks(process.argv.slice(2)).catch(reportFailure)
