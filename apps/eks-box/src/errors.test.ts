import { openSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'

t.test('a process outlives a full disk that its log is on', async (t) => {
  const module = join(import.meta.dirname, 'errors.ts')
  const script = (first: string) =>
    `import { tolerateLostOutput } from ${JSON.stringify(module)}; ${first}
     for (const line of ['one', 'two', 'three']) {
       console.error(line)
       await new Promise((resolve) => setTimeout(resolve, 20))
     }
     process.exit(7)`
  // The kernel's device that is always full.
  const run = (first: string) =>
    execa(process.execPath, ['--input-type=module', '--eval', script(first)], {
      stderr: openSync('/dev/full', 'w'),
      reject: false,
    })
  t.equal((await run('')).exitCode, 1, 'Node ends it by itself')
  t.equal((await run('tolerateLostOutput();')).exitCode, 7)
})
