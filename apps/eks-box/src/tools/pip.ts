import { readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { ActionableError } from 'shared/errors'
import { TOOLS, type Tool, toolModule } from 'shared/tools'

/**
 * Installs a tool's programs with pip, in a separate virtual environment.
 *
 * @param directory where to install it first.
 * @param target where `directory` moves afterwards.
 * @param onProgress receives each line that pip prints.
 * @throws ActionableError when Python is incomplete, a package cannot be downloaded or the installation fails.
 */
export async function installWithPip(
  tool: Tool,
  directory: string,
  target: string,
  interrupt: AbortSignal,
  onProgress: (line: string) => void,
): Promise<void> {
  const lines: string[] = []
  const venv = join(directory, 'venv')
  const run = async (file: string, args: string[]) => {
    const running = execa(file, args, { all: true, cancelSignal: interrupt })
    for await (const line of running.iterable({ from: 'all' })) {
      lines.push(line)
      onProgress(line)
    }
    await running
  }
  try {
    await run('python3', ['-m', 'venv', venv])
    await run(join(venv, 'bin', 'python3'), [
      ...['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--require-hashes'],
      ...['--requirement', join(toolModule(tool), 'requirements.txt')],
    ])
  } catch (error) {
    throw interrupt.aborted ? error : pipFailure(tool, error, lines)
  }
  const scripts = join(venv, 'bin')
  for (const program of TOOLS[tool].programs) {
    // pip writes the environment's path to the first line of each script, but the environment moves afterwards.
    const script = join(scripts, program)
    const content = await readFile(script)
    const marked = Buffer.from(`#!${directory}`)
    if (content.subarray(0, marked.length).equals(marked)) {
      await writeFile(script, Buffer.concat([Buffer.from(`#!${target}`), content.subarray(marked.length)]))
    }
    await symlink(join('venv', 'bin', program), join(directory, program))
  }
}

function pipFailure(tool: Tool, error: unknown, output: string[]): ActionableError {
  const reason = output.filter((line) => /error|no module/i.test(line)).at(-1) ?? String(error)
  if (
    (error instanceof Error && 'code' in error && error.code === 'ENOENT') ||
    /ensurepip|No module named (venv|pip)/.test(output.join('\n'))
  ) {
    return new ActionableError(
      `Python 3 with its venv module is not installed, so ${tool} cannot be installed`,
      'install it, on Debian with `apt-get install python3-venv`, then run the command again',
      { cause: error },
    )
  }
  if (
    output.some((line) => /Could not find a version|Connection|timed out|No matching distribution/.test(line))
  ) {
    return new ActionableError(
      `the Python packages of ${tool} could not be downloaded: ${reason}`,
      'set PIP_INDEX_URL to a package index this machine can reach, then run the command again',
      { cause: error },
    )
  }
  return new ActionableError(
    `installing ${tool} failed: ${reason}`,
    `run \`pip install --requirement apps/eks-box/tools/${tool}/requirements.txt\` in a virtual environment to see the whole output`,
    { cause: error },
  )
}
