/**
 * Raises the modules that several tools share to one version, the highest that one of them requires. Run it after
 * changing the `go.mod` of a tool that `aligned.work` names.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { reportFailure } from 'shared/errors'
import { TOOL_NAMES, type Tool } from 'shared/tools'

const directory = join(import.meta.dirname, '..', '..', 'tools')
const workspace = join(directory, 'aligned.work')

/** The tools that `aligned.work` names. */
export function alignedTools(): Tool[] {
  const text = readFileSync(workspace, 'utf8')
  return TOOL_NAMES.filter((tool) => text.includes(`\n\t./${tool}\n`))
}

async function align(): Promise<void> {
  const run = (cwd: string, args: string[], env: Record<string, string>) =>
    execa('go', args, { cwd, env: { GOFLAGS: '', ...env }, stdio: 'inherit' })
  await run(directory, ['work', 'sync'], { GOWORK: workspace })
  for (const tool of alignedTools()) await run(join(directory, tool), ['mod', 'tidy'], { GOWORK: 'off' })
}

if (import.meta.main) await align().catch(reportFailure)
