import { readFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { listLatest, readRun } from './run-files.ts'
import { FIXTURES, sampleRun } from './sample-runs.ts'

const sample = readFileSync(join(FIXTURES, 'sample-cpu.json'), 'utf8')

t.test('a run has a name in the directory of results, or a path', async (t) => {
  const results = t.testdir({ 'a.json': sample })
  const file = join(results, 'a.json')
  const expected = { name: 'a', file, run: sampleRun() }
  for (const name of ['a', 'a.json', file, join(results, 'a')])
    t.strictSame(readRun(name, results), expected, name)
})

t.test('the errors for a run that cannot be read have a next step', async (t) => {
  const results = t.testdir({
    'old.json': JSON.stringify({ scenario: 'scaling', timeline: [] }),
    'broken.json': '{',
    'list.json': '[]',
    'newer.json': sample.replace('"version": 1', '"version": 2'),
  })
  const nextStep = /run the load test again/
  t.throws(() => readRun('broken', results), { message: /broken\.json is not readable as JSON: /, nextStep })
  t.throws(() => readRun('old', results), {
    message: /old\.json does not have this version's format: /,
    nextStep,
  })
  t.throws(() => readRun('list', results), { message: /must be object/, nextStep })
  t.throws(() => readRun('newer', results), { message: /: \/version must be /, nextStep })
})

t.test('an unknown run lists the latest ones', async (t) => {
  const results = t.testdir(
    Object.fromEntries(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [`${name}.json`, ''])),
  )
  for (const [index, name] of ['d', 'c', 'b', 'a', 'f', 'e'].entries()) {
    utimesSync(join(results, `${name}.json`), 0, index)
  }
  t.throws(() => readRun('missing', results), {
    message: 'there is no run missing',
    nextStep: 'choose from the latest runs: e, f, a, b, c',
  })
  t.equal(listLatest(join(results, 'none')), 'record a run first, with `make loadtest`')
})
