import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * A file of entries, one a line, that a full disk or a power cut cannot spoil: a line that was not written whole
 * is taken back at once, or, after a power cut, when the journal is read.
 */
export class Journal<Entry> {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  /** All entries. Cuts off a last line that was not written whole, and leaves out any other that cannot be read. */
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

  /** @throws the error of the file system; the journal is then what it was before. */
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
    // Some entries carry secrets.
    return open(this.#path, 'a+', 0o600)
  }

  #parse(line: string, number: number): Entry[] {
    try {
      return [JSON.parse(line) as Entry]
    } catch {
      console.error(`line ${number} of ${this.#path} was not written whole and is left out`)
      return []
    }
  }
}
