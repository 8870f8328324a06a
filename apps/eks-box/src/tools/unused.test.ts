import { mkdirSync, readdirSync, statSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import { toolDirectory } from 'shared/tools'
import t, { type Test } from 'tap'
import { markUsed, removeUnused } from './unused.ts'

const day = 24 * 60 * 60 * 1000
const now = Date.now()

/** A cache with helm at the current pin, and with directories of other pins that were last used `ages` days ago. */
function cacheWith(t: Test, ages: Readonly<Record<string, number>>) {
  const config = readBoxConfig({ BOX_CACHE_DIR: t.testdir() })
  const helm = basename(toolDirectory(config, 'helm'))
  for (const [name, age] of Object.entries({ [helm]: 100, ...ages })) {
    const directory = join(config.cacheDir, 'tools', name)
    mkdirSync(directory, { recursive: true })
    utimesSync(directory, new Date(now - age * day), new Date(now - age * day))
  }
  return { config, helm, left: () => readdirSync(join(config.cacheDir, 'tools')).sort() }
}

t.test('other pins are removed after two weeks without use, the current ones never', async (t) => {
  const { config, helm, left } = cacheWith(t, { 'helm-0123456789ab': 15, 'k6-0123456789ab': 13 })
  t.strictSame(await removeUnused(config, now, []), ['helm-0123456789ab'])
  t.strictSame(left(), [helm, 'k6-0123456789ab'])
})

t.test('nothing is removed while a process runs from another pin', async (t) => {
  const { config, left } = cacheWith(t, { 'helm-0123456789ab': 15, 'etcd-0123456789ab': 15 })
  const etcd = join(config.cacheDir, 'tools', 'etcd-0123456789ab', 'etcd')
  t.strictSame(await removeUnused(config, now, ['sh\0-c\0true', `${etcd}\0--name=box`]), [])
  t.equal(left().length, 3)
})

t.test('a process from a current pin does not keep other pins', async (t) => {
  const { config } = cacheWith(t, { 'etcd-0123456789ab': 15 })
  const current = join(toolDirectory(config, 'etcd'), 'etcd')
  t.strictSame(await removeUnused(config, now, [current]), ['etcd-0123456789ab'])
})

t.test('remains of killed builds are removed after a day', async (t) => {
  const { config } = cacheWith(t, {
    'k6-0123456789ab.unfinished-12': 2,
    'k6-0123456789ab.unfinished-13': 0.5,
  })
  t.strictSame(await removeUnused(config, now, []), ['k6-0123456789ab.unfinished-12'])
})

t.test('directories that do not belong to a tool are kept', async (t) => {
  const { config } = cacheWith(t, { notes: 100, 'helm-mine': 100 })
  t.strictSame(await removeUnused(config, now, []), [])
})

t.test('a checkout marks its tools as used, except those that are not built', async (t) => {
  const { config } = cacheWith(t, {})
  await markUsed(config, ['helm', 'k6'], new Date(now))
  t.equal(statSync(toolDirectory(config, 'helm')).mtime.getTime(), now)
})

t.test('without tools, nothing is removed', async (t) => {
  t.strictSame(await removeUnused(readBoxConfig({ BOX_CACHE_DIR: t.testdir() }), now, []), [])
})
