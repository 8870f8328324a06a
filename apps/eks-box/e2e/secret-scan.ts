/** Searches for passwords in what a box stores and prints. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { execa } from 'execa'

/** Contents by the place that they come from. */
export type Places = Map<string, Buffer>

/**
 * Writes a program `terraform` that runs the real one. After a plan was shown or applied, it keeps the passwords that
 * Terraform received, the saved plan, its JSON and all states: `make` removes a plan that it has applied, and each apply
 * replaces the state.
 *
 * @param directory - for the program and what it keeps
 * @returns the directory to put first on the PATH
 */
export async function keepingTerraform(directory: string): Promise<string> {
  const [bin, kept] = [join(directory, 'bin'), join(directory, 'runs')]
  for (const path of [bin, kept]) mkdirSync(path)
  const { stdout: terraform } = await execa('sh', ['-c', 'command -v terraform'])
  const program = join(bin, 'terraform')
  writeFileSync(
    program,
    `#!/bin/sh
'${terraform}' "$@"
result=$?
case "$1" in show|apply)
  kept=$(mktemp --directory '${kept}/XXXXXX')
  echo "$TF_VAR_passwords" > "$kept/passwords"
  # Terraform runs in the stack's copy, two levels below the states.
  find ../.. "$TF_DATA_DIR" -maxdepth 1 -type f \\( -name '*.tfstate*' -o -name 'plan*' \\) -exec cp -t "$kept" {} +
esac
exit $result
`,
  )
  chmodSync(program, 0o755)
  return bin
}

/** What `keepingTerraform` kept: the plans and states, and the passwords that Terraform received. */
export async function readRuns(directory: string): Promise<{ places: Places; passwords: string[] }> {
  const places: Places = new Map()
  const passwords: string[] = []
  for (const [path, content] of readFiles(join(directory, 'runs'))) {
    if (path.endsWith('/passwords')) passwords.push(...passwordsIn(content.toString().trim() || '{}'))
    else places.set(path, path.endsWith('/plan') ? await unzip(join(directory, 'runs', path)) : content)
  }
  return { places, passwords }
}

/** The files below a directory. */
export function readFiles(directory: string): Places {
  // Symbolic links, such as those of the kubelet's logs, lead to files of their node.
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  return new Map(files.map((path) => [relative(directory, path), readFileSync(path)]))
}

/** The contents of an archive's files, such as those of a saved plan. */
async function unzip(file: string): Promise<Buffer> {
  const program = `
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
for name in archive.namelist(): sys.stdout.buffer.write(archive.read(name))
`
  const { stdout } = await execa('python3', ['-c', program, file], { encoding: 'buffer' })
  return Buffer.from(stdout)
}

/** An object of the cluster. */
interface StoredObject {
  kind: string
  metadata: { namespace?: string; name: string }
  type?: string
  data?: Record<string, string>
}

/** Objects of the cluster, as `kubectl get --output=json` prints a list of them. Values of Secrets are decoded. */
export function readObjects(list: string): Places {
  const { items } = JSON.parse(list) as { items: StoredObject[] }
  return new Map(
    items.map((object) => {
      const { kind, metadata, type, data = {} } = object
      const secret = Object.entries(data).map(([key, value]) =>
        type === 'helm.sh/release.v1' && key === 'release' ? releaseIn(value) : Buffer.from(value, 'base64'),
      )
      return [
        `${kind} ${metadata.namespace ?? ''}/${metadata.name}`,
        Buffer.concat([Buffer.from(JSON.stringify(object)), ...(kind === 'Secret' ? secret : [])]),
      ]
    }),
  )
}

/** The values and manifests of a Helm release. Helm compresses and encodes them before Kubernetes encodes the Secret. */
function releaseIn(value: string): Buffer {
  return gunzipSync(Buffer.from(Buffer.from(value, 'base64').toString(), 'base64'))
}

/** The passwords in a JSON object: of URLs their password, otherwise all values except names of users. */
export function passwordsIn(json: string): string[] {
  return Object.entries(JSON.parse(json) as Record<string, string>)
    .filter(([key]) => key !== 'username')
    .map(([, value]) => (URL.canParse(value) ? decodeURIComponent(new URL(value).password) : value))
}

/** The places that contain one of the values: as it is, in a URL, or within a text in Base64. */
export function findIn(places: Places, values: Iterable<string>): string[] {
  const forms = [...values].flatMap((value) => [value, encodeURIComponent(value), ...inBase64(value)])
  return [...places]
    .filter(([, content]) => forms.some((form) => content.includes(form)))
    .map(([place]) => place)
}

/** What a value becomes within a text in Base64, without the first and last characters, which contain its neighbours. */
function inBase64(value: string): string[] {
  return [0, 1, 2].map((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(value)])
    return bytes.toString('base64').slice(Math.ceil((offset * 8) / 6), Math.floor((bytes.length * 8) / 6))
  })
}
