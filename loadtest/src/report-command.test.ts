import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FIXTURES } from './sample-runs.ts'

/** Runs the command as `make report` does. */
async function report(directory: string, ...args: string[]) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'report-command.ts'), ...args], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const outcome = { code: null as number | null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    outcome.stdout += chunk
  })
  child.stderr.on('data', (chunk: Buffer) => {
    outcome.stderr += chunk
  })
  await once(child, 'close')
  outcome.code = child.exitCode
  return outcome
}

t.test('one run gets its page beside its JSON', async (t) => {
  const directory = t.testdir()
  cpSync(FIXTURES, directory, { recursive: true })
  const file = join(directory, 'sample-cpu.html')
  t.strictSame(await report(directory, 'sample-cpu'), { code: 0, stdout: '', stderr: `report: ${file}\n` })
  t.match(readFileSync(file, 'utf8'), /^<!doctype html>/)
})

t.test('several runs are compared, as a page and as Markdown', async (t) => {
  const directory = t.testdir()
  cpSync(FIXTURES, directory, { recursive: true })
  const { code, stdout } = await report(directory, 'sample-cpu.json,sample-event-loop')
  t.equal(code, 0)
  t.match(stdout, '| figure | A | B | B against A |')
  t.ok(existsSync(join(directory, 'compare-sample-cpu-sample-event-loop.html')))
})

t.test('errors have a next step', async (t) => {
  const directory = t.testdir()
  t.match(await report(directory), { code: 1, stderr: /^error: RUN names no run\n next: \S/ })
  t.match(await report(directory, ','), { code: 1, stderr: /^error: RUN names no run\n next: \S/ })
  t.match(await report(directory, 'a,b,c,d,e,f,g'), { code: 1, stderr: /^error: RUN names 7 runs\n next: / })
})
