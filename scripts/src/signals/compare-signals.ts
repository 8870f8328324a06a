/**
 * `make compare-signals`: runs the same loads while the release scales by different signals, one after the other. Progress
 * goes to standard error, so that standard output is only the table.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { execa } from 'execa'
import { readRun } from 'loadtest/run-files'
import { REPOSITORY_ROOT, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { helmProgram } from '../deploy/helm-release.ts'
import { ComparedRelease } from './compared-release.ts'
import { compareSignals } from './comparison.ts'
import {
  DEFAULT_SETTING,
  LOADS,
  type LoadName,
  planRounds,
  type Round,
  type Setting,
  SIGNALS,
  type Signal,
} from './plan.ts'
import { type Comparison, type Figures, figuresOf, formatComparison } from './results.ts'

interface Options extends Setting {
  signals: Signal[]
  loads: LoadName[]
  runs: number
}

const loadNames = Object.keys(LOADS) as LoadName[]

const program = new Command('compare-signals')
  .description('Compares signals of the autoscaler under the same load, and prints a table.')
  .option('--signals <list>', `of ${SIGNALS.join(', ')}`, listOf(SIGNALS), [...SIGNALS])
  .option('--loads <list>', `of ${loadNames.join(', ')}`, listOf(loadNames), ['spike'])
  .option('--runs <number>', 'runs of each signal under each load', readNumber, 3)
  .option('--cpu-limit <quantity>', 'CPU limit of a ready pod', readCpu, DEFAULT_SETTING.cpuLimit)
  .option('--elu-percent <number>', 'target of elu', readNumber, DEFAULT_SETTING.eluPercent)
  .option(
    '--requests-per-second <number>',
    'target of requests, per pod',
    readNumber,
    DEFAULT_SETTING.requestsPerSecond,
  )
  .addHelpText(
    'after',
    `
A round takes about 5 min under spike and ramp, and 8 min under climb. See docs/load-test.md.`,
  )

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    process.exitCode = 128 + constants.signals[signal]
    // A second signal exits immediately; `make deploy` then gives the release the values of its environment again.
    if (stop.signal.aborted) process.exit()
    print('stopping')
    stop.abort()
  })
}

try {
  program.parse()
  await run(program.opts<Options>())
} catch (error) {
  const interrupted = process.exitCode
  reportFailure(error)
  process.exitCode = interrupted ?? 1
}
// Open connections to the cluster would keep the process alive.
process.exit()

async function run({ signals, loads, runs, eluPercent, requestsPerSecond, cpuLimit }: Options) {
  const environment = readEnvironment(process.env)
  if (environment.name !== 'local') {
    throw new ActionableError(
      `ENV is ${environment.name}, but the comparison changes the autoscaler and the CPU limit of the release`,
      'run `make compare-signals` without ENV',
    )
  }
  const release = await ComparedRelease.find(helmProgram(environment.box, process.env), environment.access)
  await release.requireMetrics(signals)
  const startedAt = new Date().toISOString()
  const directory = join(
    ...[REPOSITORY_ROOT, 'loadtest', 'results', `signals-${startedAt.replace(/[:.]/g, '-')}`],
  )
  const setting = { eluPercent, requestsPerSecond, cpuLimit }
  const comparison: Comparison = { startedAt, setting, outcomes: [] }
  try {
    await compareSignals(
      planRounds(signals, loads, runs),
      {
        prepare: async (signal, stop) => {
          await release.deploy(signal, setting, stop)
          if (!stop.aborted) await release.awaitSettled(stop)
        },
        measure: async (round, stop) => {
          const end = new AbortController()
          const either = AbortSignal.any([stop, end.signal])
          const [limited, measured] = await Promise.allSettled([
            release.limitReadyPods(cpuLimit, either).finally(() => end.abort()),
            measure(round, directory, either).finally(() => end.abort()),
          ])
          if (limited.status === 'rejected') throw limited.reason
          if (measured.status === 'rejected') throw measured.reason
          return measured.value
        },
        restore: () => release.restore(),
      },
      {
        stop: stop.signal,
        print,
        report: (outcome) => {
          comparison.outcomes.push(outcome)
          mkdirSync(directory, { recursive: true })
          writeFileSync(join(directory, 'comparison.json'), `${JSON.stringify(comparison, null, 2)}\n`)
        },
      },
    )
  } finally {
    if (comparison.outcomes.length > 0) {
      console.log(formatComparison(comparison))
      print(`reports: ${directory}`)
    }
  }
  if (comparison.outcomes.some((outcome) => 'failure' in outcome)) process.exitCode ??= 1
}

/**
 * Runs the load test of a round. Returns the path of its report, relative to `directory`, and the figures.
 *
 * @throws ActionableError when it could not run
 */
async function measure(
  { load, signal, run }: Round,
  directory: string,
  stop: AbortSignal,
): Promise<{ report: string; figures: Figures }> {
  const { profile, variables } = LOADS[load]
  const name = `${load}-${signal}-${run}`
  const report = `${name}.json`
  const script = join(REPOSITORY_ROOT, 'loadtest', 'src', 'run.ts')
  const { exitCode, all } = await execa(
    process.execPath,
    [
      '--max-semi-space-size=4',
      ...[script, profile, '--until-scaled-down', '--summary', join(directory, report)],
    ],
    {
      env: variables,
      all: true,
      reject: false,
      // In a separate process group: otherwise it gets Ctrl-C twice, from the terminal and from us, and a second signal
      // makes it exit at once.
      detached: true,
      cancelSignal: stop,
      forceKillAfterDelay: false,
    },
  )
  // 1 is a missed SLO, which is a result.
  if (exitCode === 0 || exitCode === 1) {
    return { report, figures: figuresOf(readRun(name, directory).run, load) }
  }
  const cause = /^error: (.*)\n next: (.*)/m.exec(all)
  throw new ActionableError(
    `the load test could not run: ${cause?.[1] ?? `exit code ${exitCode}`}`,
    cause?.[2] ?? `run \`make loadtest PROFILE=${profile}\``,
  )
}

function listOf<Name extends string>(names: readonly Name[]): (text: string) => Name[] {
  return (text) => {
    const chosen = text.split(',').map((part) => names.find((name) => name === part))
    if (chosen.includes(undefined)) throw new InvalidArgumentError(`Use some of ${names.join(',')}.`)
    return chosen.filter((name) => name !== undefined)
  }
}

function readNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('Use a whole number, 1 to 9999.')
  return Number(text)
}

function readCpu(text: string): string {
  if (!/^[1-9]\d*m?$/.test(text)) throw new InvalidArgumentError('Use a quantity such as 200m or 1.')
  return text
}

function print(line: string): void {
  process.stderr.write(`${line}\n`)
}
