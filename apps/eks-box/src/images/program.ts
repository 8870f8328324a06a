import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { readImage, writeImage } from './layout.ts'
import { pushImage } from './push.ts'

/** An image with a program of this machine, and the files that it needs. */
export interface ProgramImage {
  /** With registry and tag. */
  name: string
  /** The directory that becomes the image's root. */
  directory: string
  /** Paths in `directory`. */
  program: string
  files?: readonly string[]
}

/** The user and group `nobody`. */
const nobody = '65534:65534'

/** Pushes an image to the box's registry, and returns its reference, which changes with the image's content. */
export async function pushProgram(
  config: BoxConfig,
  { name, directory, program, files }: ProgramImage,
): Promise<string> {
  const temporary = await mkdtemp(join(tmpdir(), 'image-'))
  try {
    const layout = join(temporary, 'layout')
    await writeImage(layout, name, directory, program, nobody, files)
    await pushImage(`http://127.0.0.1:${config.ports.registry}`, layout)
    const { manifest } = await readImage(layout)
    return `${name}@${manifest.digest}`
  } finally {
    await rm(temporary, { recursive: true })
  }
}

/** The paths of the libraries that a program loads, and of the loader; none if it is static. */
export async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await execa('ldd', [program], { reject: false })
  return [...stdout.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)].map(([, path]) => path as string)
}
