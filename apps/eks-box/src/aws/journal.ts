import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * A file with one entry per line that survives a full disk and a power failure: an incomplete line is removed
 * immediately or, after a power failure, when the journal is read.
 */
export class Journal<Entry> {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  /** Reads all entries. Truncates an incomplete last line, and skips any other line that cannot be parsed. */
  async read(): Promise<Entry[]> {
    const file = await this.#open()
    try {
      const text = await file.readFile('utf8')
      const end = text.lastIndexOf('\n') + 1
      if (end < text.length) await file.truncate(Buffer.byteLength(text.slice(0, end)))
      return text
        .slice(0, end)
        .split('\n')
        .slice(0, -1)
        .flatMap((line, index) => this.#parse(line, index + 1))
    } finally {
      await file.close()
    }
  }

  /** @throws the file system's error, after restoring the journal. */
  async append(entry: Entry): Promise<void> {
    const file = await this.#open()
    try {
      const { size } = await file.stat()
      try {
        await file.appendFile(`${JSON.stringify(entry)}\n`)
      } catch (error) {
        await file.truncate(size)
        throw error
      }
    } finally {
      await file.close()
    }
  }

  async clear(): Promise<void> {
    await rm(this.#path, { force: true })
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true })
    // Some entries contain secrets.
    return open(this.#path, 'a+', 0o600)
  }

  #parse(line: string, number: number): Entry[] {
    try {
      return [JSON.parse(line) as Entry]
    } catch {
      console.error(`line ${number} of ${this.#path} is incomplete and is skipped`)
      return []
    }
  }
}
