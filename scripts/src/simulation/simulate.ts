/** `make simulate`: Karpenter and the control plane with many simulated nodes and pods, in the box. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { Command } from 'commander'
import { insideBox } from 'eks-box/namespaces'
import { execa } from 'execa'
import { loadKubeConfig } from 'shared/cluster-access'
import { type Environment, REPOSITORY_ROOT, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { SIMULATION_TOOLS } from 'shared/tools'
import { SimulatedCluster } from './cluster.ts'
import { requireNoOther } from './controllers.ts'
import { formatMarkdown, formatReport, type Report } from './report.ts'
import { simulate } from './simulation.ts'
import { readNumber, readSize } from './workload.ts'

const program = new Command('simulate')
  .description('Scales simulated pods in the box, and records what Karpenter and the control plane do.')
  .option(
    '--summary <file>',
    'write the JSON report to this file, and Markdown beside it (default: in scripts/results/)',
  )
  .addHelpText(
    'after',
    `
Environment:
  NODES    about how many nodes the pods fill at the peak (50): the pods' requests follow from it
  PODS     pods at the peak (ten for each node)
  HOUR     seconds that an hour of the simulated day takes (10)`,
  )

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    process.exitCode = 128 + constants.signals[signal]
    // A second signal exits immediately; the next simulation removes what this one has left.
    if (stop.signal.aborted) process.exit()
    console.log('stopping; removing the simulated pods and nodes')
    stop.abort(new ActionableError('the simulation was interrupted', 'run `make simulate` again'))
  })
}

/** @throws ActionableError when the environment's cluster is not the box. */
function requireLocal({ name, usesBox }: Environment): void {
  if (usesBox) return
  throw new ActionableError(
    `the simulation runs only in the box, but ${name === 'local' ? 'KUBE_CONTEXT names another cluster' : `ENV is ${name}`}`,
    name === 'local' ? 'unset KUBE_CONTEXT' : 'run `make simulate` without ENV',
  )
}

async function run(summary: string | undefined): Promise<void> {
  const environment = readEnvironment(process.env)
  requireLocal(environment)
  const { box } = environment
  const size = readSize(process.env)
  const hourSeconds = readNumber(process.env, 'HOUR', 10, 3600)
  // Fails before the tools are built if the box does not run or belongs to another user.
  await insideBox(box, [], 'simulate')
  const cli = join(REPOSITORY_ROOT, 'apps', 'eks-box', 'src', 'cli.ts')
  await execa(process.execPath, [cli, 'tools', '--quiet', ...SIMULATION_TOOLS], { stdio: 'inherit' })
  requireNoOther(box)

  const file = reportFile(summary)
  const cluster = new SimulatedCluster(loadKubeConfig(environment.access))
  console.log(
    `${size.pods} pods on about ${size.nodes} simulated nodes in box ${box.name}, then a day of traffic, then none:` +
      ` about ${estimateMinutes(size.pods, hourSeconds)} min`,
  )
  await cluster.remove()
  try {
    const report = await simulate({
      config: box,
      cluster,
      size,
      hourSeconds,
      signal: stop.signal,
      print: (line) => console.log(line),
    })
    console.log(['', ...formatReport(report), ''].join('\n'))
    writeReport(report, file)
  } finally {
    await cluster.remove()
  }
}

/** Minutes that a simulation takes on 2 cores: pods appear and disappear at about 20 per second. */
function estimateMinutes(pods: number, hourSeconds: number): number {
  return Math.ceil((150 + (2 * pods) / 20 + 24 * hourSeconds + 60) / 60)
}

/** Creates the report's directory before the simulation, so that no run ends without a place for its report. */
function reportFile(summary: string | undefined): string {
  const time = new Date().toISOString().replace(/[:.]/g, '-')
  const path =
    summary === undefined
      ? join(REPOSITORY_ROOT, 'scripts', 'results', `simulation-${time}.json`)
      : resolve(summary)
  mkdirSync(dirname(path), { recursive: true })
  return path
}

function writeReport(report: Report, file: string): void {
  const markdown = `${file.replace(/\.json$/, '')}.md`
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(markdown, formatMarkdown(report))
  console.log(`report: ${file} and ${markdown}`)
}

try {
  program.parse()
  await run(program.opts<{ summary?: string }>().summary)
} catch (error) {
  const interrupted = process.exitCode
  reportFailure(error)
  // Exit explicitly, because open connections may keep the process alive.
  process.exit(interrupted ?? 1)
}
process.exit()
