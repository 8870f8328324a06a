/** Images that differ from a pushed one, as those of releases that this checkout does not contain. */

import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { blobPath, type Descriptor, type Manifest } from '../src/images/layout.ts'
import { pushImage } from '../src/images/push.ts'
import { archive } from '../src/tools/archive.ts'

const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'

/**
 * Pushes an image with the content of another one and further files, under another tag.
 *
 * @param registry URL of the registry that has the image
 * @param repository name of the image in it
 * @param files contents by path
 */
export async function deriveImage(
  registry: string,
  repository: string,
  tags: { from: string; to: string },
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const temporary = await mkdtemp(join(tmpdir(), 'image-'))
  try {
    const base = new URL(`/v2/${repository}/`, registry)
    const manifest: Manifest = await read(new URL(`manifests/${tags.from}`, base))
    const config = await read<{ rootfs: { diff_ids: string[] } }>(
      new URL(`blobs/${manifest.config.digest}`, base),
    )
    const content = join(temporary, 'content')
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(content, path)), { recursive: true })
      await writeFile(join(content, path), text)
    }
    const layout = join(temporary, 'layout')
    await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true })
    const unnamed = join(temporary, 'layer')
    const { compressed, uncompressed } = await archive(unnamed, content, Object.keys(files))
    const layer = {
      mediaType: layerType,
      digest: `sha256:${compressed}`,
      size: (await stat(unnamed)).size,
    }
    await rename(unnamed, blobPath(layout, layer.digest))
    config.rootfs.diff_ids.push(`sha256:${uncompressed}`)
    // The registry has the other layers.
    const derived = await write(layout, manifest.mediaType, {
      ...manifest,
      config: await write(layout, manifest.config.mediaType, config),
      layers: [...manifest.layers, layer],
    })
    const name = `registry/${repository}:${tags.to}`
    const annotations = { 'io.containerd.image.name': name }
    await writeFile(
      join(layout, 'index.json'),
      JSON.stringify({ schemaVersion: 2, manifests: [{ ...derived, annotations }] }),
    )
    await pushImage(registry, layout)
  } finally {
    await rm(temporary, { recursive: true })
  }
}

async function read<Document>(url: URL): Promise<Document> {
  const response = await fetch(url, { headers: { accept: 'application/vnd.oci.image.manifest.v1+json' } })
  if (!response.ok) throw new Error(`GET ${url.pathname} failed with ${response.status}`)
  return (await response.json()) as Document
}

async function write(layout: string, mediaType: string, document: unknown): Promise<Descriptor> {
  const content = Buffer.from(JSON.stringify(document))
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
  await writeFile(blobPath(layout, digest), content)
  return { mediaType, digest, size: content.length }
}
