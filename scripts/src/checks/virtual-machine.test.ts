import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bringAlong, installationOf } from './virtual-machine.ts'

t.test('what is brought along lies in the same place, with its links', async (t) => {
  const directory = t.testdir({
    from: { tools: { program: 'code', alias: t.fixture('symlink', 'program') }, single: 'file' },
    root: {},
  })
  const [from, root] = [join(directory, 'from'), join(directory, 'root')]
  await bringAlong(root, [join(from, 'tools')])
  // Now its parents are there already.
  await bringAlong(root, [join(from, 'single')])
  t.equal(readFileSync(join(root, from, 'tools/alias'), 'utf8'), 'code')
  t.equal(readFileSync(join(root, from, 'single'), 'utf8'), 'file')
  t.equal(statSync(join(root, from, 'single')).ino, statSync(join(from, 'single')).ino)
})

t.test("a Python of one's own is taken along whole, the distribution's is there already", async (t) => {
  t.equal(installationOf('/opt/python/3.12/bin/python3.12'), '/opt/python/3.12')
  t.equal(installationOf('/usr/bin/python3.11'), undefined)
})
