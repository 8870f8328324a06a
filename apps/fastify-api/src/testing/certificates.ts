import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** Paths of PEM files. */
export interface Certificate {
  cert: string
  key: string
}

/** A certificate authority for a test, made with `openssl` and removed with the test. */
export class Authority {
  readonly #folder = mkdtempSync(join(tmpdir(), 'authority-'))
  /** The authority's own certificate. */
  readonly file: string

  constructor(t: Pick<Test, 'teardown'>) {
    t.teardown(() => rmSync(this.#folder, { recursive: true }))
    this.file = this.#make('authority', ['-subj', '/CN=authority']).cert
  }

  get pem(): string {
    return readFileSync(this.file, 'utf8')
  }

  /** Issues a certificate for a server; `names` are like `DNS:localhost` and `IP:127.0.0.1`. */
  issue(...names: string[]): Certificate {
    return this.#make(names.join().replaceAll(/\W/g, '-'), [
      ...['-CA', this.file, '-CAkey', this.file.replace(/cert$/, 'key')],
      ...['-subj', '/CN=server', '-addext', `subjectAltName=${names.join()}`],
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ])
  }

  #make(name: string, options: string[]): Certificate {
    const [cert, key] = [join(this.#folder, `${name}.cert`), join(this.#folder, `${name}.key`)]
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
        ...['-days', '2', '-keyout', key, '-out', cert, ...options],
      ],
      { stdio: 'pipe' },
    )
    execFileSync('chmod', ['-R', 'a+rX', this.#folder])
    return { cert, key }
  }
}
