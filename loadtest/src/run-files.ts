import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { ActionableError } from 'shared/errors'
import { Value } from 'typebox/value'
import type { NamedRun } from './compare.ts'
import { type RunReport, RunReportSchema } from './run-report.ts'

/** A run that was read from its JSON file. */
export interface RecordedRun extends NamedRun {
  file: string
}

/**
 * Reads a run by the path of its JSON file, or by its name in the directory `results`; with or without `.json`.
 *
 * @throws ActionableError when there is no such run, or when it has another format.
 */
export function readRun(name: string, results: string): RecordedRun {
  const file = [name, `${name}.json`]
    .flatMap((path) => [resolve(path), join(results, path)])
    .find((path) => path.endsWith('.json') && existsSync(path))
  if (file === undefined) throw new ActionableError(`there is no run ${name}`, listLatest(results))
  return { name: basename(file, '.json'), file, run: parseRun(file) }
}

function parseRun(file: string): RunReport {
  const nextStep = 'run the load test again with this version, or name another run'
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    const { message } = error as Error
    throw new ActionableError(`${file} is not readable as JSON: ${message}`, nextStep, { cause: error })
  }
  if (Value.Check(RunReportSchema, value)) return value
  const [mismatch] = Value.Errors(RunReportSchema, value)
  throw new ActionableError(
    `${file} does not have this version's format: ${mismatch?.instancePath} ${mismatch?.message}`,
    nextStep,
  )
}

/** Names the latest runs in a directory, as the next step of an operator who has to choose one. */
export function listLatest(results: string): string {
  const names = globSync(join(results, '*.json'))
    .map((file) => ({ name: basename(file, '.json'), time: statSync(file).mtimeMs }))
    .sort((a, b) => b.time - a.time)
    .slice(0, 5)
    .map(({ name }) => name)
  if (names.length === 0) return 'record a run first, with `make loadtest`'
  return `choose from the latest runs: ${names.join(', ')}`
}
