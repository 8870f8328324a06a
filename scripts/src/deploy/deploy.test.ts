import t from 'tap'
import { readExtraValues } from './deploy.ts'

t.test('VALUES must name an existing file', async (t) => {
  t.equal(readExtraValues({}), undefined)
  t.equal(readExtraValues({ VALUES: import.meta.filename }), import.meta.filename)
  t.match(readExtraValues({ VALUES: 'Makefile' }), /\/Makefile$/, 'relative to the root of the repository')
  t.throws(() => readExtraValues({ VALUES: 'no.yaml' }), {
    message: 'VALUES is "no.yaml", but there is no such file',
  })
})
