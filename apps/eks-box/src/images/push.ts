import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { blobPath, type Descriptor, type Manifest, readImage } from './layout.ts'

/**
 * Pushes the image of an OCI image layout to a registry, unless the registry already has this image. The host in the
 * image's name becomes the registry: `public.ecr.aws/karpenter/controller:1.14.1` is pushed to the repository
 * `karpenter/controller`.
 *
 * @param registry URL of the registry.
 * @throws Error when the registry refuses the image.
 */
export async function pushImage(registry: string, layout: string): Promise<void> {
  const { name, manifest } = await readImage(layout)
  const [, repository, tag] = /^[^/]+\/(.+):([^:]+)$/.exec(name) ?? []
  if (repository === undefined || tag === undefined) throw new TypeError(`${name} has no registry or tag`)
  const base = new URL(`/v2/${repository}/`, registry)
  const tagged = new URL(`manifests/${tag}`, base)
  const present = await fetch(tagged, { method: 'HEAD', headers: { accept: manifest.mediaType } })
  if (present.headers.get('docker-content-digest') === manifest.digest) return

  const content = await readFile(blobPath(layout, manifest.digest), 'utf8')
  const { config, layers } = JSON.parse(content) as Manifest
  for (const blob of [config, ...layers]) await pushBlob(base, layout, blob)
  // The manifest comes last, because the registry refuses one with missing parts.
  const headers = { 'content-type': manifest.mediaType }
  await request(tagged, { method: 'PUT', headers, body: content })
}

async function pushBlob(base: URL, layout: string, { digest }: Descriptor): Promise<void> {
  if ((await fetch(new URL(`blobs/${digest}`, base), { method: 'HEAD' })).ok) return
  const started = await request(new URL('blobs/uploads/', base), { method: 'POST' })
  const upload = new URL(started.headers.get('location') ?? '', base)
  upload.searchParams.set('digest', digest)
  const headers = { 'content-type': 'application/octet-stream' }
  await request(upload, { method: 'PUT', headers, body: await openAsBlob(blobPath(layout, digest)) })
}

async function request(url: URL, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init)
  const text = await response.text()
  if (!response.ok) {
    throw new Error(`${init.method} ${url.pathname} failed with ${response.status}: ${text.trim()}`)
  }
  return response
}
