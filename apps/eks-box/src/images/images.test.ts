import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { arch } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { toolDirectory } from 'shared/tools'
import t, { type Test } from 'tap'
import { pushK6Image } from './k6.ts'
import { blobPath, type Manifest, readImage, writeImage } from './layout.ts'
import { pushImage } from './push.ts'

const name = 'public.ecr.aws/team/program:1.2.3'

/** The layout of an image with a program of this content. */
async function layoutOf(t: Test, content = 'the program'): Promise<string> {
  const directory = t.testdir({ program: content, other: 'not in the image' })
  const layout = join(directory, 'image')
  await writeImage(layout, name, directory, 'program', '65532:65532')
  return layout
}

const document = (layout: string, digest: string) =>
  JSON.parse(readFileSync(blobPath(layout, digest), 'utf8'))

/** A registry that keeps manifests and blobs in memory, as the OCI distribution specification describes it. */
async function startRegistry(t: Test) {
  const contents = new Map<string, Buffer>()
  const requests: string[] = []
  const respond = async (request: IncomingMessage): Promise<[number, Record<string, string>]> => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://registry')
    requests.push(`${request.method} ${pathname}`)
    const body = await buffer(request)
    const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`
    if (request.method === 'HEAD') {
      const content = contents.get(pathname)
      if (content === undefined) return [404, {}]
      return [
        200,
        { 'docker-content-digest': `sha256:${createHash('sha256').update(content).digest('hex')}` },
      ]
    }
    if (request.method === 'POST') return [202, { location: `${pathname}1?state=a` }]
    if (!pathname.endsWith('/uploads/1')) {
      const { config, layers } = JSON.parse(String(body)) as Manifest
      const complete = [config, ...layers].every((part) =>
        contents.has(`/v2/team/program/blobs/${part.digest}`),
      )
      if (!complete) return [400, {}]
      contents.set(pathname, body)
    } else if (searchParams.get('state') === 'a' && searchParams.get('digest') === digest) {
      contents.set(pathname.replace('uploads/1', digest), body)
    } else return [400, {}]
    return [201, {}]
  }
  const server = createServer(async (request, response) => {
    const [status, headers] = await respond(request)
    response.writeHead(status, headers).end(status >= 400 ? 'refused' : undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, contents, requests }
}

t.test('an image contains its program, which a numeric user runs', async (t) => {
  const layout = await layoutOf(t)
  const image = await readImage(layout)
  t.equal(image.name, name)
  const { config, layers } = document(layout, image.manifest.digest) as Manifest
  t.match(document(layout, config.digest), {
    os: 'linux',
    architecture: arch() === 'x64' ? 'amd64' : arch(),
    config: { User: '65532:65532', Entrypoint: ['/program'] },
  })
  const layer = blobPath(layout, layers[0]?.digest ?? '')
  const { stdout } = await execa('tar', ['--list', '--verbose', '--numeric-owner', '--file', layer])
  t.match(stdout, /^-rw.r..r.. 0\/0 +11 1970-01-01 \S+ program$/)
})

t.test('every part has the name and the size that refer to it', async (t) => {
  const layout = await layoutOf(t)
  const { manifest } = await readImage(layout)
  const { config, layers } = document(layout, manifest.digest) as Manifest
  for (const { digest, size } of [manifest, config, ...layers]) {
    const content = readFileSync(blobPath(layout, digest))
    t.equal(`sha256:${createHash('sha256').update(content).digest('hex')}`, digest)
    t.equal(content.length, size)
  }
  t.equal(readdirSync(join(layout, 'blobs', 'sha256')).length, 3)
  const uncompressed = await execa(
    'gzip',
    ['--decompress', '--stdout', blobPath(layout, layers[0]?.digest ?? '')],
    {
      encoding: 'buffer',
      stripFinalNewline: false,
    },
  )
  t.strictSame(document(layout, config.digest).rootfs.diff_ids, [
    `sha256:${createHash('sha256').update(uncompressed.stdout).digest('hex')}`,
  ])
})

t.test('the same program makes the same image, another program another image', async (t) => {
  const digest = async (content: string) => (await readImage(await layoutOf(t, content))).manifest.digest
  const first = await digest('a')
  t.equal(await digest('a'), first)
  t.not(await digest('b'), first)
})

t.test('an image is pushed under its name, and only once', async (t) => {
  const layout = await layoutOf(t)
  const { url, contents, requests } = await startRegistry(t)
  await pushImage(url, layout)
  t.strictSame(JSON.parse(String(contents.get('/v2/team/program/manifests/1.2.3'))).layers.length, 1)
  t.equal(contents.size, 3)
  requests.length = 0
  await pushImage(url, layout)
  t.strictSame(requests, ['HEAD /v2/team/program/manifests/1.2.3'])
})

t.test('another image with the same name replaces the first', async (t) => {
  const { url, contents } = await startRegistry(t)
  await pushImage(url, await layoutOf(t, 'a'))
  const first = String(contents.get('/v2/team/program/manifests/1.2.3'))
  await pushImage(url, await layoutOf(t, 'b'))
  t.not(String(contents.get('/v2/team/program/manifests/1.2.3')), first)
})

t.test('a refused part is reported with the response of the registry', async (t) => {
  const layout = await layoutOf(t)
  const server = createServer((request, response) => {
    response.writeHead(request.method === 'HEAD' ? 404 : 507).end('no space left\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  await t.rejects(pushImage(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, layout), {
    message: 'POST /v2/team/program/blobs/uploads/ failed with 507: no space left',
  })
})

t.test("the load test's image contains k6 and what its pods run, with their libraries", async (t) => {
  const { url, contents } = await startRegistry(t)
  const directory = t.testdir()
  const environment = { BOX_CACHE_DIR: directory, BOX_REGISTRY_PORT: new URL(url).port }
  const config = readBoxConfig(environment)
  await t.rejects(pushK6Image(config, name), { message: /^k6 is not built/ })
  mkdirSync(toolDirectory(config, 'k6'), { recursive: true })
  writeFileSync(join(toolDirectory(config, 'k6'), 'k6'), 'k6')
  const reference = await pushK6Image(config, name)
  const manifest = String(contents.get('/v2/team/program/manifests/1.2.3'))
  t.equal(reference, `${name}@sha256:${createHash('sha256').update(manifest).digest('hex')}`)
  const layer = (JSON.parse(manifest) as Manifest).layers[0]?.digest
  const archive = contents.get(`/v2/team/program/blobs/${layer}`) as Buffer
  const { stdout } = await execa('tar', ['--list', '--gzip', '--file', '-'], { input: archive })
  const files = stdout.split('\n')
  for (const file of ['usr/bin/k6', 'bin/sh', 'bin/date', 'bin/sleep', 'usr/bin/awk']) {
    t.ok(files.includes(file), file)
  }
  t.ok(files.some((file) => /libc\.so/.test(file)))
  const stopped = { ...config, ports: { ...config.ports, registry: 1 } }
  await t.rejects(pushK6Image(stopped, name), {
    message: /^the image of k6 cannot be pushed to the box's registry: /,
    nextStep: /make status/,
  })
})
