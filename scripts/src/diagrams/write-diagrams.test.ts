import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { renderedDiagrams } from './write-diagrams.ts'

const diagrams = await renderedDiagrams()

t.test('the pictures are up to date', async (t) => {
  t.ok(diagrams.size > 0)
  for (const [path, svg] of diagrams) {
    const current = readFileSync(join(REPOSITORY_ROOT, path), 'utf8')
    t.equal(current, svg, `${path}: run node scripts/src/diagrams/write-diagrams.ts`)
  }
})

t.test('the page of the architecture shows them', async (t) => {
  const page = readFileSync(join(REPOSITORY_ROOT, 'docs', 'architecture.md'), 'utf8')
  for (const path of diagrams.keys()) t.match(page, path.replace(/^docs\//, ''))
})
