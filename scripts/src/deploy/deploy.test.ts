import t from 'tap'
import { readExtraValues, readRolloutTimeout } from './deploy.ts'

t.test('VALUES must name an existing file', async (t) => {
  t.equal(readExtraValues({}), undefined)
  t.equal(readExtraValues({ VALUES: import.meta.filename }), import.meta.filename)
  t.match(readExtraValues({ VALUES: 'Makefile' }), /\/Makefile$/, 'relative to the root of the repository')
  t.throws(() => readExtraValues({ VALUES: 'no.yaml' }), {
    message: 'VALUES is "no.yaml", but there is no such file',
  })
})

t.test('ROLLOUT_TIMEOUT_SECONDS sets the timeout of a rollout', async (t) => {
  t.equal(readRolloutTimeout({}), 300)
  t.equal(readRolloutTimeout({ ROLLOUT_TIMEOUT_SECONDS: '1200' }), 1200)
  for (const text of ['20m', '0', '-1']) {
    t.throws(() => readRolloutTimeout({ ROLLOUT_TIMEOUT_SECONDS: text }), {
      message: `ROLLOUT_TIMEOUT_SECONDS is "${text}", which is not a number of seconds`,
    })
  }
})
