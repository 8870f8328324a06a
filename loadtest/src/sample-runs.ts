/** Runs for tests: the fixtures, which are made up, and variants of them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RunReport, Scaling } from './run-report.ts'

/** Directory of the fixtures. */
export const FIXTURES = join(import.meta.dirname, '../fixtures')

/** A spike from 2 to 8 replicas that misses the SLO for a while, or a run that reacts faster. */
export function sampleRun(name: 'sample-cpu' | 'sample-event-loop' = 'sample-cpu'): RunReport {
  return JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8')) as RunReport
}

/** The sample with other figures of scaling. */
export function withScaling(changes: Partial<Scaling>): RunReport {
  const run = sampleRun()
  return { ...run, scaling: { ...(run.scaling as Scaling), ...changes } }
}

/** The sample without any value in these columns. */
export function withoutColumns(run: RunReport, columns: readonly (keyof RunReport['series'])[]): RunReport {
  const empty = columns.map((column) => [column, run.series.second.map(() => null)])
  return { ...run, series: { ...run.series, ...Object.fromEntries(empty) } }
}
