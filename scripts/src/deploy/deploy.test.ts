import t from 'tap'
import { readExtraValues } from './deploy.ts'

t.test('a further values file has to be there', async (t) => {
  t.equal(readExtraValues({}), undefined)
  t.equal(readExtraValues({ VALUES: import.meta.filename }), import.meta.filename)
  t.match(readExtraValues({ VALUES: 'Makefile' }), /\/Makefile$/, 'from the root of the repository')
  t.throws(() => readExtraValues({ VALUES: 'no.yaml' }), { message: 'VALUES is "no.yaml", which is no file' })
})
