#!/usr/bin/env node
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { Argument, Command, InvalidArgumentError } from 'commander'
import { pushK6Image } from 'eks-box/k6-image'
import { loadKubeConfig } from 'shared/cluster-access'
import {
  confirmProduction,
  type Environment,
  type EnvironmentName,
  readEnvironment,
} from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { builtProgram, pinnedVersion } from 'shared/tools'
import { Cluster } from './cluster.ts'
import type { Generator } from './generator.ts'
import { localGenerator } from './k6.ts'
import { K6Job } from './k6-job.ts'
import { LOAD_VARIABLES, type Load, PROFILES, SIZES } from './profiles.ts'
import { record } from './recorder.ts'
import type { ReleaseApi } from './release-api.ts'
import { formatMarkdown, formatSummary } from './report.ts'
import type { RunReport } from './run-report.ts'
import type { ProfileName } from './slo.ts'
import { checkReady, hasLoadRoutes, noLoadRoutes, resolveBaseUrl, resolveUrlForPods } from './target.ts'
import { checkTaskStore, deleteTasks } from './task-data.ts'

interface Options {
  cluster: boolean
  namespace: string
  release: string
  generators?: number
  untilScaledDown: boolean
  settleTimeout: number
  summary?: string
}

const sloMissed = 1
const couldNotRun = 2

const program = new Command('loadtest')
  .description('Sends load to the service, records how it scales, and checks its SLO.')
  .addArgument(new Argument('<profile>', 'the load to send').choices(Object.keys(PROFILES)))
  .option('--no-cluster', 'only send load, for a target outside Kubernetes')
  .option('--namespace <name>', 'namespace of the release', 'fastify-app')
  .option('--release <name>', 'Helm release to watch', 'fastify-app')
  .option('--generators <pods>', 'send the load from so many pods in the cluster', readPods)
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
  CONFIRM=prod                 required to send load to ENV=prod
  BASE_URL                     URL of the service, by default that of the box or of the environment's Ingress
  PEAK_RATE, RAMP, HOLD        average, stress, spike, ramp, breakpoint, scaling: requests/s, length of rise and peak
  RATE, DURATION               smoke, soak, steady: requests/s and length
  TRAFFIC                      spike, ramp: mix (default), or work for requests that burn 8 ms of CPU
  K6_IMAGE                     image of the generators, for nodes that cannot pull Grafana's from Docker Hub

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
  await run(program.processedArgs[0] as ProfileName, program.opts<Options>())
} catch (error) {
  reportFailure(error)
  // Exit explicitly, because pending work may keep the process alive.
  process.exit(couldNotRun)
}

async function run(profile: ProfileName, options: Options): Promise<void> {
  if (options.untilScaledDown && !options.cluster) {
    throw new ActionableError('--until-scaled-down needs a cluster to watch', 'remove --no-cluster')
  }
  if (options.generators !== undefined && !options.cluster) {
    throw new ActionableError('--generators needs a cluster for its pods', 'remove --no-cluster')
  }
  const environment = readEnvironment(process.env)
  confirmProduction(environment, { reviewed: false })
  const load = planLoad(profile, environment.name)
  const cluster = options.cluster
    ? new Cluster(loadKubeConfig(environment.access), options.namespace, options.release)
    : null
  const baseUrl = await resolveBaseUrl(
    environment,
    process.env,
    cluster === null ? null : () => cluster.api.ingresses(),
  )
  const reportFile = prepareReportFile(profile, options.summary)
  await checkReady(baseUrl)
  const loadRoutes = load.traffic !== 'root' && (await hasLoadRoutes(baseUrl))
  if (load.traffic === 'work' && !loadRoutes) throw noLoadRoutes(baseUrl)
  const taskTitle = `loadtest ${randomBytes(4).toString('hex')}`
  if (load.traffic === 'mix') {
    await checkTaskStore(baseUrl, taskTitle).finally(() => deleteTasks(baseUrl, taskTitle).catch(() => {}))
    if (!loadRoutes) console.log('the routes for load tests are off, so the mix has the task API only')
  }
  const variables = {
    PROFILE: profile,
    ENV: environment.name,
    RUN: taskTitle,
    LOAD_ROUTES: String(loadRoutes),
  }
  const generator =
    cluster === null || options.generators === undefined
      ? localGenerator(builtProgram(environment.box, 'k6'), baseUrl, {
          ...process.env,
          ...variables,
          BASE_URL: baseUrl,
        })
      : await createJob(options.generators, environment, cluster.api, baseUrl, load, variables)
  const report = await record({
    profile,
    environment: environment.name,
    load,
    baseUrl,
    generator,
    taskTitle,
    cluster,
    untilScaledDown: options.untilScaledDown,
    settleSeconds: options.settleTimeout,
    signal: stop.signal,
    print: (line) => console.log(line),
  })
  console.log(['', ...formatSummary(report)].join('\n'))
  await writeReport(report, reportFile)
  if (report.verdicts.some(({ met }) => !met)) process.exitCode = sloMissed
}

/** The Job that sends the load from the cluster of the release. */
async function createJob(
  pods: number,
  environment: Environment,
  api: ReleaseApi,
  baseUrl: string,
  load: Load,
  variables: Readonly<Record<string, string>>,
): Promise<Generator> {
  const urlForPods = await resolveUrlForPods(baseUrl, () => api.ingresses())
  const published = `docker.io/grafana/k6:${pinnedVersion('k6', 'go.k6.io/k6').slice(1)}`
  const image =
    process.env['K6_IMAGE'] ||
    (await (environment.usesBox ? pushK6Image(environment.box, published) : published))
  const given = LOAD_VARIABLES.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  return new K6Job({
    api,
    pods,
    image,
    load,
    baseUrl: urlForPods,
    variables: { ...Object.fromEntries(given), ...variables, BASE_URL: urlForPods },
    print: (line) => console.log(line),
  })
}

function planLoad(profile: ProfileName, environment: EnvironmentName): Load {
  try {
    return PROFILES[profile](SIZES[environment], process.env)
  } catch (error) {
    throw new ActionableError((error as RangeError).message, 'correct it, or unset it to use the default', {
      cause: error,
    })
  }
}

/** Creates the report's directory before the load, so that no run ends without a place for its report. */
function prepareReportFile(profile: ProfileName, file: string | undefined): string {
  const time = new Date().toISOString().replace(/[:.]/g, '-')
  const path =
    file === undefined ? join(import.meta.dirname, '..', 'results', `${profile}-${time}.json`) : resolve(file)
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

/** Writes the report as JSON, and beside it as Markdown and as a page. */
async function writeReport(report: RunReport, file: string): Promise<void> {
  // Loaded only now, because the libraries of the charts take memory while the load runs.
  const { renderRun } = await import('./html-report.ts')
  const path = file.replace(/\.json$/, '')
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(`${path}.md`, formatMarkdown(report))
  writeFileSync(`${path}.html`, renderRun(report, basename(path)))
  console.log(`report: ${path}.html, and beside it .json and .md`)
}

function readPods(text: string): number {
  if (!/^[1-9]\d?$/.test(text)) throw new InvalidArgumentError('Use a number of pods, 1 to 99.')
  return Number(text)
}

function readSeconds(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('Use whole seconds, 1 to 99999.')
  return Number(text)
}
