import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeMountPoints, removeMountPoints } from './node.ts'

t.test('directories to mount over are removed again, and only those that a box made', async (t) => {
  const root = t.testdir({ existing: {} })
  const [existing, made, adopted] = ['existing', 'made', 'adopted'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  await makeMountPoints([existing, made, adopted])
  await makeMountPoints([existing, made, adopted])
  t.ok(existsSync(made))
  mkdirSync(join(adopted, 'device-plugins'))
  writeFileSync(join(adopted, 'device-plugins', 'gpu.sock'), '')
  await removeMountPoints([existing, made, adopted])
  t.strictSame(readdirSync(root).sort(), ['adopted', 'existing'])
  t.strictSame(readdirSync(adopted), ['device-plugins'], 'a kubelet that came later keeps its files')
})
