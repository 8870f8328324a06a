import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { join } from 'node:path'
import { archive } from '../tools/archive.ts'

/** Refers to a part of an image by its digest (OCI image specification). */
export interface Descriptor {
  mediaType: string
  /** `sha256:` and 64 hexadecimal digits. */
  digest: string
  size: number
}

export interface Manifest {
  schemaVersion: 2
  mediaType: string
  config: Descriptor
  layers: Descriptor[]
}

/** A layout's only image. */
export interface Image {
  /** With registry and tag. */
  name: string
  manifest: Descriptor
}

interface Index {
  schemaVersion: 2
  mediaType: string
  manifests: (Descriptor & { annotations: Record<string, string> })[]
}

const type = (name: string) => `application/vnd.oci.image.${name}`
/** containerd reads the name of an imported image from it. */
const nameAnnotation = 'io.containerd.image.name'
/** Go's names of Node's architectures. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64' }

/** The path of the part `digest` in the image layout `layout`. */
export function blobPath(layout: string, digest: string): string {
  return join(layout, 'blobs', ...digest.split(':'))
}

/**
 * Writes an OCI image layout with an image that contains only a program. That is one archive and three JSON
 * documents, so it needs no image builder. The same program produces the same image.
 *
 * @param layout directory to create.
 * @param name name of the image, with registry and tag.
 * @param directory contains the program.
 * @param user numeric user and group, because a pod with `runAsNonRoot` does not start with a user's name.
 * @param files further paths in `directory`, for a program that is not static. Links become the files they point to.
 */
export async function writeImage(
  layout: string,
  name: string,
  directory: string,
  program: string,
  user: string,
  files: readonly string[] = [],
): Promise<void> {
  await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true })
  const unnamed = join(layout, 'layer')
  const { compressed, uncompressed } = await archive(unnamed, directory, ['--dereference', program, ...files])
  const layer = {
    mediaType: type('layer.v1.tar+gzip'),
    digest: `sha256:${compressed}`,
    size: (await stat(unnamed)).size,
  }
  await rename(unnamed, blobPath(layout, layer.digest))
  const platform = { architecture: architectures[arch()] ?? arch(), os: 'linux' }
  const config = await writeDocument(layout, type('config.v1+json'), {
    ...platform,
    config: { User: user, Entrypoint: [`/${program}`] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${uncompressed}`] },
  })
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: type('manifest.v1+json'),
    config,
    layers: [layer],
  }
  const descriptor = await writeDocument(layout, manifest.mediaType, manifest)
  const index: Index = {
    schemaVersion: 2,
    mediaType: type('index.v1+json'),
    manifests: [{ ...descriptor, annotations: { [nameAnnotation]: name } }],
  }
  await writeFile(join(layout, 'index.json'), JSON.stringify(index))
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
}

async function writeDocument(layout: string, mediaType: string, document: unknown): Promise<Descriptor> {
  const content = Buffer.from(JSON.stringify(document))
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
  await writeFile(blobPath(layout, digest), content)
  return { mediaType, digest, size: content.length }
}

/** The image of a layout that `writeImage` has written. */
export async function readImage(layout: string): Promise<Image> {
  const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as Index
  const [first] = manifests
  const name = first?.annotations[nameAnnotation]
  if (first === undefined || name === undefined) throw new TypeError(`${layout} contains no named image`)
  const { mediaType, digest, size } = first
  return { name, manifest: { mediaType, digest, size } }
}
