import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { rootCause } from './errors.ts'

t.test('a process survives a full disk under its log', async (t) => {
  const module = join(import.meta.dirname, 'errors.ts')
  const script = (first: string) =>
    `import { tolerateLostOutput } from ${JSON.stringify(module)}; ${first}
     for (const line of ['one', 'two', 'three']) {
       console.error(line)
       await new Promise((resolve) => setTimeout(resolve, 20))
     }
     process.exit(7)`
  const exitCode = async (first: string): Promise<unknown> => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script(first)], {
      // On this device, every write fails for lack of space.
      stdio: ['ignore', 'ignore', openSync('/dev/full', 'w')],
    })
    return (await once(child, 'exit'))[0]
  }
  t.equal(await exitCode(''), 1, 'by default it does')
  t.equal(await exitCode('tolerateLostOutput();'), 7)
})

t.test('the innermost cause of an error is found', async (t) => {
  t.equal(rootCause('text'), 'text')
  t.equal(rootCause(new TypeError('fetch failed', { cause: new Error('refused') })), 'refused')
  t.equal(rootCause(new AggregateError([new Error('no IPv6'), new Error('no IPv4')])), 'no IPv6')
})
