import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createMountPoints, removeMountPoints } from './machine.ts'

t.test('only mount points that a box created and nobody else uses are removed', async (t) => {
  const root = t.testdir({ existing: {} })
  const [existing, created, adopted] = ['existing', 'created', 'adopted'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  await createMountPoints([existing, created, adopted])
  await createMountPoints([existing, created, adopted])
  t.ok(existsSync(created))
  mkdirSync(join(adopted, 'device-plugins'))
  writeFileSync(join(adopted, 'device-plugins', 'gpu.sock'), '')
  await removeMountPoints([existing, created, adopted])
  t.strictSame(readdirSync(root).sort(), ['adopted', 'existing'])
  t.strictSame(readdirSync(adopted), ['device-plugins'], 'a kubelet installed later keeps its files')
})
