import { createHash, type Hash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { execa } from 'execa'

/** GNU tar's options for an archive that depends only on the names and contents of the files. */
const reproducible = [
  '--sort=name',
  '--mtime=@0',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--mode=u=rwX,go=rX',
]

/** The SHA-256 digests of an archive, in hexadecimal. */
export interface Digests {
  compressed: string
  uncompressed: string
}

/**
 * Writes a gzipped tar archive. The same files produce the same bytes on every machine.
 *
 * @param file path of the archive.
 * @param directory contains the entries.
 * @param entries names in `directory`, and options of tar.
 */
export async function archive(file: string, directory: string, entries: readonly string[]): Promise<Digests> {
  const compressed = createHash('sha256')
  const uncompressed = createHash('sha256')
  await pipeline(
    execa('tar', ['--create', ...reproducible, '--directory', directory, ...entries], {
      // Otherwise execa also keeps the archive in memory, up to 100 MB.
      buffer: false,
    }).readable(),
    hashing(uncompressed),
    // A higher level takes twice the time and saves 7 % of a Go program.
    createGzip({ level: 3 }),
    hashing(compressed),
    createWriteStream(file),
  )
  return { compressed: compressed.digest('hex'), uncompressed: uncompressed.digest('hex') }
}

function hashing(hash: Hash) {
  return async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      hash.update(chunk)
      yield chunk
    }
  }
}
