import t from 'tap'
import { contentTag } from './image.ts'

const recipe = { platform: 'linux/amd64', base: 'abc' }

t.test('the same content has the same tag', async (t) => {
  const one = t.testdir({ a: { 'server.js': 'x' }, b: { 'server.js': 'x' } })
  const tag = contentTag(recipe, `${one}/a`)
  t.match(tag, /^[0-9a-f]{12}$/)
  t.equal(contentTag(recipe, `${one}/b`), tag)
})

t.test('another bundle, base or platform gives another tag', async (t) => {
  const directory = t.testdir({
    a: { 'server.js': 'x' },
    changed: { 'server.js': 'y' },
    renamed: { 'server.mjs': 'x' },
  })
  const tags = [
    contentTag(recipe, `${directory}/a`),
    contentTag(recipe, `${directory}/changed`),
    contentTag(recipe, `${directory}/renamed`),
    contentTag({ ...recipe, base: 'def' }, `${directory}/a`),
    contentTag({ ...recipe, platform: 'linux/arm64' }, `${directory}/a`),
  ]
  t.equal(new Set(tags).size, tags.length)
})

t.test('a missing bundle is reported with the next step', async (t) => {
  t.throws(() => contentTag(recipe, '/no/such/directory'), { message: /not built/, nextStep: /make build/ })
})
