import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { copyToRoot, installationOf } from './virtual-machine.ts'

t.test('files are copied to the same path, with their symbolic links', async (t) => {
  const directory = t.testdir({
    from: { tools: { program: 'code', alias: t.fixture('symlink', 'program') }, single: 'file' },
    root: {},
  })
  const [from, root] = [join(directory, 'from'), join(directory, 'root')]
  await copyToRoot(root, [join(from, 'tools')])
  // This time the parent directories exist already.
  await copyToRoot(root, [join(from, 'single')])
  t.equal(readFileSync(join(root, from, 'tools/alias'), 'utf8'), 'code')
  t.equal(readFileSync(join(root, from, 'single'), 'utf8'), 'file')
  t.equal(statSync(join(root, from, 'single')).ino, statSync(join(from, 'single')).ino)
})

t.test('only a program that is not from the distribution has an installation directory', async (t) => {
  t.equal(installationOf('/opt/python/3.12/bin/python3.12'), '/opt/python/3.12')
  t.equal(installationOf('/usr/bin/python3.11'), undefined)
})
