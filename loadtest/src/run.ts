#!/usr/bin/env node
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { Argument, Command, InvalidArgumentError } from 'commander'
import { loadKubeConfig } from 'shared/cluster-access'
import { readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { builtProgram } from 'shared/tools'
import { Cluster } from './cluster.ts'
import { LOADS, type Load } from './load.ts'
import { record } from './recorder.ts'
import { formatMarkdown, formatSummary, type Report } from './report.ts'
import { type ScenarioName, SLO } from './slo.ts'
import { checkLoadRoutes, checkReady, readBaseUrl } from './target.ts'

interface Options {
  cluster: boolean
  namespace: string
  release: string
  untilScaledDown: boolean
  settleTimeout: number
  summary?: string
}

const sloMissed = 1
const couldNotRun = 2

const program = new Command('loadtest')
  .description('Sends load to the service, records how it scales, and checks its SLO.')
  .addArgument(new Argument('<scenario>', 'the load to send').choices(Object.keys(SLO)))
  .option('--no-cluster', 'only send load, for a target outside Kubernetes')
  .option('--namespace <name>', 'namespace of the release', 'fastify-app')
  .option('--release <name>', 'Helm release to watch', 'fastify-app')
  .option('--until-scaled-down', 'keep recording until the replicas are back at their minimum', false)
  .option(
    '--settle-timeout <seconds>',
    'how long to wait for the minimum, before and after the load',
    readSeconds,
    600,
  )
  .option(
    '--summary <file>',
    'write the JSON report to this file, and Markdown beside it (default: in loadtest/results/)',
  )
  .addHelpText(
    'after',
    `
Environment:
  ENV, KUBE_CONTEXT            the cluster, as for \`make deploy\`: the box by default
  BASE_URL                     URL of the service; required unless it runs in the box
  PEAK_RATE, RAMP, HOLD        scaling: requests/s, length of ramp and peak (40, 60s, 90s)
  RATE, DURATION               steady: requests/s and length (60, 90s)

Exit code: 0 SLO met, ${sloMissed} SLO missed, ${couldNotRun} could not run, 128 + n stopped by signal n.`,
  )
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : couldNotRun))

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    process.exitCode = 128 + constants.signals[signal]
    // A second signal exits immediately.
    if (stop.signal.aborted) process.exit()
    stop.abort()
  })
}

try {
  program.parse()
  await run(program.processedArgs[0] as ScenarioName, program.opts<Options>())
} catch (error) {
  reportFailure(error)
  // Exit explicitly, because pending work may keep the process alive.
  process.exit(couldNotRun)
}

async function run(scenario: ScenarioName, options: Options): Promise<void> {
  if (options.untilScaledDown && !options.cluster) {
    throw new ActionableError('--until-scaled-down needs a cluster to watch', 'remove --no-cluster')
  }
  const environment = readEnvironment(process.env)
  const load = planLoad(scenario)
  const baseUrl = readBaseUrl(environment, process.env)
  const reportFile = prepareReportFile(scenario, options.summary)
  await checkReady(baseUrl)
  if (scenario === 'scaling') await checkLoadRoutes(baseUrl)
  const report = await record({
    scenario,
    load,
    baseUrl,
    k6: builtProgram(environment.box, 'k6'),
    variables: { ...process.env, BASE_URL: baseUrl },
    cluster: options.cluster
      ? new Cluster(loadKubeConfig(environment.access), options.namespace, options.release)
      : null,
    untilScaledDown: options.untilScaledDown,
    settleSeconds: options.settleTimeout,
    signal: stop.signal,
    print: (line) => console.log(line),
  })
  console.log(['', ...formatSummary(report)].join('\n'))
  writeReport(report, reportFile)
  if (report.verdicts.some(({ met }) => !met)) process.exitCode = sloMissed
}

function planLoad(scenario: ScenarioName): Load {
  try {
    return LOADS[scenario](process.env)
  } catch (error) {
    throw new ActionableError((error as RangeError).message, 'correct it, or unset it to use the default', {
      cause: error,
    })
  }
}

/** Creates the report's directory before the load, so that no run ends without a place for its report. */
function prepareReportFile(scenario: ScenarioName, file: string | undefined): string {
  const time = new Date().toISOString().replace(/[:.]/g, '-')
  const path =
    file === undefined
      ? join(import.meta.dirname, '..', 'results', `${scenario}-${time}.json`)
      : resolve(file)
  try {
    mkdirSync(dirname(path), { recursive: true })
  } catch (error) {
    throw new ActionableError(
      `the directory for the report cannot be created: ${(error as Error).message}`,
      'choose another file with --summary',
      { cause: error },
    )
  }
  return path
}

function writeReport(report: Report, file: string): void {
  const markdown = `${file.replace(/\.json$/, '')}.md`
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(markdown, formatMarkdown(report))
  console.log(`report: ${file} and ${markdown}`)
}

function readSeconds(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('Use whole seconds, 1 to 99999.')
  return Number(text)
}
