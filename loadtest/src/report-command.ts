#!/usr/bin/env node
/**
 * `make report RUN=a`: renders the page of a recorded run. `make report RUN=a,b`: compares runs, as a page and as Markdown
 * on standard output.
 */
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ActionableError, reportFailure } from 'shared/errors'
import { compareRuns, formatComparison } from './compare.ts'
import { renderComparison, renderRun } from './html-report.ts'
import { listLatest, type RecordedRun, readRun } from './run-files.ts'

/** Where load tests write their reports. */
const results = join(import.meta.dirname, '..', 'results')

/** Readers could not tell the lines of more runs apart. */
const mostRuns = 6

try {
  report(process.argv[2] ?? '')
} catch (error) {
  reportFailure(error)
}

function report(argument: string): void {
  const names = argument.split(',').filter((name) => name !== '')
  if (names.length > mostRuns) {
    throw new ActionableError(`RUN names ${names.length} runs`, `compare at most ${mostRuns} runs`)
  }
  const [first, second, ...others] = names.map((name) => readRun(name, results))
  if (first === undefined) throw new ActionableError('RUN names no run', listLatest(results))
  if (second === undefined) write(first.file.replace(/json$/, 'html'), renderRun(first.run, first.name))
  else compare([first, second, ...others])
}

function compare(runs: [RecordedRun, RecordedRun, ...RecordedRun[]]): void {
  const comparison = compareRuns(runs)
  console.log(formatComparison(comparison))
  const name = `compare-${runs.map((run) => run.name).join('-')}.html`
  write(join(dirname(runs[0].file), name), renderComparison(comparison))
}

/** Writes a page. Its path goes to standard error, so that standard output is only Markdown. */
function write(file: string, page: string): void {
  writeFileSync(file, page)
  console.error(`report: ${file}`)
}
