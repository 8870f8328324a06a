import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Store } from './store.ts'
import { minimalCluster, name, startApi } from './testing.ts'

t.test('a change is written to the file atomically before the response', async (t) => {
  const api = await startApi(t)
  await api.post('/clusters', minimalCluster)
  t.match(new Store(api.stateFile).state, { cluster: { name, status: 'CREATING' }, accessEntries: [Object] })
  t.strictSame(readdirSync(join(api.stateFile, '..')), ['eks.json'], 'no temporary file is left')
})

t.test('transitions complete while the box is stopped', async (t) => {
  const api = await startApi(t)
  await api.post('/clusters', minimalCluster)
  api.wait()
  t.equal(new Store(api.stateFile).state.cluster?.status, 'ACTIVE')
  await api.delete(`/clusters/${name}`)
  api.wait()
  t.equal(new Store(api.stateFile).state.cluster, undefined)
})

t.test('a missing file is an empty state, an invalid file is an error', (t) => {
  const directory = t.testdir({ 'eks.json': '{' })
  t.match(new Store(join(directory, 'other.json')).state, { accessEntries: [], addons: [] })
  t.throws(() => new Store(join(directory, 'eks.json')), { name: 'SyntaxError' })
  writeFileSync(join(directory, 'eks.json'), '')
  t.throws(() => new Store(join(directory, 'eks.json')))
  t.end()
})
