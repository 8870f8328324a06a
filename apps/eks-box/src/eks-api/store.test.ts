import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Store } from './store.ts'
import { name, smallest, startApi } from './testing.ts'

t.test('what a request changed is in the file when it is answered, and the file is whole', async (t) => {
  const api = await startApi(t)
  await api.post('/clusters', smallest)
  t.match(new Store(api.stateFile).state, { cluster: { name, status: 'CREATING' }, accessEntries: [Object] })
  t.strictSame(readdirSync(join(api.stateFile, '..')), ['eks.json'], 'nothing half-written beside it')
})

t.test('what was under way when the box stopped is over when it starts again', async (t) => {
  const api = await startApi(t)
  await api.post('/clusters', smallest)
  api.wait()
  t.equal(new Store(api.stateFile).state.cluster?.status, 'ACTIVE')
  await api.delete(`/clusters/${name}`)
  api.wait()
  t.equal(new Store(api.stateFile).state.cluster, undefined)
})

t.test('without a file there is nothing yet; a file that is no state is not taken for none', (t) => {
  const directory = t.testdir({ 'eks.json': '{' })
  t.match(new Store(join(directory, 'other.json')).state, { accessEntries: [], addons: [] })
  t.throws(() => new Store(join(directory, 'eks.json')), { name: 'SyntaxError' })
  writeFileSync(join(directory, 'eks.json'), '')
  t.throws(() => new Store(join(directory, 'eks.json')))
  t.end()
})
