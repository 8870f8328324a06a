import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { toolModule } from 'shared/tools'
import t from 'tap'
import { alignedTools } from './align.ts'

/** The version of each module that a go.mod requires. */
function requirements(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^(?:require )?\t?(\S+) (v\S+)(?: \/\/ indirect)?$/gm)].map(([, path, version]) => [
      path as string,
      version as string,
    ]),
  )
}

t.test('tools that share a module build it at one version', async (t) => {
  const versions = new Map<string, Map<string, string[]>>()
  for (const tool of alignedTools()) {
    const text = readFileSync(join(toolModule(tool), 'go.mod'), 'utf8')
    for (const [path, version] of requirements(text)) {
      const users = versions.get(path) ?? new Map<string, string[]>()
      users.set(version, [...(users.get(version) ?? []), tool])
      versions.set(path, users)
    }
  }
  t.ok(versions.size > 100)
  const split = [...versions]
    .filter(([, users]) => users.size > 1)
    .map(([path, users]) => `${path}: ${[...users].map(([version, by]) => `${version} in ${by.join(', ')}`)}`)
  t.strictSame(split, [], 'align them: npm run align-tools --workspace=eks-box')
})
