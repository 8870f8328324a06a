/** Reduces the source code of the External Secrets operator to what the box uses: one provider instead of 38. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { toolModule } from 'shared/tools'

/** The module that is reduced. */
export const EXTERNAL_SECRETS = 'github.com/external-secrets/external-secrets'

/** The only secret store that the box has: AWS Secrets Manager and Parameter Store. */
const PROVIDER = `${EXTERNAL_SECRETS}/pkg/provider/aws`

/** The files whose imports compile in all providers, and all generators of secrets. The module has no build tags. */
const REGISTERS = ['pkg/provider/register/register.go', 'pkg/generator/register/register.go']

/**
 * Copies the operator's module without the other providers, whose clients would compile for many minutes, and makes
 * Go build the copy.
 *
 * @param environment of the Go commands
 * @param work empty directory for the copy, below which Go also finds its go.mod and go.sum
 * @returns Go's flag with which the tool's module uses the copy
 */
export async function reduceExternalSecrets(
  environment: Readonly<Record<string, string>>,
  work: string,
): Promise<string> {
  const module = toolModule('external-secrets')
  const go = (args: readonly string[]) => execa('go', args, { cwd: module, env: environment })
  // Compares the download with go.sum.
  const { stdout } = await go(['mod', 'download', '-json', EXTERNAL_SECRETS])
  const { Dir: source } = JSON.parse(stdout) as { Dir: string }
  const copy = join(work, 'source')
  await mkdir(work, { recursive: true })
  // Files in Go's module cache are read-only.
  await execa('cp', ['--recursive', '--no-preserve=mode', source, copy])
  for (const file of REGISTERS) {
    const path = join(copy, file)
    await writeFile(path, withOnlyProvider(await readFile(path, 'utf8')))
  }
  for (const file of ['go.mod', 'go.sum']) await copyFile(join(module, file), join(work, file))
  const reduced = join(work, 'go.mod')
  await go(['mod', 'edit', `-replace=${EXTERNAL_SECRETS}=${copy}`, reduced])
  return `-modfile=${reduced}`
}

/** Removes the imports of all providers and generators but one from a Go file. */
export function withOnlyProvider(source: string): string {
  const kept = source.split('\n').filter((line) => {
    const [, imported] = /^\s*_ "([^"]+)"/.exec(line) ?? []
    return imported === undefined || imported === PROVIDER
  })
  return kept.join('\n')
}
