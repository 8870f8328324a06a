import t from 'tap'
import { parseUris } from './base-image.ts'

t.test('packages are read from what apt prints, in a stable order', async (t) => {
  const digest = 'a'.repeat(64)
  const line = (name: string) =>
    `'http://mirror/pool/${name}_1_amd64.deb' ${name}_1_amd64.deb 10 SHA256:${digest}`
  t.strictSame(parseUris(`${line('libc6')}\n${line('base-files')}\n`), [
    { name: 'base-files', file: 'base-files_1_amd64.deb', algorithm: 'sha256', digest },
    { name: 'libc6', file: 'libc6_1_amd64.deb', algorithm: 'sha256', digest },
  ])
})

t.test('a line of another form stops the build', async (t) => {
  t.throws(() => parseUris("'http://mirror/x.deb' x.deb 10\n"), { message: /unknown form/ })
})
